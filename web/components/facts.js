/** Names and values, side by side. */

import { h } from "../lib/dom.js";

/** A list of what was set, in the order given; `more` are facts that go before. */
export function options(values, more = {}) {
  const all = Object.entries({ ...more, ...values });
  if (all.length === 0) return h("p.quietly", {}, "None: as the model has them.");
  return h("dl.facts-list", {}, all.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, written(value)))));
}

function written(value) {
  if (Array.isArray(value)) return value.map(written).join(", ");
  return typeof value === "string" ? value : JSON.stringify(value);
}
