/** <tm-documents>: a job's results, page by page, by state, by error code or by id. */

import "./state.js";
import { get } from "../lib/api.js";
import { announce, h, put, unique, unseen } from "../lib/dom.js";
import { count, plural, time } from "../lib/format.js";
import { text } from "./cut-text.js";
import { complaint, empty } from "./notice.js";
import { beside, shown, side } from "../outputs/outputs.js";

const PAGE = 20;

const FILTERS = [
  ["", "All"],
  ["succeeded", "Succeeded"],
  ["failed", "Failed"],
  ["cancelled", "Cancelled"],
];

class Documents extends HTMLElement {
  /** Dispatches "turn" with {state, code, document, cursors} whenever it shows something else. */
  build(job, { state = "", code = "", document: wanted = "" }, signal) {
    Object.assign(this, { job, signal, state, code, wanted, cursors: [null] });
    this.tabs = FILTERS.map(([value, label]) => {
      const number = h("span.number");
      const button = h("button.tab", { type: "button", "data-state": value, onclick: () => this.open({ state: value }) }, label, " ", number);
      return { value, number, button };
    });
    const id = unique("document");
    this.search = h("input", { id, type: "search", placeholder: "Document id", ".value": wanted, spellcheck: "false" });
    this.only = h("button.tab", { type: "button", "aria-pressed": true, hidden: true, onclick: () => this.open({}) });
    this.body = h("div.documents-body", { "aria-live": "off" });
    this.place = h("span.quietly");
    this.back = h("button", { type: "button", onclick: () => this.turn(-1) }, "Previous");
    this.forth = h("button", { type: "button", onclick: () => this.turn(1) }, "Next");
    put(
      this,
      h("div.documents-top", {},
        h("div.tabs", { role: "group", "aria-label": "Documents by outcome" }, this.tabs.map(({ button }) => button), this.only),
        h("form.find", { role: "search", "aria-label": "A document", onsubmit: (event) => this.find(event) },
          h("label.unseen", { for: id }, "Document id"), this.search, h("button", {}, "Find"))),
      this.body,
      h("nav.pager", { "aria-label": "Pages of documents" }, this.back, this.place, this.forth),
    );
    this.counts(job);
    return this.load();
  }

  /** The job has changed: the numbers follow; the page stays as it is, unless it can still grow. */
  counts(job) {
    const before = this.job.counts;
    this.job = job;
    const numbers = { "": job.counts.total - job.counts.pending, ...job.counts };
    for (const { value, number, button } of this.tabs) {
      number.textContent = count(numbers[value]);
      button.setAttribute("aria-pressed", String(value === this.state && !this.code && !this.wanted));
    }
    this.only.hidden = !(this.code || this.wanted);
    put(this.only, this.code || this.wanted, " ×", unseen(": show all"));
    const changed = before.pending !== job.counts.pending;
    // What is being read now may have been read before the change: it is read once more then.
    if (changed && this.loading) this.stale = true;
    else if (changed && !this.full) this.load();
  }

  open({ state = "", code = "", wanted = "" }) {
    Object.assign(this, { state, code, wanted, cursors: [null], full: false });
    if (!wanted) this.search.value = "";
    this.counts(this.job);
    this.dispatchEvent(new CustomEvent("turn", { detail: { state, code, document: wanted } }));
    return this.load();
  }

  find(event) {
    event.preventDefault();
    this.open({ wanted: this.search.value.trim() });
  }

  async turn(by) {
    if (by < 0) this.cursors.pop();
    else this.cursors.push(this.next);
    this.full = false;
    await this.load();
    this.scrollIntoView({ block: "start" });
    announce(this.place.textContent);
  }

  async load() {
    const asked = (this.loading = Symbol("load"));
    try {
      const { results, next } = this.wanted ? await this.one() : await this.page();
      if (asked !== this.loading) return; // another page was asked for meanwhile
      this.draw(results, next);
    } catch (error) {
      if (this.signal.aborted) return;
      if (asked === this.loading) put(this.body, complaint(error));
    } finally {
      if (asked === this.loading) this.loading = null;
    }
    if (this.stale && !this.loading && !this.full) {
      this.stale = false;
      await this.load();
    }
  }

  async page() {
    const query = { include: "text", limit: PAGE, cursor: this.cursors.at(-1), state: this.state, code: this.code };
    const found = [];
    // A search by state or code looks at a bounded stretch at a time, and may find nothing in it.
    let cursor = query.cursor;
    do {
      const page = await get(`/v1/jobs/${this.job.id}/results`, { ...query, cursor, limit: PAGE - found.length }, this.signal);
      found.push(...page.results);
      const moved = page.next_cursor !== cursor;
      cursor = page.next_cursor;
      if (!moved) break;
    } while (cursor !== null && found.length < PAGE && (this.state || this.code));
    return { results: found, next: cursor };
  }

  async one() {
    const id = encodeURIComponent(this.wanted);
    const [document, result] = await Promise.all([
      get(`/v1/jobs/${this.job.id}/documents/${id}`, {}, this.signal),
      get(`/v1/jobs/${this.job.id}/results/${id}`, {}, this.signal).catch((error) => {
        if (error.code === "result_not_ready") return { state: "waiting", output: null, error: null };
        throw error;
      }),
    ]);
    return { results: [{ ...result, ...document }], next: null };
  }

  draw(results, next) {
    this.next = next;
    this.full = results.length >= PAGE;
    const first = results[0]?.position;
    const last = results.at(-1)?.position;
    put(this.body, results.length ? results.map((result) => card(result, this.job)) : empty(this.nothing()));
    this.place.textContent = results.length ? (this.wanted ? `Position ${count(first + 1)}` : `${count(first + 1)} to ${count(last + 1)}`) : "";
    this.back.disabled = this.cursors.length === 1;
    this.forth.disabled = next === null || !this.full;
  }

  nothing() {
    if (this.job.counts.total === 0) return "No documents yet.";
    return this.job.counts.pending ? "None yet: results come in the order of the documents." : "None.";
  }
}

/** A document beside what became of it. */
function card(result, job) {
  const heading = h("h3", {}, h("span.position", {}, count(result.position + 1)), " ", h("code", {}, result.id));
  return h("article.document", { "aria-label": `Document ${result.id}` },
    h("header", {}, heading, h("tm-state", { value: result.state }), h("p.quietly.facts", {}, facts(result))),
    beside(result.fields),
    body(result, job));
}

function facts(result) {
  const known = [
    result.attempts > 0 && plural(result.attempts, "attempt"),
    result.input_tokens !== null && result.input_tokens !== undefined && plural(result.input_tokens, "token"),
    result.output_tokens ? `${count(result.output_tokens)} generated` : null,
    result.pieces > 1 ? plural(result.pieces, "piece") : null,
  ].filter(Boolean).join(" · ");
  return [known, result.finished_at && [known && " · ", time(result.finished_at)], result.truncated && [" ", h("strong.truncated", {}, "truncated")]];
}

function body(result, job) {
  if (result.output) return shown(job.task, result.text, result.output, job.options);
  const outcome = result.error ? h("p.notice.bad", {}, result.error.message, " ", h("code", {}, result.error.code)) : h("p.quietly", {}, "No outcome.");
  return h("div.pair", {}, side("Document", text(result.text)), side("Outcome", outcome));
}

customElements.define("tm-documents", Documents);
