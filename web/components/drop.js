/** <tm-drop>: files, dropped or chosen, or lines that are typed; and how they become documents. */

import { announce, h, put, unique } from "../lib/dom.js";
import { columnsOf } from "../lib/files.js";
import { ACCEPTED, BadFile, kindOf, refuseForeign } from "../lib/kinds.js";
import { bytes, plural } from "../lib/format.js";
import { complaint } from "./notice.js";

/** Files that are refused at once are named up to here; a folder may have thousands. */
const NAMED = 5;

class Drop extends HTMLElement {
  connectedCallback() {
    if (this.files) return; // the form comes back after an upload that was refused, with what was chosen
    this.files = [];
    this.ready = Promise.resolve();
    const ids = [unique("files"), unique("lines")];
    this.input = h("input.unseen", { id: ids[0], type: "file", multiple: true, accept: ACCEPTED, onchange: () => this.take(this.input.files) });
    this.lines = h("textarea", { id: ids[1], rows: 5, name: "lines", dir: "auto", placeholder: "A text a line" });
    this.list = h("ul.files", { "aria-label": "Chosen files" });
    this.how = h("div.fields");
    this.trouble = h("div");
    const zone = h("div.zone", {}, this.input, h("p", {}, "Drop files here, or ", h("label.button", { for: ids[0] }, "choose files")), h("p.quietly", {}, "txt, md, csv, tsv, jsonl, json in UTF-8. Parquet, PDF, docx, HTML and more: by the command ", h("code", {}, "textmill run")));
    put(this, zone, this.trouble, this.list, this.how, h("details.paste", {}, h("summary", {}, "Or paste texts"), h("label", { for: ids[1] }, "Texts, one a line"), this.lines));
    for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, (event) => this.over(event, zone));
    zone.addEventListener("dragleave", () => zone.classList.remove("over"));
    zone.addEventListener("drop", (event) => {
      event.preventDefault();
      zone.classList.remove("over");
      this.take(event.dataTransfer.files);
    });
  }

  over(event, zone) {
    event.preventDefault();
    zone.classList.add("over");
  }

  /** Changes what is chosen, one change after the other: each looks into its files. What is `chosen` waits for all of them. */
  after(change) {
    this.ready = this.ready.catch(() => {}).then(change).then(() => this.show());
    return this.ready;
  }

  /** Adds those that can be read; each of the others is named, with what to do about it. task: for the command that is told. */
  take(files) {
    const given = Array.from(files); // now: the list is empty once its event is over
    this.input.value = "";
    return this.after(() => this.add(given));
  }

  async add(files) {
    const refused = [];
    for (const file of files) {
      try {
        refuseForeign(file, this.task?.());
        if (isTable(file)) await columnsOf(file);
        this.files.push(file);
      } catch (error) {
        if (!(error instanceof BadFile)) throw error;
        refused.push(error);
      }
    }
    const more = refused.length > NAMED && h("p.quietly", {}, `and ${plural(refused.length - NAMED, "file")} more that cannot be read here.`);
    put(this.trouble, refused.slice(0, NAMED).map(complaint), more);
    announce(`${plural(this.files.length, "file")} chosen`);
  }

  async show() {
    put(this.list, this.files.map((file) => h("li", {}, h("code", {}, file.name), h("span.quietly", {}, bytes(file.size)),
      h("button.quiet", { type: "button", "aria-label": `Leave out ${file.name}`, onclick: () => this.leaveOut(file) }, "×"))));
    const kinds = new Set(this.files.map(kindOf));
    const table = this.files.find(isTable);
    this.columns = table ? await this.columnChoice(table) : null;
    this.perLine = kinds.has("text") ? select("perLine", "A text file is", [["", "one document"], ["1", "a document a line"]]) : null;
    put(this.how, this.perLine?.field, this.columns && [this.columns.text.field, this.columns.id.field]);
  }

  async columnChoice(table) {
    const names = await columnsOf(table);
    const guess = names.includes("text") ? "text" : names.at(-1);
    return {
      text: select("text-column", "Column of the texts", names.map((name) => [name, name]), guess),
      id: select("id-column", "Column of the ids", [["", "none: by position"], ...names.map((name) => [name, name])], names.includes("id") ? "id" : ""),
    };
  }

  leaveOut(file) {
    return this.after(() => (this.files = this.files.filter((other) => other !== file)));
  }

  /** What to send: {files, options for `documents`, size in bytes}. Throws BadFile where there is nothing. */
  async chosen() {
    await this.ready;
    if (this.files.length) {
      const columns = this.columns && { text: this.columns.text.input.value, id: this.columns.id.input.value };
      return { files: this.files, options: { perLine: this.perLine?.input.value === "1", columns }, size: this.files.reduce((sum, file) => sum + file.size, 0) };
    }
    const typed = this.lines.value.split("\n").filter((line) => line.trim() !== "").join("\n");
    if (!typed) throw new BadFile("There are no documents: drop a file, or paste texts.");
    const file = new File([typed], "pasted.txt");
    return { files: [file], options: { perLine: true }, size: file.size };
  }
}

function isTable(file) {
  return ["csv", "tsv"].includes(kindOf(file));
}

function select(name, label, choices, chosen = "") {
  const id = unique(name);
  const input = h("select", { id, name }, choices.map(([value, text]) => h("option", { value, selected: value === chosen }, text)));
  return { input, field: h("div.field", {}, h("label", { for: id }, label), input) };
}

customElements.define("tm-drop", Drop);
