/** Which files the page reads, and what is said of the others. As docs/files.md says. */

import { shell } from "./recipes.js";

/** What a file is taken for, by its suffix. Markdown is text. */
const KINDS = {
  txt: "text", text: "text", md: "text", markdown: "text", rst: "text", log: "text",
  jsonl: "jsonl", ndjson: "jsonl", json: "json", csv: "csv", tsv: "tsv", tab: "tsv",
};

export const ACCEPTED = Object.keys(KINDS).map((suffix) => `.${suffix}`).join(",");

/** What the command reads and the page does not, by the extra of the wheel that it wants: no parser of these is part of a browser. */
const BY_COMMAND = {
  parquet: "parquet", pq: "parquet", arrow: "parquet", arrows: "parquet", feather: "parquet", zst: "parquet",
  pdf: "documents", docx: "documents", html: "documents", htm: "documents", xhtml: "documents",
  odt: null, epub: null, eml: null, gz: null,
};

/** What is wrong with a file, in a sentence that says what to do about it. */
export class BadFile extends Error {}

/** "csv", "text" and the like; null for a file that is none of ours: taken as text, its markup would be translated. */
export function kindOf(file) {
  return KINDS[suffixOf(file.name)] ?? null;
}

/** Throws BadFile, with the command that reads it if one does, for a file that the page does not read. */
export function refuseForeign(file, task = "TASK") {
  if (kindOf(file)) return;
  const extra = BY_COMMAND[suffixOf(file.name)];
  if (extra === undefined) throw new BadFile(`${file.name} is of a kind that is not read here: save its texts as txt, csv or jsonl.`);
  const first = extra ? ` (it wants pip install 'textmill[${extra}]')` : "";
  throw new BadFile(`${file.name} is not read in the browser, but by the command: textmill run ${task} ${shell(file.name)} -o results.jsonl${first}`);
}

function suffixOf(name) {
  return name.includes(".") ? name.split(".").at(-1).toLowerCase() : "";
}
