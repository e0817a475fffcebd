/** A summary beside its document. */

import { h } from "../lib/dom.js";
import { text } from "../components/cut-text.js";
import { side } from "./outputs.js";

export function summary(source, output) {
  return h("div.pair", {}, side("Document", text(source)), side("Summary", text(output.summary_text, "text.strong")));
}
