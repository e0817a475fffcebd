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

/** What a document has beside its text, or in its place: a question, the messages of a conversation. */
export function beside(fields) {
  const given = Object.entries(fields ?? {}).filter(([name]) => name !== "unreadable");
  if (!given.length) return null;
  return h("dl.fields.beside", {}, given.map(([name, value]) => [h("dt", {}, name), h("dd", {}, said(value))]));
}

function said(value) {
  if (typeof value === "string") return text(value);
  const turns = Array.isArray(value) && value.every((one) => typeof one?.role === "string" && typeof one.content === "string");
  if (turns) return h("dl.fields", {}, value.map((one) => [h("dt", {}, one.role), h("dd", {}, text(one.content))]));
  return h("pre", {}, JSON.stringify(value, null, 1));
}

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
