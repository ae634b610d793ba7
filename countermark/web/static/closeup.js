// What the detectors looked at: each face at its most suspicious moment, the heat map of it, its mouth through a second.

import { clock, el } from "/static/dom.js";

const MOUTH_SAYS = "Teeth that flicker, lips that stick or a mouth that slides over the face are worth a second look; a mouth that looks right proves nothing.";

/**
 * A card that stays away until there is a picture for it.
 * @param onseek moves the video, or null
 * @returns {element, take(one, picture)}: `one` as the server tells it, `picture(name)` resolves with an address
 */
export function closeups(onseek) {
  const list = el("ul", { class: "closeups" });
  const element = el("section", { class: "card", "aria-labelledby": "closeup-title", hidden: true },
    el("h2", { id: "closeup-title" }, "What the detectors looked at"), list);
  const shown = new Set();

  async function take(one, picture) {
    if (shown.has(one.track)) return;
    shown.add(one.track);
    const name = `face ${one.track + 1}`, at = clock(one.seconds);
    const figure = async (file, alt, caption, kind = "") => {
      const image = el("img", { src: await picture(file), alt });
      return el("figure", { class: kind }, image, caption && el("figcaption", { class: "hint" }, caption));
    };
    const item = el("li", { class: "closeup", "data-track": one.track },
      el("div", { class: "row" }, el("h3", {}, `Face ${one.track + 1}${onseek ? ` at ${at}` : ""}`),
        onseek && el("button", { type: "button", class: "button small", onclick: () => onseek(one.seconds + 0.02) }, "Show this moment", el("span", { class: "unseen" }, ` of ${name}`))),
      el("div", { class: "looks" },
        await figure(one.face, `${name} at ${at}, enlarged`, "As it is in the file."),
        one.heat && await figure(one.heat, `Heat map of ${name} at ${at}`, one.heat_says, "heat"),
        one.mouth && await figure(one.mouth, `The mouth of ${name} in ${one.mouths} frames of the second from ${at}`, `The mouth through the second that begins there. ${MOUTH_SAYS}`, "strip")));
    const after = [...list.children].find((other) => Number(other.dataset.track) > one.track);
    list.insertBefore(item, after ?? null);
    element.hidden = false;
  }

  return { element, take };
}
