// Many files: a table that fills while they are checked two at a time.

import { checkFile } from "/static/api.js";
import { present } from "/static/check.js";
import { standingOf } from "/static/chain.js";
import { announce, byId, clock, download, dropZone, el, fill, percent } from "/static/dom.js";
import { highest } from "/static/timeline.js";

const AT_ONCE = 2;
const ORDER = ["credential_broken", "synthetic_likely", "declared_synthetic", "undecided", "no_sign_of_synthesis"];
let rows = [], stopping = null, working = 0;

export function showBatch() {
  dropZone(byId("batch-drop"), {
    label: "Choose files", multiple: true, folder: true,
    hint: "or drop them here. Files that are neither video nor picture are passed over.",
    onfiles: add,
  });
}

function add(files) {
  const wanted = files.filter((file) => /^(video|image)\//.test(file.type) || /\.(mkv|mov|mp4|m4v|webm|avi|heic|avif|tiff?)$/i.test(file.name));
  const skipped = files.length - wanted.length;
  rows.push(...wanted.map((file) => ({ file, state: "waiting", report: null, job: null, line: "" })));
  draw();
  announce(`${wanted.length} files added${skipped ? `, ${skipped} passed over` : ""}`);
  stopping = stopping && !stopping.signal.aborted ? stopping : new AbortController();
  while (working < AT_ONCE && rows.some((row) => row.state === "waiting")) work(stopping.signal);
}

async function work(signal) {
  working += 1;
  for (let row; (row = rows.find((one) => one.state === "waiting")) && !signal.aborted;) {
    row.state = "running";
    draw();
    try {
      const { job, report } = await checkFile(row.file, (status) => { row.step = status.step; draw(); }, { signal });
      Object.assign(row, { state: "done", job, report });
    } catch (problem) {
      Object.assign(row, { state: "failed", line: problem.name === "AbortError" ? "cancelled" : problem.message });
    }
    draw();
  }
  working -= 1;
  if (!working) announce(`${rows.filter((row) => row.report).length} files checked`);
}

function draw() {
  if (!rows.length) { fill(byId("batch-table")); return; }
  const over = rows.filter((row) => row.report || row.state === "failed").length;
  const sorted = rows.map((row, index) => [row, index]).sort(([a, i], [b, j]) => rank(a) - rank(b) || (b.report?.probability ?? -1) - (a.report?.probability ?? -1) || i - j);
  fill(byId("batch-table"),
    el("div", { class: "row tools" },
      el("p", {}, `${over} of ${rows.length} checked`),
      el("div", { class: "saves" },
        over < rows.length && el("button", { type: "button", class: "button", onclick: stop }, "Stop"),
        el("button", { type: "button", class: "button", disabled: !over, onclick: () => download("countermark.csv", new Blob([asCsv()], { type: "text/csv" })) }, "Save as CSV"),
        el("button", { type: "button", class: "button", disabled: !over, onclick: () => download("countermark.jsonl", new Blob([rows.filter((r) => r.report).map((r) => JSON.stringify(r.report)).join("\n") + "\n"])) }, "Save as JSON Lines"))),
    el("progress", { max: rows.length, value: over, "aria-label": "Files checked" }),
    el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Files and their verdicts" },
      el("table", { class: "wide-table" },
        el("thead", {}, el("tr", {}, ["File", "Verdict", "Detectors", "Credentials", "Most suspicious at"].map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, sorted.map(([row]) => cells(row))))));
}

const rank = (row) => row.report ? ORDER.indexOf(row.report.finding) : row.state === "failed" ? 8 : 9;

function cells(row) {
  const { report } = row;
  if (!report) return el("tr", {}, el("th", { scope: "row" }, row.file.name), el("td", { colspan: 4, class: row.state === "failed" ? "fault" : "hint" }, row.line || row.step || "waiting"));
  const top = highest(report.timeline);
  return el("tr", { class: report.finding },
    el("th", { scope: "row" }, el("button", { type: "button", class: "link", onclick: () => { location.hash = "#check"; present(report, { file: row.file, job: null }); } }, row.file.name)),
    el("td", {}, el("span", { class: "badge" }, report.headline)),
    el("td", {}, percent(report.probability)),
    el("td", {}, standingOf(report.credential)[0]),
    el("td", {}, top ? clock(top.seconds) : "–"));
}

function stop() {
  stopping?.abort();
  for (const row of rows) if (row.state === "waiting") Object.assign(row, { state: "failed", line: "cancelled" });
  draw();
}

function asCsv() {
  // a cell that a spreadsheet would take for a formula is made text
  const cell = (value) => `"${String(value ?? "").replace(/^([=+\-@\t])/, "'$1").replace(/"/g, '""')}"`;
  const head = ["file", "finding", "probability", "credential", "signer", "sha256", "error"];
  const lines = rows.map(({ file, report, line }) => report
    ? [file.name, report.finding, report.probability, report.credential.standing, report.credential.signer, report.sha256, ""]
    : [file.name, "", "", "", "", "", line]);
  return [head, ...lines].map((one) => one.map(cell).join(",")).join("\r\n") + "\r\n";
}
