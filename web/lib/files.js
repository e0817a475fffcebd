/** Files -> documents, streamed: a file may be larger than memory, except that one text must fit. As docs/files.md says. */

import { lines } from "./events.js";

/** What a file is taken for, by its suffix. Markdown is text. */
const KINDS = { txt: "text", md: "text", markdown: "text", text: "text", jsonl: "jsonl", ndjson: "jsonl", csv: "csv", tsv: "tsv" };

export const ACCEPTED = Object.keys(KINDS).map((suffix) => `.${suffix}`).join(",");

export class BadFile extends Error {}

/** The kind of a file. Throws BadFile for one that is none of ours: taken as text, its markup would be translated. */
export function kindOf(file) {
  const suffix = file.name.split(".").at(-1).toLowerCase();
  const kind = KINDS[suffix];
  if (!kind) throw new BadFile(`${file.name}: only ${ACCEPTED.replaceAll(",", ", ")} files are read.`);
  return kind;
}

/** The columns of a csv or tsv file. */
export async function columnsOf(file) {
  for await (const { cells } of rows(file, kindOf(file))) return cells;
  throw new BadFile(`${file.name} has no first row with the names of its columns.`);
}

/**
 * The documents of the files: {id or null, text, read}, read: bytes of all files that are behind it.
 * perLine: a text file has a document a line. columns: {text, id or ""} of csv and tsv files.
 */
export async function* documents(files, { perLine = false, columns = null }) {
  let before = 0;
  for (const file of files) {
    const kind = kindOf(file);
    const found = { text: perLine ? byLine : whole, jsonl: byJson, csv: byRow, tsv: byRow }[kind](file, columns, kind);
    for await (const { id, text, read } of found) yield { id, text, read: before + Math.min(read, file.size) };
    before += file.size;
  }
}

async function* whole(file) {
  yield { id: file.webkitRelativePath || file.name, text: await decoded(file), read: file.size };
}

async function decoded(file) {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch (error) {
    if (error instanceof TypeError) throw new BadFile(`${file.name} is not UTF-8.`);
    throw error;
  }
}

async function* byLine(file) {
  let read = 0;
  for await (const line of lines(file.stream())) {
    read += line.length + 1;
    yield { id: null, text: line, read };
  }
}

async function* byJson(file) {
  let read = 0;
  let number = 0;
  for await (const line of lines(file.stream())) {
    read += line.length + 1;
    number += 1;
    if (!line.trim()) continue;
    const { id = null, text } = object(line, `${file.name}, line ${number}`);
    if (typeof text !== "string") throw new BadFile(`${file.name}, line ${number}: no "text" that is a string.`);
    yield { id, text, read };
  }
}

function object(line, where) {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new BadFile(`${where}: ${error.message}`);
  }
}

async function* byRow(file, columns, kind) {
  let at = null;
  for await (const { cells, read, number } of rows(file, kind)) {
    if (at === null) {
      at = { width: cells.length, text: place(file, cells, columns.text), id: columns.id ? place(file, cells, columns.id) : null };
      continue;
    }
    if (cells.length !== at.width) {
      throw new BadFile(`${file.name}, row ${number}: ${cells.length} fields where the first row has ${at.width}.`);
    }
    yield { id: at.id === null ? null : cells[at.id], text: cells[at.text], read };
  }
}

function place(file, header, wanted) {
  const at = header.indexOf(wanted);
  if (at === -1) throw new BadFile(`${file.name}: no column is named "${wanted}".`);
  return at;
}

/** The rows of a csv or tsv file as RFC 4180 says: {cells, number (from 1), read}; empty lines are skipped. */
async function* rows(file, kind) {
  const comma = kind === "tsv" ? "\t" : ",";
  let cells = [];
  let open = null; // the field in quotation marks that goes on in the next line
  let read = 0;
  let number = 0;
  for await (const line of lines(file.stream())) {
    read += line.length + 1;
    if (open === null && line === "") continue;
    let at = 0;
    for (;;) {
      if (open === null && line[at] !== '"') {
        const end = line.indexOf(comma, at);
        cells.push(line.slice(at, end === -1 ? undefined : end));
        if (end === -1) break;
        at = end + 1;
        continue;
      }
      if (open === null) [open, at] = ["", at + 1];
      const [text, end] = quoted(line, at);
      open += text;
      if (end === -1) break; // the field has a newline
      cells.push(open);
      open = null;
      if (end >= line.length) break;
      if (line[end] !== comma) throw new BadFile(`${file.name}, row ${number + 1}: something follows a closing quotation mark.`);
      at = end + 1;
    }
    if (open !== null) {
      open += "\n";
      continue;
    }
    number += 1;
    yield { cells, number, read };
    cells = [];
  }
  if (open !== null) throw new BadFile(`${file.name}: a quotation mark is left open.`);
}

/** What of a quoted field stands in this line from `at` on, and the place behind its closing mark, or -1. */
function quoted(line, at) {
  let text = "";
  for (;;) {
    const mark = line.indexOf('"', at);
    if (mark === -1) return [text + line.slice(at), -1];
    text += line.slice(at, mark);
    if (line[mark + 1] !== '"') return [text, mark + 1];
    text += '"';
    at = mark + 2;
  }
}
