// The score over time: one line a face, the thresholds, and a playhead that follows the video and can be moved.

import { clock, el, percent, svg } from "/static/dom.js";

const HEIGHT = 132, LEFT = 34, RIGHT = 8, TOP = 10, BOTTOM = 22;
const GAP_SECONDS = 2.5;

function ticks(span, most) {
  for (const step of [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200]) {
    if (span / step <= most - 1) return Array.from({ length: Math.floor(span / step) + 1 }, (_, i) => i * step);
  }
  return [0, Math.floor(span)];
}

/** Stretches of points without a hole: a face that was away is not joined to where it came back. */
function stretches(points) {
  const parts = [];
  let before = null;
  for (const point of points) {
    if (before === null || point.seconds - before.seconds > GAP_SECONDS) parts.push([]);
    parts.at(-1).push(point);
    before = point;
  }
  return parts;
}

export function highest(timeline) {
  return timeline.filter((p) => p.probability !== null).reduce((a, b) => (a && a.probability >= b.probability ? a : b), null);
}

/**
 * @param lines [{points: [{seconds, probability}], name, kind}], the first one is filled
 * @param policy {synthetic_from, no_sign_below}
 * @param segments [{start, end}], the stretches to mark
 * @returns an element with `.show(seconds)`, or null where there is nothing to draw
 */
export function timeline(lines, span, policy, { onseek = null, label, segments = [] }) {
  lines = lines.map((line) => ({ ...line, points: line.points.filter((p) => p.probability !== null) }));
  if (!lines[0] || lines[0].points.length < 2) return null;
  span = Math.max(span, ...lines.map((line) => line.points.at(-1)?.seconds ?? 0), 0.001);
  const top = highest(lines[0].points);
  const picture = svg("svg", { class: "plot", "aria-hidden": "true" });
  const wrap = el("div", onseek
    ? { class: "timeline", tabindex: "0", role: "slider", "aria-label": label, "aria-valuemin": 0, "aria-valuemax": span.toFixed(1), "aria-valuenow": 0 }
    : { class: "timeline", role: "img", "aria-label": `${label}: highest ${percent(top.probability)} at ${clock(top.seconds)}` },
  picture);
  const head = svg("line", { class: "head", y1: TOP - 4, y2: HEIGHT - BOTTOM });
  let width = 0, at = 0;
  const x = (seconds) => LEFT + (seconds / span) * (width - LEFT - RIGHT);
  const y = (probability) => TOP + (1 - probability) * (HEIGHT - TOP - BOTTOM);

  function draw() {
    width = Math.max(240, wrap.clientWidth);
    const floor = y(0), high = y(policy.synthetic_from), low = y(policy.no_sign_below);
    picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    const parts = [
      svg("rect", { class: "zone-high", x: LEFT, y: TOP, width: width - LEFT - RIGHT, height: high - TOP }),
      ...(segments || []).flatMap(({ start, end }) => {
        const [from, long] = [x(Math.min(start, span)), Math.max(1.5, x(Math.min(end, span)) - x(Math.min(start, span)))];
        return [svg("rect", { class: "stretch", x: from, y: TOP, width: long, height: floor - TOP }), svg("rect", { class: "stretch-mark", x: from, y: TOP - 6, width: long, height: 4 })];
      }),
      svg("line", { class: "axis", x1: LEFT, x2: width - RIGHT, y1: floor, y2: floor }),
      svg("line", { class: "limit", x1: LEFT, x2: width - RIGHT, y1: high, y2: high }),
      svg("text", { x: width - RIGHT, y: high - 4, "text-anchor": "end", class: "limit-text" }, `high from ${percent(policy.synthetic_from)}`),
      svg("line", { class: "limit low", x1: LEFT, x2: width - RIGHT, y1: low, y2: low }),
      ...[[1, "100%"], [0, "0%"]].map(([p, text]) => svg("text", { x: LEFT - 5, y: y(p) + 4, "text-anchor": "end" }, text)),
      ...ticks(span, Math.max(3, Math.floor(width / 70))).flatMap((second) => [
        svg("line", { class: "axis", x1: x(second), x2: x(second), y1: floor, y2: floor + 4 }),
        svg("text", { x: Math.min(x(second), width - 12), y: floor + 16, "text-anchor": "middle" }, clock(second)),
      ]),
    ];
    lines.forEach((line, index) => {
      for (const part of stretches(line.points)) {
        const path = part.map((p) => `${x(p.seconds).toFixed(1)},${y(p.probability).toFixed(1)}`).join(" ");
        if (index === 0) {
          parts.push(svg("polygon", { class: "area", points: `${x(part[0].seconds)},${floor} ${path} ${x(part.at(-1).seconds)},${floor}` }));
        }
        parts.push(part.length > 1
          ? svg("polyline", { class: `curve ${line.kind || ""}`, points: path })
          : svg("circle", { class: "dot", cx: x(part[0].seconds), cy: y(part[0].probability), r: 3 }));
      }
    });
    parts.push(svg("circle", { class: "peak", cx: x(top.seconds), cy: y(top.probability), r: 4.5 }), head);
    picture.replaceChildren(...parts);
    show(at);
  }

  function show(seconds) {
    at = seconds;
    head.setAttribute("x1", x(seconds));
    head.setAttribute("x2", x(seconds));
    head.setAttribute("visibility", onseek ? "visible" : "hidden");
    if (!onseek) return;
    const near = lines[0].points.findLast((p) => p.seconds <= seconds + 0.01);
    wrap.setAttribute("aria-valuenow", seconds.toFixed(1));
    wrap.setAttribute("aria-valuetext", `${clock(seconds)}, ${near ? percent(near.probability) : "no score"}`);
  }

  if (onseek) {
    const seek = (event) => {
      const box = picture.getBoundingClientRect();
      const share = ((event.clientX - box.left) * (width / box.width) - LEFT) / (width - LEFT - RIGHT);
      onseek(Math.min(1, Math.max(0, share)) * span);
    };
    wrap.addEventListener("pointerdown", (event) => { wrap.setPointerCapture(event.pointerId); seek(event); });
    wrap.addEventListener("pointermove", (event) => { if (event.buttons & 1) seek(event); });
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
    wrap.addEventListener("keydown", (event) => {
      if (event.key in steps) onseek(Math.min(span, Math.max(0, at + steps[event.key])));
      else if (event.key === "Home") onseek(0);
      else if (event.key === "End") onseek(span);
      else return;
      event.preventDefault();
    });
  }
  new ResizeObserver(draw).observe(wrap);
  wrap.show = show;
  return wrap;
}

/** The same numbers as a table, for those who cannot see a curve. */
export function timelineTable(points, title) {
  const known = points.filter((p) => p.probability !== null).slice(0, 600);
  return el("details", { class: "numbers" }, el("summary", {}, title),
    el("table", {},
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "Time"), el("th", { scope: "col" }, "Probability"))),
      el("tbody", {}, known.map((p) => el("tr", {}, el("td", {}, clock(p.seconds)), el("td", {}, percent(p.probability)))))));
}
