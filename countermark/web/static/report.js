// The answer on one screen: verdict, the file with its faces and its score over time, three lines of evidence.

import { followEvidence, blobUrl, getBlob } from "/static/api.js";
import { chain, inWords, isOurs, standingOf } from "/static/chain.js";
import { closeups } from "/static/closeup.js";
import { announce, clock, download, el, fill, percent, sentence } from "/static/dom.js";
import { level, player } from "/static/player.js";
import { highest, timeline, timelineTable } from "/static/timeline.js";

const SHARES = { 0.5: "half", 0.1: "1 in 10", 0.01: "1 in 100" };
const MOST_STRETCHES = 12;
const LEVELS = { high: "high", unsure: "not sure", low: "low", unjudged: "not judged" };

function verdict(report) {
  const [first, ...others] = report.because;
  return el("section", { class: "verdict", "aria-labelledby": "headline" },
    el("div", {},
      el("p", { class: "eyebrow" }, "Verdict on ", el("span", { class: "file" }, report.file)),
      el("h1", { id: "headline", tabindex: "-1" }, report.headline),
      el("p", { class: "lead" }, first),
      others.length > 0 && el("ul", {}, others.map((one) => el("li", {}, one))),
      report.finding === "no_sign_of_synthesis" && el("p", {}, el("strong", {}, "This does not mean that it is real."), " It means that what was looked at shows nothing.")),
    el("div", { class: "dial" },
      report.probability === null
        ? [el("b", { "aria-hidden": "true" }, "–"), el("span", {}, "the detectors gave no answer")]
        : [el("b", {}, percent(report.probability)), el("span", {}, "the detectors' probability of synthesis")]));
}

function line(number, title, tone, result, ...more) {
  const id = `line-${number}`;
  return el("section", { class: `line ${tone}`, "aria-labelledby": id },
    el("p", { class: "eyebrow" }, `${number} · ${title}`), el("h3", { id }, result), more);
}

const facts = (pairs) => el("dl", {}, pairs.filter(([, value]) => value).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));

function credentialLine(report) {
  const credential = report.credential;
  const [name, meaning] = standingOf(credential);
  const tone = { broken: "bad", unknown_signer: "unsure", trusted: "firm" }[credential.standing] || "calm";
  const said = { true: "declared synthetic", false: "said to be recorded by a camera" }[credential.declares_synthetic] || "says nothing about synthesis";
  const signed = credential.standing && credential.standing !== "absent";
  return line(1, "Credentials", tone, name, el("p", {}, meaning),
    facts([["Signer", credential.signer], ["Content", signed && said + (credential.standing === "broken" ? " (not to be believed)" : "")], ["Kind", signed && (credential.source_types || []).map(inWords).join("; ")], ["Signed", credential.signed_at]]),
    el("details", {}, el("summary", {}, "Why"), el("ul", {}, credential.reasons.map((one) => el("li", {}, sentence(one)))),
      credential.validation_codes.length > 0 && el("p", {}, credential.validation_codes.map((code) => [el("code", {}, code), " "]))));
}

/** The credential of the original that this file is a copy of, recovered from the store of this machine. */
function recovered(origin) {
  const { credential } = origin;
  const by = { watermark: "a watermark in its pictures", fingerprint: "how it looks and sounds" }[origin.how];
  const said = { true: "It declares its original synthetic.", false: "It says that a camera recorded the original." }[credential.declares_synthetic] || "";
  return el("div", { class: "recovered" }, el("h4", {}, "Recovered: the credential of an original"),
    el("p", {}, `By ${by}, this is a copy of `, el("b", {}, credential.title || credential.file || "a signed file"), `, whose credential is ${standingOf(credential)[0].toLowerCase()}${credential.signer && !isOurs(credential) ? ` (${credential.signer})` : ""}. ${said}`),
    el("p", { class: "hint" }, `Confidence ${percent(origin.confidence)}. ${sentence(origin.meaning || "")}`));
}

function detectorLine(report) {
  const model = `${report.model.name} ${report.model.version}`;
  if (report.probability === null) {
    return line(2, "Detectors", "calm", "No answer", el("p", {}, sentence(report.reason)), facts([["Model", model]]));
  }
  const at = level(report.probability, report.policy);
  const words = { high: "Signs of synthesis", unsure: "Not sure", low: "No sign of synthesis" }[at];
  return line(2, "Detectors", { high: "bad", unsure: "unsure", low: "calm" }[at], `${words}: ${percent(report.probability)}`,
    el("p", {}, `High from ${percent(report.policy.synthetic_from)}, low below ${percent(report.policy.no_sign_below)}; by ${model}.`),
    el("details", {}, el("summary", {}, "What this score is worth"),
      el("table", {}, el("caption", {}, "The same score among files of which"),
        el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "are synthetic"), el("th", { scope: "col" }, "means"))),
        el("tbody", {}, report.at_base_rate.map((one) => el("tr", {}, el("td", {}, SHARES[one.base_rate] || percent(one.base_rate)), el("td", {}, percent(one.probability))))))));
}

function fileLine(report) {
  const marks = report.unsigned_marks;
  return line(3, "The file itself", marks.length ? "bad" : "calm", marks.length ? "Marks of a generator" : "No mark of a generator",
    marks.length > 0 && el("ul", {}, marks.map((mark) => el("li", {}, mark))),
    facts(Object.entries(report.file_facts)),
    el("details", {}, el("summary", {}, "SHA-256"), el("p", {}, el("code", {}, report.sha256))));
}

function faces(report) {
  return report.faces.map((face) => {
    const at = level(face.probability, report.policy);
    return el("li", { class: `face ${at}` },
      el("span", { class: "thumb", id: `face-picture-${face.track}` }),
      el("div", {}, el("b", {}, `Face ${face.track + 1}`), ` ${face.probability === null ? "not judged" : `${percent(face.probability)}, ${LEVELS[at]}`}`,
        el("p", { class: "hint" }, face.reason ? sentence(face.reason) : report.seconds_of_video ? `on screen from ${clock(face.first_second)} to ${clock(face.last_second)}` : "in the picture")));
  });
}

/** The file, its faces and its score over time. Returns {element, takeEvidence}. */
function stage(report, file) {
  const screen = player(file, report);
  const top = highest(report.timeline);
  const several = report.faces.length > 1 ? report.faces.slice(0, 4).map((face) => ({ points: face.timeline, kind: `face-${face.track}` })) : [];
  const plot = timeline([{ points: report.timeline }, ...several], report.seconds_of_video, report.policy,
    { label: "Score over time; moves the video", segments: report.segments, onseek: file ? (seconds) => screen.seek(seconds) : null });
  screen.ontime = (seconds) => plot?.show(seconds);
  const jump = plot && top && file && el("button", { type: "button", class: "button", onclick: () => go(top.seconds + 0.02) },
    `Jump to the most suspicious second (${clock(top.seconds)}, ${percent(top.probability)})`);
  const go = (seconds) => { screen.seek(seconds); plot?.show(seconds); };
  const list = el("ul", { class: "faces" }, faces(report));
  const following = el("p", { class: "hint", id: "following" }, file && report.faces.length ? "Following the faces through the file …" : "");
  const element = el("section", { class: "card stage", "aria-label": "The file and its score over time" },
    screen.element, plot, el("div", { class: "row" }, jump, following), plot && stretches(report, file ? go : null), list,
    plot && timelineTable(report.timeline, "The curve as a table"));
  return { element, screen, following, go: file && !screen.isPicture ? go : null };
}

/** The stretches that score high, each a way to its beginning; null where there is none. */
function stretches(report, go) {
  const found = (report.segments || []).slice(0, MOST_STRETCHES);
  if (!found.length) return null;
  const words = (one) => `${clock(one.start)} to ${clock(one.end)}`;
  const more = report.segments.length - found.length;
  return el("p", { class: "stretches" }, "High: ",
    found.map((one, index) => [index ? ", " : "", go
      ? el("button", { type: "button", class: "link", onclick: () => go(one.start + 0.02) }, el("span", { class: "unseen" }, "Go to "), words(one))
      : words(one)]), more > 0 && ` and ${more} more`, ".");
}

function saves(report, job) {
  const name = report.file.replace(/[^\w.-]+/g, "_").slice(0, 60);
  const html = el("button", { type: "button", class: "button", disabled: true, onclick: async () => download(`${name}.report.html`, await getBlob(`/api/jobs/${job}/files/report.html`)) }, "Save as HTML");
  const json = el("button", { type: "button", class: "button", onclick: () => download(`${name}.report.json`, new Blob([JSON.stringify(report, null, 2)], { type: "application/json" })) }, "Save as JSON");
  const pdf = el("button", { type: "button", class: "button", onclick: () => window.print() }, "Save as PDF");
  return { element: el("div", { class: "saves", role: "group", "aria-label": "Keep this report" }, html, json, pdf), html };
}

const limits = (report) => el("div", { class: "pair" },
  ...[["Checked", report.checked], ["Not checked", report.not_checked]].map(([title, lines]) =>
    el("section", { class: "card" }, el("h2", {}, title), el("ul", {}, lines.map((one) => el("li", {}, one))))));

/**
 * Show a report.
 * @param file what was checked, to be played; or null
 * @param job whose evidence to wait for; or null
 */
export function showReport(place, report, { file = null, job = null, actions = [] } = {}) {
  place.shown?.();
  const there = stage(report, file);
  const tree = chain(report);
  const keep = saves(report, job);
  const close = closeups(there.go);
  const urls = [];
  fill(place, el("article", { class: `report ${report.finding}` },
    verdict(report),
    el("div", { class: "row tools" }, keep.element, el("div", { class: "saves" }, actions)),
    el("div", { class: "evidence" }, there.element,
      el("div", { class: "lines" }, el("h2", { class: "unseen" }, "Three lines of evidence"), credentialLine(report), detectorLine(report), fileLine(report))),
    close.element,
    tree && el("section", { class: "card" }, el("h2", {}, "Where it comes from, by its credential"),
      report.credential.standing === "broken" && el("p", { class: "fault" }, "The credential is broken: what follows is what it says, not what is so."), tree),
    limits(report),
    el("p", { class: "hint" }, `Countermark ${report.tool.version}, model ${report.model.name} ${report.model.version}, rule ${report.rule} of the order of belief, ${report.schema}. Detectors err; a verdict about a person needs a person's judgement.`)));
  let open = true;
  place.shown = () => { open = false; there.screen.close(); urls.forEach((url) => URL.revokeObjectURL(url)); };
  if (job) gather(job).catch(() => { there.following.textContent = ""; });

  const picture = async (name) => { const url = await blobUrl(job, name); urls.push(url); return url; };

  async function gather() {
    const seen = new Set();
    const once = async (name, use) => { if (!seen.has(name)) { seen.add(name); use(await picture(name)); } };
    await followEvidence(job, (evidence) => {
      if (!open) throw new Error("closed");
      if (evidence.origin && !seen.has("origin")) {
        seen.add("origin");
        place.querySelector("#line-1").parentElement.append(recovered(evidence.origin));
        announce("The credential of an original was recovered.");
      }
      if (evidence.tracks) { there.screen.setTracks(evidence.tracks); there.following.textContent = ""; }
      if (evidence.files.includes("poster.jpg")) once("poster.jpg", (url) => { tree?.setPicture([], url); if (!file) there.screen.setStill(url, `A frame of ${report.file}`); });
      // what the file looks like now is worth more than what its credential says it looked like
      for (const one of evidence.thumbnails || []) if (one.place.length) once(one.file, (url) => tree?.setPicture(one.place, url));
      for (const one of evidence.pictures || []) {
        once(one.face, (url) => fill(document.getElementById(`face-picture-${one.track}`), el("img", { src: url, alt: `Face ${one.track + 1} at ${clock(one.seconds)}, its most suspicious moment` })));
        close.take(one, picture);
        once(one.scene, (url) => there.screen.setStill(url, `The frame at ${clock(one.seconds)}, the most suspicious moment of face ${one.track + 1}`));
      }
      if (evidence.files.includes("report.html")) keep.html.disabled = false;
    });
    there.following.textContent = "";
  }
}

window.addEventListener("beforeprint", () => document.querySelectorAll(".report details:not(.numbers)").forEach((one) => { one.open = true; }));
