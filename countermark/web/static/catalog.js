// The clips of the dataset that was named on the command line.

import { checkClip, getBlob, getJson, needsToken } from "/static/api.js";
import { present } from "/static/check.js";
import { byId, el, fill, sentence } from "/static/dom.js";
import { problemCard } from "/static/progress.js";

const PAGE = 24;
const wish = { first: 0, label: "", split: "", search: "" };

export async function showCatalog(about) {
  if (!about.has_catalog) {
    fill(byId("catalog-clips"), el("p", { class: "notice" }, "No dataset is open. Start the server with ", el("code", {}, "countermark serve --catalog FOLDER"), "."));
    return;
  }
  await load(true);
}

async function load(isNew) {
  const query = new URLSearchParams({ first: wish.first, count: PAGE, search: wish.search });
  if (wish.label) query.set("label", wish.label);
  if (wish.split) query.set("split", wish.split);
  try {
    const page = await getJson(`/api/catalog?${query}`);
    if (isNew) filters(page);
    draw(page);
  } catch (problem) {
    problemCard(byId("catalog-clips"), "The dataset cannot be shown", problem.message);
  }
}

function filters(page) {
  byId("catalog-title").textContent = page.name || "Dataset";
  const parts = Object.entries(page.labels).map(([label, count]) => `${count} ${label}`).join(", ");
  byId("catalog-lead").textContent = `${page.clips} clips: ${parts}. ${page.is_attested ? "It carries a signed attestation." : "It carries no attestation."}`;
  const select = (name, title, options) => el("div", { class: "field" }, el("label", { for: `catalog-${name}` }, title),
    el("select", { id: `catalog-${name}`, onchange: (event) => { wish[name] = event.target.value; wish.first = 0; load(false); } },
      el("option", { value: "" }, "all"), Object.keys(options).map((one) => el("option", { value: one }, one))));
  let waiting = 0;
  fill(byId("catalog-filters"), el("form", { class: "card filters", role: "search", onsubmit: (event) => event.preventDefault() },
    select("label", "Label", page.labels), select("split", "Split", page.splits),
    el("div", { class: "field grow" }, el("label", { for: "catalog-search" }, "Search person, maker, recipe, file"),
      el("input", { id: "catalog-search", type: "search", oninput: (event) => { clearTimeout(waiting); waiting = setTimeout(() => { wish.search = event.target.value; wish.first = 0; load(false); }, 250); } }))));
}

function draw(page) {
  const last = Math.min(page.found, wish.first + PAGE);
  const turn = (by) => () => { wish.first = Math.max(0, wish.first + by); load(false); };
  fill(byId("catalog-clips"),
    el("p", { class: "hint", role: "status" }, page.found ? `${wish.first + 1} to ${last} of ${page.found}` : "No clip fits."),
    el("ul", { class: "clips" }, page.samples.map(clip)),
    el("div", { class: "row" },
      el("button", { type: "button", class: "button", disabled: wish.first === 0, onclick: turn(-PAGE) }, "Before"),
      el("button", { type: "button", class: "button", disabled: last >= page.found, onclick: turn(PAGE) }, "After")));
}

function clip(sample) {
  const source = `/api/catalog/clips/${sample.number}`;
  const screen = el("video", { preload: "metadata", muted: true, controls: true, playsinline: true, "aria-label": `Clip ${sample.id}` });
  if (!needsToken()) screen.src = `${source}#t=0.3`;
  const now = el("p", { class: "hint", role: "status" });
  const check = async () => {
    try {
      const [{ job, report }, content] = await Promise.all([checkClip(sample.number, (status) => { now.textContent = status.step; }), getBlob(source)]);
      now.textContent = report.headline;
      location.hash = "#check";
      present(report, { file: content, job });
    } catch (problem) { now.textContent = sentence(problem.message); }
  };
  const play = needsToken() && el("button", { type: "button", class: "button", onclick: async () => { screen.src = URL.createObjectURL(await getBlob(source)); screen.play(); } }, "Play");
  return el("li", { class: "card clip" }, screen,
    el("p", { class: "title" }, el("span", { class: `badge label-${sample.label}` }, sample.label), ` ${sample.id}`),
    el("dl", {}, ["person", "maker", "split", "codec", "seconds"].filter((name) => sample[name]).flatMap((name) => [el("dt", {}, name), el("dd", {}, String(sample[name]))])),
    el("div", { class: "saves" }, play, el("button", { type: "button", class: "button", onclick: check }, "Check", el("span", { class: "unseen" }, ` clip ${sample.id}`))), now);
}
