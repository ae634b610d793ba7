// Elements without markup in strings: whatever a file, its signer or its name says stays text.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes, listeners (`onclick`) and children; null and false are left out. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key in element && ["value", "checked", "disabled", "hidden", "muted", "src"].includes(key)) element[key] = value;
    else element.setAttribute(key, value === true ? "" : value);
  }
  element.append(...children.flat(9).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace what an element holds. */
export function fill(place, ...children) {
  place.replaceChildren(...children.flat(9).filter(Boolean));
  return place;
}

export const byId = (id) => document.getElementById(id);

/** Tell a screen reader. */
export function announce(text) {
  byId("live").textContent = text;
}

/** "<1%", "37%", ">99%": a probability that never claims certainty. */
export function percent(probability) {
  if (probability === null || probability === undefined) return "no answer";
  if (probability < 0.01) return "<1%";
  if (probability > 0.99) return ">99%";
  return `${Math.round(probability * 100)}%`;
}

/** 0:07, 12:30, 1:02:03. */
export function clock(seconds) {
  const whole = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, "0");
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

export function inBytes(count) {
  if (count < 1000) return `${count} B`;
  for (const unit of ["kB", "MB", "GB"]) {
    count /= 1000;
    if (count < 1000 || unit === "GB") return `${count.toFixed(count < 100 ? 1 : 0)} ${unit}`;
  }
}

/** A reason with a capital and a full stop. */
export function sentence(text) {
  const plain = String(text).trim();
  return plain.charAt(0).toUpperCase() + plain.slice(1) + (/[.!?]$/.test(plain) ? "" : ".");
}

/** Hand a file to the browser's downloads. */
export function download(name, blob) {
  const url = URL.createObjectURL(blob);
  const link = el("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** A place for files: drop, click, or the keyboard. */
export function dropZone(place, { label, hint, multiple = false, folder = false, accept = "video/*,image/*", onfiles }) {
  const input = el("input", {
    type: "file", accept, multiple, class: "unseen",
    onchange: () => { if (input.files.length) onfiles([...input.files]); input.value = ""; },
  });
  const parts = [el("label", { class: "pick" }, input, el("span", { class: "button strong" }, label))];
  if (folder) {
    const whole = el("input", {
      type: "file", webkitdirectory: true, class: "unseen",
      onchange: () => { if (whole.files.length) onfiles([...whole.files]); whole.value = ""; },
    });
    parts.push(el("label", { class: "pick" }, whole, el("span", { class: "button" }, "Choose a folder")));
  }
  fill(place, el("div", { class: "picks" }, parts), el("p", { class: "hint" }, hint));
  for (const kind of ["dragenter", "dragover"]) {
    place.addEventListener(kind, (event) => { event.preventDefault(); place.classList.add("over"); });
  }
  for (const kind of ["dragleave", "drop"]) place.addEventListener(kind, () => place.classList.remove("over"));
  place.addEventListener("drop", (event) => {
    event.preventDefault();
    const files = [...event.dataTransfer.files];
    if (files.length) onfiles(multiple ? files : files.slice(0, 1));
  });
}
