/** How a document's text and output are shown, by task. A new way is a file here and a line in OUTPUTS. */

import { h } from "../lib/dom.js";
import { text } from "../components/cut-text.js";
import { entities } from "./entities.js";
import { summary } from "./summary.js";
import { translation } from "./translation.js";

/** task -> (source text, output, job's options) -> element */
const OUTPUTS = {
  ner: entities,
  summarization: summary,
  translation: translation,
};

/** What became of a document, for reading. */
export function shown(task, source, output, options = {}) {
  return (OUTPUTS[task] ?? plain)(source, output, options);
}

/** A task that this page has no picture of: the text, and the output's fields beside it. */
function plain(source, output) {
  const fields = Object.entries(output).map(([name, value]) => [
    h("dt", {}, name),
    h("dd", {}, typeof value === "string" ? text(value) : h("pre", {}, JSON.stringify(value, null, 1))),
  ]);
  return h("div.pair", {}, side("Document", text(source)), side("Output", h("dl.fields", {}, fields)));
}

/** One half of a pair, under its heading. */
export function side(heading, ...children) {
  return h("section.side", {}, h("h4", {}, heading), ...children);
}
