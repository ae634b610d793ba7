// What is being done, in words, with the time it has taken and a way out.

import { announce, el, fill, inBytes, sentence } from "/static/dom.js";

const STEPS = [
  ["Sending the file", "Send it to the checking process"],
  ["Reading the file", "Read the file"],
  ["Checking its credentials", "Check its credentials"],
  ["Reading its metadata", "Read its metadata"],
  ["Looking at its faces", "Look at its faces"],
  ["Weighing the evidence", "Weigh the evidence"],
];

/** A card that follows one check. Returns {update, stop}. */
export function progressCard(place, name, size, oncancel) {
  const began = performance.now();
  const bar = el("progress", { "aria-label": "Progress", max: 1 });
  const time = el("span", { class: "time" }, "0 s");
  const now = el("p", { class: "now" }, "Sending the file");
  const items = STEPS.map(([, text]) => el("li", {}, text));
  const card = el("section", { class: "card progress", "aria-labelledby": "progress-title" },
    el("div", { class: "row" },
      el("div", {}, el("h1", { id: "progress-title" }, name), el("p", { class: "hint" }, inBytes(size))),
      el("button", { type: "button", class: "button", onclick: oncancel }, "Cancel")),
    bar, el("div", { class: "row" }, now, time), el("ol", { class: "steps" }, items));
  fill(place, card);
  const ticking = setInterval(() => { time.textContent = `${Math.floor((performance.now() - began) / 1000)} s`; }, 500);
  let last = "";
  return {
    update(status) {
      const at = STEPS.findIndex(([step]) => step === status.step);
      if (status.sent !== undefined && status.sent < 1) bar.value = status.sent;
      else if (at >= 0) bar.value = (at + 0.5) / STEPS.length;
      else bar.removeAttribute("value");
      const before = status.before ? ` (${status.before} before this one)` : "";
      now.textContent = status.step + before;
      items.forEach((item, index) => {
        item.classList.toggle("done", at > index);
        item.classList.toggle("doing", at === index);
        if (at === index) item.setAttribute("aria-current", "step"); else item.removeAttribute("aria-current");
      });
      if (status.step !== last) announce(status.step);
      last = status.step;
    },
    stop() { clearInterval(ticking); fill(place); },
  };
}

/** One plain line about what went wrong, and what to do next. */
export function problemCard(place, title, line) {
  const card = el("section", { class: "card problem", role: "alert", tabindex: "-1" },
    el("h2", {}, title), el("p", {}, sentence(line)));
  fill(place, card);
  card.focus();
}
