/** A text as it is, white space included; a very long one is cut for the eye, with a button for the rest. */

import { h, put } from "../lib/dom.js";
import { count } from "../lib/format.js";

export const SHOWN = 3000;

/**
 * An element that holds `draw(most)`: what of the text's first `most` characters is shown. Drawn whole on demand.
 * length: of the text, in UTF-16 units.
 */
export function cut(length, draw) {
  const box = h("div");
  if (length <= SHOWN * 1.2) return put(box, draw(Infinity));
  const all = h("button.quiet", { type: "button", onclick: () => put(box, draw(Infinity)) }, `Show all ${count(length)} characters`);
  return put(box, draw(SHOWN), h("p.more", {}, "… ", all));
}

/** A text that stays what it is. `className`: "text" is set for reading. */
export function text(whole, className = "text") {
  if (whole === "") return h(`div.${className}.nothing`, {}, "(an empty text)");
  return cut(whole.length, (most) => h(`div.${className}`, { dir: "auto" }, most === Infinity ? whole : whole.slice(0, most)));
}
