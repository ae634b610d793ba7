// Which task is shown, by the part of the address behind #.

import { getJson } from "/static/api.js";
import { showBatch } from "/static/batch.js";
import { showCatalog } from "/static/catalog.js";
import { showCheck } from "/static/check.js";
import { showCompare } from "/static/compare.js";
import { byId } from "/static/dom.js";
import { showForge } from "/static/forge.js";

const VIEWS = { check: showCheck, batch: showBatch, compare: showCompare, forge: showForge, catalog: showCatalog };
const begun = new Set();

function show(about) {
  const wanted = location.hash.slice(1);
  const name = wanted in VIEWS ? wanted : "check";
  for (const view of Object.keys(VIEWS)) byId(`view-${view}`).hidden = view !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page"); else link.removeAttribute("aria-current");
  }
  document.title = `Countermark: ${byId(`${name}-title`).textContent.toLowerCase()}`;
  if (!begun.has(name)) { begun.add(name); VIEWS[name](about); }
}

// a file dropped beside the drop zone must not replace the page
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());

const about = await getJson("/api/about").catch((problem) => ({ version: "", has_catalog: false, limits: {}, problem: problem.message }));
byId("catalog-link").hidden = !about.has_catalog;
byId("version").textContent = about.version ? `Countermark ${about.version}.` : "";
window.addEventListener("hashchange", () => { if (location.hash !== "#main") { show(about); byId("main").focus({ preventScroll: true }); window.scrollTo(0, 0); } });
show(about);
