/** A translation beside its source: sentence by sentence where both have the same layout, as two texts elsewhere. */

import { h } from "../lib/dom.js";
import { cut, text } from "../components/cut-text.js";
import { side } from "./outputs.js";

export function translation(source, output, options) {
  const from = options.source_lang ?? null;
  const to = options.target_lang ?? null;
  const titles = [from ? `Source (${from})` : "Source", to ? `Translation (${to})` : "Translation"];
  const rows = aligned(source, output.translation_text, from, to);
  if (rows === null) return h("div.pair", {}, side(titles[0], text(source)), side(titles[1], text(output.translation_text)));
  return cut(source.length, (most) => table(within(rows, most), titles, from, to));
}

function table(rows, titles, from, to) {
  return h("table.aligned", {},
    h("thead", {}, h("tr", {}, titles.map((title) => h("th", { scope: "col" }, title)))),
    h("tbody", {}, rows.map(([one, other]) =>
      h("tr", {}, h("td.text", { dir: "auto", lang: from }, one), h("td.text", { dir: "auto", lang: to }, other)))));
}

/** The first rows whose sources have so many characters together; one at least. */
function within(rows, most) {
  let seen = 0;
  const end = rows.findIndex(([one]) => (seen += one.length) > most);
  return end === -1 ? rows : rows.slice(0, Math.max(1, end));
}

/**
 * [source, translation] pairs, or null where the layouts differ. The rule of translation keeps blank lines and lists as
 * they are, so blocks pair by their order; inside a block sentences pair where both have as many.
 */
export function aligned(source, translated, from, to) {
  const left = blocks(source);
  const right = blocks(translated);
  if (left.length !== right.length || left.length === 0) return null;
  return left.flatMap((block, index) => {
    const ones = sentences(block, from);
    const others = sentences(right[index], to);
    return ones.length === others.length ? ones.map((one, at) => [one, others[at]]) : [[block, right[index]]];
  });
}

function blocks(whole) {
  return whole.split(/\n[ \t]*\n+/).map((block) => block.trim()).filter((block) => block !== "");
}

function sentences(block, language) {
  const segmenter = new Intl.Segmenter(known(language), { granularity: "sentence" });
  // A newline inside prose is soft in the source, and the browser's rule would end a sentence there.
  const joined = block.replace(/\n(?=\S)(?![-*•\d])/g, " ");
  return Array.from(segmenter.segment(joined), ({ segment }) => segment.trim()).filter((one) => one !== "");
}

/** The language where the browser can make anything of its code. */
function known(language) {
  try {
    return Intl.getCanonicalLocales(language ?? [])[0];
  } catch (error) {
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}
