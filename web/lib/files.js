/**
 * Files -> documents, streamed: a file may be larger than memory, except that one text must fit. As docs/files.md says:
 * rows that are not what they should be end the upload, with their place; a file that cannot be read is a document that
 * fails by itself, and the others go on.
 */

import { BadFile, kindOf } from "./kinds.js";
import { NOT_UTF_8, linesOf, rowsOf, told } from "./rows.js";

/** Bytes of a file that is held as a whole. */
const LARGEST = 256 * 1024 * 1024;

const LONGEST_ID = 512;

/** What cannot be stored: NUL, and half of a surrogate pair (a pair is one character here). */
const UNSTORABLE = /[\0\ud800-\udfff]/u;

/** The columns of a csv or tsv file. Throws BadFile. */
export async function columnsOf(file) {
  for await (const { cells } of rowsOf(file, kindOf(file))) return cells;
  throw new BadFile(`${file.name} has no first row with the names of its columns.`);
}

/** The document of a file that could not be read: it fails with that. code: one of docs/files.md. */
export function unreadable(id, code, message) {
  return { id, text: "", unreadable: { code, message: message.slice(0, 1000) } };
}

/**
 * The documents of the files: {document, place, isFile, read}. document: what is sent; place: for messages; isFile: whether
 * it is a whole file, whose faults are its own; read: bytes of all files that are behind it.
 * perLine: a text file has a document a line. columns: {text, id or ""} of csv and tsv files. fields: what documents of the
 * task may have beside their text, instead: which of it may stand in its place. Throws BadFile.
 */
export async function* documents(files, { perLine = false, columns = null, fields = [], instead = [] }) {
  // A cell is a text: what stands in for one is in no cell.
  const cells = fields.filter((name) => !instead.includes(name));
  const readers = {
    text: perLine ? byLine : whole, jsonl: (file) => byJson(file, instead), json: (file) => byList(file, instead),
    csv: (file) => byRow(file, "csv", columns, cells), tsv: (file) => byRow(file, "tsv", columns, cells),
  };
  let before = 0;
  for (const file of files) {
    for await (const { document, place, isFile = false, read } of readers[kindOf(file)](file)) {
      if (!isFile) check(document, place);
      yield { document, place, isFile, read: before + Math.min(read, file.size) };
    }
    before += file.size;
  }
}

async function* whole(file) {
  const id = file.webkitRelativePath || file.name;
  yield { document: await wholeText(file, id), place: id, isFile: true, read: file.size };
}

async function wholeText(file, id) {
  if (file.size > LARGEST) return unreadable(id, "file_too_large", `${id} has more than ${LARGEST} bytes`);
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch (error) {
    if (error instanceof TypeError) return unreadable(id, "file_encoding_unknown", `${id} ${NOT_UTF_8}`);
    if (error instanceof DOMException) return unreadable(id, "file_unreadable", told(error, file).message);
    throw error;
  }
  const bad = UNSTORABLE.exec(text);
  return bad ? unreadable(id, "file_not_text", `${id}: the text has ${named(bad)}`) : { id, text };
}

async function* byLine(file) {
  let read = 0;
  let number = 0;
  for await (const line of linesOf(file)) {
    read += line.length + 1;
    number += 1;
    yield { document: { text: line.endsWith("\r") ? line.slice(0, -1) : line }, place: `${file.name}, line ${number}`, read };
  }
}

async function* byJson(file, instead) {
  let read = 0;
  let number = 0;
  for await (const line of linesOf(file)) {
    read += line.length + 1;
    number += 1;
    if (!line.trim()) continue;
    const place = `${file.name}, line ${number}`;
    yield { document: ofObject(parsed(line, place), instead, place), place, read };
  }
}

async function* byList(file, instead) {
  if (file.size > LARGEST) throw new BadFile(`${file.name} has more than ${LARGEST} bytes: write it as jsonl.`);
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await file.arrayBuffer());
  } catch (error) {
    throw told(error, file);
  }
  const items = parsed(text, file.name);
  if (!Array.isArray(items)) throw new BadFile(`${file.name}: JSON of documents is a list of objects or of texts.`);
  for (const [at, item] of items.entries()) {
    const place = `${file.name}, row ${at + 1}`;
    yield { document: ofObject(typeof item === "string" ? { text: item } : item, instead, place), place, read: (file.size * (at + 1)) / items.length };
  }
}

function parsed(json, place) {
  try {
    return JSON.parse(json);
  } catch (error) {
    throw new BadFile(`${place} is not JSON: ${error.message}`);
  }
}

/** A JSON value as a document. What it has beside its text the server looks at: it knows the task. */
function ofObject(value, instead, place) {
  if (value === null || typeof value !== "object" || Array.isArray(value)) throw new BadFile(`${place}: a document is an object with a "text".`);
  const stoodIn = value.text === undefined && instead.some((name) => name in value);
  if (typeof value.text !== "string" && !stoodIn) throw new BadFile(`${place}: no "text" that is a string.`);
  const { id = null, ...rest } = value;
  if (id === null) return rest;
  // Whole numbers are written in one way only.
  if (typeof id !== "string" && !Number.isSafeInteger(id)) throw new BadFile(`${place}: an id is a text, or a whole number below 2^53.`);
  return { ...rest, id: String(id) };
}

async function* byRow(file, kind, columns, fields) {
  let at = null;
  for await (const { cells, read, line } of rowsOf(file, kind)) {
    if (at === null) {
      const beside = fields.filter((name) => cells.includes(name) && ![columns.text, columns.id].includes(name));
      at = { width: cells.length, text: position(file, cells, columns.text), id: columns.id ? position(file, cells, columns.id) : null };
      at.beside = beside.map((name) => [name, position(file, cells, name)]);
      continue;
    }
    const place = `${file.name}, line ${line}`;
    if (cells.length !== at.width) throw new BadFile(`${place}: ${cells.length} fields where the first row has ${at.width}.`);
    // An empty cell is an absent field: a table has no other way to say so.
    const beside = at.beside.map(([name, column]) => [name, cells[column]]).filter(([, cell]) => cell !== "");
    yield { document: { ...(at.id !== null && { id: cells[at.id] }), text: cells[at.text], ...Object.fromEntries(beside) }, place, read };
  }
}

/** Where the column is. Throws BadFile where there is none of that name, or several. */
function position(file, header, wanted) {
  const times = header.filter((name) => name === wanted).length;
  if (times === 1) return header.indexOf(wanted);
  const problem = times ? `${times} columns are` : "no column is";
  throw new BadFile(`${file.name}: ${problem} named "${wanted}"; it has: ${header.join(", ")}.`);
}

/** Throws BadFile where the server would refuse the row, which it knows by its number alone. */
function check({ id = null, text = "" }, place) {
  for (const [what, value] of [["text", text], ["id", id ?? ""]]) {
    const bad = UNSTORABLE.exec(value);
    if (bad) throw new BadFile(`${place}: the ${what} has ${named(bad)}.`);
  }
  const length = id === null ? 1 : [...id].length;
  if (length < 1 || length > LONGEST_ID) throw new BadFile(`${place}: an id has 1 to ${LONGEST_ID} characters, this one ${length}.`);
}

function named({ 0: character, index, input }) {
  const what = character === "\0" ? "a NUL character" : "half of a surrogate pair";
  return `${what} at character ${[...input.slice(0, index)].length}`;
}
