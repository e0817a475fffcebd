/** Entities marked where they stand in the text, each with its label and score. */

import { h } from "../lib/dom.js";
import { cut } from "../components/cut-text.js";
import { count } from "../lib/format.js";

const HUES = 8;

export function entities(source, output) {
  const found = placed(source, output.entities);
  const labels = [...new Set(found.map((entity) => kind(entity.label)))].sort();
  const hue = new Map(labels.map((label, index) => [label, hueOf(label, index)]));
  return h("div", {},
    labels.length > 0 && h("ul.legend", {}, labels.map((label) => {
      const times = found.filter((entity) => kind(entity.label) === label).length;
      return h("li", { "data-hue": hue.get(label) }, h("b", {}, label), ` ${count(times)}`);
    })),
    labels.length === 0 && h("p.quietly", {}, "No names were found."),
    cut(source.length, (most) => h("div.text.marked", { dir: "auto" }, marked(source, found, hue, most))));
}

/** The usual labels have the same colour in every text. */
const USUAL = { PER: 0, PERSON: 0, ORG: 1, LOC: 2, GPE: 2, MISC: 3, DATE: 4 };

function hueOf(label, index) {
  return USUAL[label] ?? 5 + (index % (HUES - 5));
}

/** `aggregation_strategy: none` says B- or I- before the label. */
function kind(label) {
  return label.replace(/^[BI]-/, "");
}

function marked(source, found, hue, most) {
  const parts = [];
  let at = 0;
  for (const { start, end, label, score } of found) {
    if (end > most) break;
    if (start < at) continue; // tokens by themselves can share a character
    const tag = h("span.tag", {}, label, " ", h("span.score", {}, score.toFixed(2)));
    parts.push(source.slice(at, start), h("mark", { "data-hue": hue.get(kind(label)) }, source.slice(start, end), "\u00a0", tag));
    at = end;
  }
  parts.push(most === Infinity ? source.slice(at) : source.slice(at, Math.max(at, most)));
  return parts;
}

/** Entities in their order, with places in UTF-16 units, as strings here count; the API counts code points. */
export function placed(source, given) {
  const sorted = [...given].sort((one, other) => one.start - other.start);
  const offset = counter(source);
  return sorted.map((entity) => ({
    start: offset(entity.start),
    end: offset(entity.end),
    label: entity.entity_group,
    score: entity.score,
  }));
}

/** Code points -> UTF-16 units; asked for places in any order, it walks from the last one where it can. */
function counter(source) {
  let points = 0;
  let units = 0;
  return (wanted) => {
    if (wanted < points) points = units = 0;
    while (points < wanted && units < source.length) {
      units += source.codePointAt(units) > 0xffff ? 2 : 1;
      points += 1;
    }
    return units;
  };
}
