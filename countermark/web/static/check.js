// One file: drop it, follow the check, read the answer.

import { checkFile } from "/static/api.js";
import { announce, byId, dropZone, el, fill, inBytes } from "/static/dom.js";
import { problemCard, progressCard } from "/static/progress.js";
import { showReport } from "/static/report.js";

let running = null;

export function showCheck(about) {
  const most = about.limits.upload_bytes;
  dropZone(byId("check-drop"), {
    label: "Choose a file",
    hint: `or drop it here. Video or picture${most ? `, up to ${Math.floor(most / 2 ** 20)} MiB` : ""}. It is sent to this server only, and removed afterwards.`,
    onfiles: ([file]) => check(file, most),
  });
  if (about.problem) problemCard(byId("check-progress"), "The server does not answer", about.problem);
}

/** Check a file and show the answer in the first view, from wherever this is called. */
export async function check(file, most) {
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const mine = running;
  fill(byId("check-report"));
  if (location.hash !== "#check" && location.hash !== "") location.hash = "#check";
  if (most && file.size > most) {
    problemCard(byId("check-progress"), "This file is too large", `${file.name} has ${inBytes(file.size)}, this server takes up to ${inBytes(most)}`);
    return;
  }
  byId("view-check").classList.add("busy");
  const card = progressCard(byId("check-progress"), file.name, file.size, () => mine.abort());
  try {
    const { job, report } = await checkFile(file, (status) => card.update(status), { evidence: true, signal });
    card.stop();
    present(report, { file, job });
  } catch (problem) {
    card.stop();
    if (mine !== running) return;
    byId("view-check").classList.remove("busy");
    if (problem.name === "AbortError") announce("Cancelled. Nothing of the file is left on the server.");
    else problemCard(byId("check-progress"), `${file.name} could not be checked`, problem.message);
  }
}

/** Show an answer in the first view. */
export function present(report, { file = null, job = null } = {}) {
  byId("view-check").classList.add("busy");
  fill(byId("check-progress"));
  const again = el("button", { type: "button", class: "button strong", onclick: () => {
    fill(byId("check-report"));
    byId("view-check").classList.remove("busy");
    byId("check-drop").querySelector("input").focus();
  } }, "Check another file");
  showReport(byId("check-report"), report, { file, job, actions: [again] });
  announce(`Verdict: ${report.headline}. ${report.because[0]}`);
  document.getElementById("headline").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}
