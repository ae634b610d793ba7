// A declared portrait says a speech. The clip comes back signed, and can be checked at once.

import { blobUrl, getBlob, runJob } from "/static/api.js";
import { check } from "/static/check.js";
import { announce, byId, clock, download, el, fill } from "/static/dom.js";
import { problemCard } from "/static/progress.js";

const EMOTIONS = [["", "neutral"], ["happy:0.5", "happy"], ["sad:0.5", "sad"], ["angry:0.5", "angry"], ["surprised:0.5", "surprised"]];

export function showForge(about) {
  const most = about.limits.speech_seconds;
  const words = el("textarea", { name: "consent", id: "forge-consent", rows: 2, maxlength: 1000, "aria-describedby": "consent-hint", placeholder: "Ada Example agreed on 2026-03-01 to a demo clip for this newsroom" });
  const about_consent = el("div", { class: "field", hidden: true },
    el("label", { for: "forge-consent" }, "Who agreed, when, to what"), words,
    el("p", { class: "hint", id: "consent-hint" }, "This sentence goes into the clip's credential, for everybody to read."));
  const choose = (value, text, checked) => el("label", { class: "choice" },
    el("input", { type: "radio", name: "declaration", value, checked, required: true, onchange: () => { about_consent.hidden = value !== "consent"; } }), el("span", {}, text));
  fill(byId("forge-form"),
    el("div", { class: "pair" },
      el("div", { class: "field" }, el("label", { for: "forge-portrait" }, "Portrait"), el("input", { id: "forge-portrait", name: "portrait", type: "file", accept: "image/*", required: true }), el("p", { class: "hint" }, "A picture with one face that looks at the camera.")),
      el("div", { class: "field" }, el("label", { for: "forge-speech" }, "Speech"), el("input", { id: "forge-speech", name: "speech", type: "file", accept: "audio/*,video/*", required: true }), el("p", { class: "hint" }, `A sound file${most ? `, up to ${Math.round(most)} s` : ""}.`))),
    el("fieldset", {}, el("legend", {}, "Why this picture may be animated"),
      choose("nonexistent", "It shows nobody: generated, painted, drawn or rendered", false),
      choose("consent", "It shows a person, who agreed", false), about_consent),
    el("div", { class: "pair" },
      el("div", { class: "field" }, el("label", { for: "forge-license" }, "License of the picture (optional)"), el("input", { id: "forge-license", name: "license", type: "text", maxlength: 300 })),
      el("div", { class: "pair small" },
        el("div", { class: "field" }, el("label", { for: "forge-emotion" }, "Expression"), el("select", { id: "forge-emotion", name: "emotion" }, EMOTIONS.map(([value, name]) => el("option", { value }, name)))),
        el("div", { class: "field" }, el("label", { for: "forge-size" }, "Size"), el("select", { id: "forge-size", name: "size" }, el("option", { value: "512" }, "512 pixels"), el("option", { value: "256" }, "256 pixels"))))),
    el("div", { class: "row" }, el("button", { class: "button strong", type: "submit" }, "Make the clip")));
  byId("forge-form").addEventListener("submit", (event) => { event.preventDefault(); make(byId("forge-form"), words); });
}

async function make(form, words) {
  const place = byId("forge-result");
  const data = new FormData(form);
  const missing = !data.get("portrait").size ? "choose a portrait" : !data.get("speech").size ? "choose a speech" : !data.get("declaration") ? "say why this picture may be animated" : data.get("declaration") === "consent" && !words.value.trim() ? "say who agreed, when and to what" : null;
  if (missing) { problemCard(place, "Something is missing", missing); return; }
  if (data.get("declaration") !== "consent") data.delete("consent");
  const stopping = new AbortController();
  const bar = el("progress", { max: 1, "aria-label": "Progress of the film" });
  const now = el("p", {}, "Sending the files");
  fill(place, el("section", { class: "card" }, el("div", { class: "row" }, now, el("button", { type: "button", class: "button", onclick: () => stopping.abort() }, "Cancel")), bar));
  try {
    const { job, report } = await runJob("/api/forge", data, (status) => {
      if (status.planned) { bar.max = status.planned; bar.value = status.done; now.textContent = `Filming: ${status.done} of ${status.planned} frames`; }
      else { bar.removeAttribute("value"); now.textContent = status.step; }
    }, stopping.signal);
    const url = await blobUrl(job, "clip.mp4");
    const save = async () => download("countermark.mp4", await getBlob(`/api/jobs/${job}/files/clip.mp4`));
    const look = async () => check(new File([await getBlob(`/api/jobs/${job}/files/clip.mp4`)], "clip.mp4", { type: "video/mp4" }));
    fill(place, el("section", { class: "card", tabindex: "-1", id: "made" }, el("h2", {}, "Made, and signed"),
      el("video", { src: url, controls: true, playsinline: true, class: "made", "aria-label": "The clip that was made" }),
      el("p", {}, `${report.frames} frames, ${clock(report.seconds)}. Its credential says that it is synthetic, and: ${report.declaration}.`),
      el("div", { class: "saves" }, el("button", { type: "button", class: "button strong", onclick: save }, "Save the clip"), el("button", { type: "button", class: "button", onclick: look }, "Check it"))));
    byId("made").focus();
    announce("The clip is made and signed.");
  } catch (problem) {
    if (problem.name === "AbortError") { fill(place); announce("Cancelled."); } else problemCard(place, "The clip could not be made", problem.message);
  }
}
