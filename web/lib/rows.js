/** Text files read bit by bit: their lines; and the rows of csv and tsv, as RFC 4180 says. */

import { BadFile } from "./kinds.js";

/** Characters of one line or field. What is longer is a quotation mark that was left open, and the rest of the file in it. */
const LONGEST = 64 * 1024 * 1024;

/** What to do about a file that is not UTF-8: the page guesses no encoding. */
export const NOT_UTF_8 = "is not UTF-8: save it so, or give it to textmill run, which has --encoding";

/** The lines of a file, without their newlines; a carriage return before one stays. Throws BadFile. */
export async function* linesOf(file) {
  const reader = file.stream().pipeThrough(new TextDecoderStream("utf-8", { fatal: true })).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = value.split("\n");
      parts[0] = rest + parts[0];
      rest = parts.pop();
      if (rest.length > LONGEST) throw new BadFile(`${file.name} has a line of more than ${LONGEST} characters.`);
      yield* parts;
    }
    if (rest) yield rest;
  } catch (error) {
    throw told(error, file);
  } finally {
    await reader.cancel().catch(() => {}); // who stops reading early lets the file go
  }
}

/** The error of reading a file, in words for its owner: BadFile where it is the file's. */
export function told(error, file) {
  if (error instanceof TypeError) return new BadFile(`${file.name} ${NOT_UTF_8}.`);
  if (error instanceof DOMException) return new BadFile(`${file.name} cannot be read: it was changed or removed after it was chosen, perhaps.`);
  return error;
}

/** The rows of a csv or tsv file: {cells, line (the one that it begins in, from 1), read}; empty lines are skipped. Throws BadFile. */
export async function* rowsOf(file, kind) {
  const comma = kind === "tsv" ? "\t" : ",";
  let row = null; // {cells, line, open}, open: the field in quotation marks that goes on in the next line
  let read = 0;
  let line = 0;
  for await (const raw of linesOf(file)) {
    read += raw.length + 1;
    line += 1;
    if (row === null) {
      if (ended(raw) === "") continue;
      row = { cells: [], line, open: null };
    }
    if (row.open?.length > LONGEST) break;
    if (!filled(row, raw, comma, file)) continue;
    yield { cells: row.cells, line: row.line, read };
    row = null;
  }
  if (row !== null) throw new BadFile(`${file.name}, line ${row.line}: is a quotation mark left open?`);
}

function ended(raw) {
  return raw.endsWith("\r") ? raw.slice(0, -1) : raw;
}

/** Adds what stands in a line to a row. Whether the row ends with it. */
function filled(row, raw, comma, file) {
  const line = ended(raw);
  let at = 0;
  for (;;) {
    if (row.open === null && line[at] !== '"') {
      const end = line.indexOf(comma, at);
      row.cells.push(line.slice(at, end === -1 ? undefined : end));
      if (end === -1) return true;
      at = end + 1;
      continue;
    }
    if (row.open === null) [row.open, at] = ["", at + 1];
    const [text, end] = quoted(line, at);
    if (end === -1) {
      // The field goes on: what ends the line is part of it as it is, so that places in results are places in the field.
      row.open += `${text}${raw.slice(line.length)}\n`;
      return false;
    }
    row.cells.push(row.open + text);
    row.open = null;
    if (end >= line.length) return true;
    if (line[end] !== comma) throw new BadFile(`${file.name}, line ${row.line}: something follows a closing quotation mark.`);
    at = end + 1;
  }
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
