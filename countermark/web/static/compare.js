// Two files side by side: bytes, credentials, scores.

import { checkFile } from "/static/api.js";
import { standingOf } from "/static/chain.js";
import { announce, byId, clock, dropZone, el, fill, percent } from "/static/dom.js";
import { problemCard } from "/static/progress.js";
import { highest, timeline } from "/static/timeline.js";

const sides = { a: null, b: null };

export function showCompare() {
  for (const [side, name] of [["a", "first"], ["b", "second"]]) {
    dropZone(byId(`compare-${side}`), { label: `Choose the ${name} file`, hint: "or drop it here", onfiles: ([file]) => take(side, file) });
  }
}

async function take(side, file) {
  const place = byId(`compare-${side}`);
  sides[side] = null;
  const now = el("p", { class: "hint", role: "status" }, file.name);
  place.querySelector(".hint").replaceWith(now);
  draw();
  try {
    const { report } = await checkFile(file, (status) => { now.textContent = `${file.name}: ${status.step}`; });
    sides[side] = report;
    now.textContent = `${file.name}: ${report.headline}`;
    draw();
  } catch (problem) {
    now.textContent = `${file.name}: could not be checked`;
    problemCard(byId("compare-result"), `${file.name} could not be checked`, problem.message);
  }
}

/** In one sentence, how the two belong together. */
export function relation(a, b) {
  if (a.sha256 === b.sha256) return "The two files are the same, byte for byte.";
  const holds = (list, digest) => (list || []).some((one) => one.sha256 === digest || holds(one.ingredients, digest));
  if (holds(a.credential.ingredients, b.sha256)) return "By its credential, the first file was made from the second.";
  if (holds(b.credential.ingredients, a.sha256)) return "By its credential, the second file was made from the first.";
  return "The two files differ in their bytes, and no credential ties one to the other.";
}

function draw() {
  const { a, b } = sides;
  if (!a || !b) { fill(byId("compare-result")); return; }
  const top = (report) => { const one = highest(report.timeline); return one ? `${clock(one.seconds)}, ${percent(one.probability)}` : "–"; };
  const rows = [
    ["Verdict", (r) => el("span", { class: "badge" }, r.headline), (r) => r.finding],
    ["Because", (r) => r.because[0]],
    ["Detectors", (r) => percent(r.probability)],
    ["Most suspicious at", top],
    ["Credentials", (r) => standingOf(r.credential)[0]],
    ["Signer", (r) => r.credential.signer || "–"],
    ...[...new Set([...Object.keys(a.file_facts), ...Object.keys(b.file_facts)])].map((name) => [name, (r) => r.file_facts[name] || "–"]),
    ["SHA-256", (r) => el("code", {}, r.sha256), (r) => r.sha256],
  ];
  const text = relation(a, b);
  const plot = timeline([{ points: a.timeline }, { points: b.timeline, kind: "second" }], Math.max(a.seconds_of_video, b.seconds_of_video), a.policy, { label: "Scores of both files over time" });
  fill(byId("compare-result"),
    el("section", { class: "card" }, el("h2", {}, text),
      plot && el("figure", {}, plot, el("figcaption", { class: "hint" }, "Solid: the first file. Dashed: the second.")),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "The two files side by side" },
        el("table", { class: "wide-table" },
          el("thead", {}, el("tr", {}, el("td", {}), el("th", { scope: "col" }, a.file), el("th", { scope: "col" }, b.file))),
          el("tbody", {}, rows.map(([name, show, plain = show]) => el("tr", { class: plain(a) === plain(b) ? "" : "differs" },
            el("th", { scope: "row" }, name), el("td", { class: a.finding }, show(a)), el("td", { class: b.finding }, show(b)))))))));
  announce(text);
}
