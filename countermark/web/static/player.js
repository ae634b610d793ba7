// The file itself with a box around each face, following it. The file is the viewer's own: it is not sent back.

import { el, fill, percent } from "/static/dom.js";

const GAP_SECONDS = 1.2;

/** high, unsure, low or unjudged, by the report's own thresholds. */
export function level(probability, policy) {
  if (probability === null || probability === undefined) return "unjudged";
  if (probability >= policy.synthetic_from) return "high";
  return probability >= policy.no_sign_below ? "unsure" : "low";
}

/** Where a face is at a moment: between two sightings it is drawn between them; null where it was away. */
export function boxAt(points, seconds) {
  let low = 0, high = points.length - 1;
  if (high < 0) return null;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (points[middle][0] <= seconds) low = middle; else high = middle - 1;
  }
  const before = points[low], after = points[low + 1];
  if (before[0] > seconds) return before[0] - seconds < GAP_SECONDS ? before.slice(1) : null;
  if (!after || after[0] - before[0] > GAP_SECONDS * 2) return seconds - before[0] < GAP_SECONDS ? before.slice(1) : null;
  const share = (seconds - before[0]) / (after[0] - before[0]);
  return before.slice(1).map((v, i) => v + share * (after[i + 1] - v));
}

function probabilityAt(face, seconds) {
  const point = face.timeline.findLast((p) => p.seconds <= seconds + 0.01 && seconds - p.seconds < 2.5);
  return point ? point.probability : face.probability;
}

/**
 * @param file a File or Blob, or null where only pictures are at hand
 * @returns {element, seek(seconds), setTracks(tracks), setStill(url, text), ontime}
 */
export function player(file, report) {
  const isPicture = file ? file.type.startsWith("image/") : false;
  const canvas = el("canvas", { "aria-hidden": "true" });
  const note = el("p", { class: "hint note", role: "note" });
  const shell = el("div", { class: "screen" });
  const self = { element: el("div", { class: "player" }, shell, note), seek() {}, setTracks() {}, setStill() {}, ontime() {} };
  let tracks = null, media = null, url = null, still = null;

  if (file) {
    url = URL.createObjectURL(file);
    media = isPicture
      ? el("img", { src: url, alt: `The picture that was checked, ${report.file}` })
      : el("video", { src: url, controls: true, playsinline: true, preload: "auto", muted: true, "aria-label": `The video that was checked, ${report.file}` });
    shell.append(media, canvas);
    media.addEventListener("error", () => {
      media.hidden = true;
      canvas.hidden = true;
      note.textContent = "This browser cannot play the file. The check does not depend on that.";
      showStill();
    });
    const size = new ResizeObserver(() => draw());
    size.observe(shell);
    media.addEventListener(isPicture ? "load" : "loadeddata", () => draw());
    if (!isPicture) {
      const follow = () => { draw(); self.ontime(media.currentTime); if (!media.paused && !media.ended) requestAnimationFrame(follow); };
      for (const kind of ["play", "seeked", "pause", "timeupdate"]) media.addEventListener(kind, follow);
    }
  }

  function showStill() {
    if (still && (!media || media.hidden)) fill(shell, el("img", { src: still.url, alt: still.text }));
  }

  function boxes(seconds) {
    const width = tracks?.width || media.videoWidth || media.naturalWidth;
    const height = tracks?.height || media.videoHeight || media.naturalHeight;
    return report.faces.map((face) => {
      const seen = tracks?.faces.find((one) => one.track === face.track);
      if (seen) return [face, boxAt(seen.points, isPicture ? 0 : seconds)];
      if (tracks) return [face, null];
      const there = isPicture || (seconds >= face.first_second - 0.5 && seconds <= face.last_second + 0.5);
      return [face, there ? [face.box[0] / width, face.box[1] / height, face.box[2] / width, face.box[3] / height] : null];
    });
  }

  function draw() {
    const [w, h] = [media.clientWidth, media.clientHeight];
    const [own, tall] = isPicture ? [media.naturalWidth, media.naturalHeight] : [media.videoWidth, media.videoHeight];
    if (!w || !h || !own) return;
    const dense = window.devicePixelRatio || 1;
    canvas.width = w * dense;
    canvas.height = h * dense;
    canvas.style.width = `${w}px`;
    canvas.style.height = `${h}px`;
    canvas.style.left = `${media.offsetLeft}px`;
    canvas.style.top = `${media.offsetTop}px`;
    const paint = canvas.getContext("2d");
    paint.scale(dense, dense);
    const scale = Math.min(w / own, h / tall);
    const [left, top] = [(w - own * scale) / 2, (h - tall * scale) / 2];
    const colours = { high: "#ff6b5e", unsure: "#f2c94c", low: "#cfe3f7", unjudged: "#d0d0d0" };
    const seconds = isPicture ? 0 : media.currentTime;
    for (const [face, box] of boxes(seconds)) {
      if (!box) continue;
      const probability = isPicture ? face.probability : probabilityAt(face, seconds);
      const [x0, y0, x1, y1] = [left + box[0] * own * scale, top + box[1] * tall * scale, left + box[2] * own * scale, top + box[3] * tall * scale];
      const colour = colours[level(probability, report.policy)];
      paint.lineJoin = "round";
      paint.strokeStyle = "rgba(0,0,0,.55)";
      paint.lineWidth = 5;
      paint.strokeRect(x0, y0, x1 - x0, y1 - y0);
      paint.strokeStyle = colour;
      paint.lineWidth = 2.5;
      paint.strokeRect(x0, y0, x1 - x0, y1 - y0);
      const text = `Face ${face.track + 1}  ${probability === null ? "not judged" : percent(probability)}`;
      paint.font = "600 13px system-ui, sans-serif";
      const long = paint.measureText(text).width + 14;
      const y = y0 > 24 ? y0 - 24 : y1 + 2;
      paint.fillStyle = "rgba(15,18,24,.82)";
      paint.fillRect(x0 - 1, y, long, 22);
      paint.fillStyle = colour;
      paint.fillText(text, x0 + 6, y + 15.5);
    }
  }

  self.seek = (seconds) => {
    if (!media || isPicture || media.hidden) return;
    media.currentTime = Math.min(seconds, Number.isFinite(media.duration) ? media.duration : seconds);
    self.ontime(media.currentTime);
  };
  self.setTracks = (found) => { tracks = found; if (media && !media.hidden) draw(); };
  self.setStill = (address, text) => { still = { url: address, text }; showStill(); };
  self.isPicture = isPicture;
  self.canSeek = () => Boolean(media) && !isPicture && !media.hidden;
  self.close = () => { if (url) URL.revokeObjectURL(url); };
  return self;
}
