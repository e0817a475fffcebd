/** Jobs: a live list, filtered by the address, with actions on all that match. */

import "../components/job-row.js";
import { call, get } from "../lib/api.js";
import { announce, h, put, say } from "../lib/dom.js";
import { listen } from "../lib/events.js";
import { plural } from "../lib/format.js";
import { pause } from "../lib/net.js";
import { link, replace } from "../lib/router.js";
import { ask } from "../components/ask.js";
import { FILTERS, asBody, asQuery, matches } from "../components/filters.js";
import { complaint, empty } from "../components/notice.js";

export const title = "Jobs";

const PAGE = 50;

/** Milliseconds between two looks at all keys' jobs: the stream of events is one key's. */
const EVERY = 5_000;

export async function show(outlet, { query, signal }) {
  const chosen = Object.fromEntries(FILTERS.map((name) => [name, query.get(name) ?? ""]));
  const list = new List(chosen, signal);
  const filters = h("tm-filters", { onfilter: ({ detail }) => list.filter(detail) });
  put(
    outlet,
    h("div.head", {}, h("h1", {}, "Jobs"), list.live, h("a.button.primary", { href: "#/new" }, "New job")),
    filters,
    list.trouble,
    list.rows,
    h("div.foot", {}, list.older, list.actions),
  );
  const [{ tasks }, { models }, { role }] = await Promise.all([
    get("/v1/tasks", {}, signal),
    get("/v1/models", {}, signal),
    get("/v1/stats", { hours: 1 }, signal),
    list.load(),
  ]);
  filters.build(chosen, tasks.map(({ name }) => name), models.map(({ name }) => name), role);
}

/** What an action on all that match is called, and what it does. */
const ACTIONS = {
  cancel: { button: "Cancel all that match…", verb: "Cancel", done: "cancelled", more: "What has an outcome keeps it." },
  retry: { button: "Retry failures of all that match…", verb: "Retry", done: "tried again", more: "Their failed documents are processed again." },
};

class List {
  constructor(chosen, signal) {
    this.chosen = chosen;
    this.signal = signal;
    this.byId = new Map();
    this.cursor = null;
    this.rows = h("ul.jobs", { "aria-label": "Jobs, newest first" });
    this.trouble = h("div");
    this.older = h("button", { type: "button", hidden: true, onclick: () => this.more() }, "Older jobs");
    this.live = h("button.live", { type: "button", "aria-pressed": "true", onclick: () => this.toggle() }, "Live");
    this.actions = h("div.actions", {}, this.action("cancel"), this.action("retry"));
    this.follow();
  }

  /** Whether the jobs of all keys are shown: an operator's key may see them. */
  get ofAll() {
    return this.chosen.keys === "all";
  }

  /** The first page, anew. What was heard since it was asked for may be missing in it, or be newer. */
  async load() {
    this.cursor = null;
    this.actions.hidden = this.ofAll; // they are about one key's jobs
    const meanwhile = (this.meanwhile = new Map());
    const page = await this.page();
    if (page === null || meanwhile !== this.meanwhile) return;
    this.meanwhile = null;
    this.byId.clear();
    put(this.rows);
    this.add(page);
    for (const job of meanwhile.values()) this.heard(job);
  }

  async more() {
    const page = await this.page();
    if (page) this.add(page);
  }

  /** The next page; null where other filters were chosen meanwhile. A search may answer with nothing and a cursor. */
  async page() {
    const { chosen } = this;
    const found = [];
    try {
      do {
        const page = await get("/v1/jobs", { ...asQuery(chosen), limit: PAGE, cursor: this.cursor }, this.signal);
        if (chosen !== this.chosen) return null;
        found.push(...page.jobs);
        this.cursor = page.next_cursor;
      } while (this.cursor !== null && found.length < PAGE);
      put(this.trouble);
    } catch (error) {
      if (this.signal.aborted) throw error;
      put(this.trouble, complaint(error));
    }
    return found;
  }

  add(jobs) {
    for (const job of jobs) if (!this.byId.has(job.id)) this.rows.append(this.row(job));
    this.older.hidden = this.cursor === null;
    this.noteEmpty();
  }

  row(job) {
    const row = h("tm-job-row", { ".job": job });
    const item = h("li", { ".accepted": Date.parse(job.created_at) }, row);
    this.byId.set(job.id, { row, item });
    return item;
  }

  /** A job that the stream told of. */
  heard(job) {
    this.meanwhile?.set(job.id, job);
    const known = this.byId.get(job.id);
    const belongs = matches(job, this.chosen);
    if (known && belongs) known.row.job = job;
    else if (known) this.drop(job.id);
    else if (belongs) this.place(job);
    this.noteEmpty();
  }

  drop(id) {
    this.byId.get(id).item.remove();
    this.byId.delete(id);
  }

  /** Puts a job among the others by its time; not below them, where pages are that were not read. */
  place(job) {
    const accepted = Date.parse(job.created_at);
    for (const item of this.rows.children) {
      if (item.accepted <= accepted) return item.before(this.row(job));
    }
    return this.cursor === null && this.rows.append(this.row(job));
  }

  noteEmpty() {
    this.rows.querySelector(".empty")?.parentNode.remove();
    if (this.byId.size) return;
    const filtered = Object.values(this.chosen).some(Boolean);
    this.rows.append(h("li", {}, filtered ? empty("No job matches.") : empty("No jobs yet. ", h("a", { href: "#/new" }, "Submit one"), " or ", h("a", { href: "#/try" }, "try a text"), ".")));
  }

  async filter(chosen) {
    const others = chosen.keys !== this.chosen.keys;
    this.chosen = chosen;
    if (others && !this.following.signal.aborted) {
      this.following.abort();
      this.follow();
    }
    replace(link("jobs", chosen));
    await this.load();
    announce(`${plural(this.byId.size, "job")} shown`);
  }

  /** Follows what happens to the jobs until the view is left or paused. */
  follow() {
    this.following = new AbortController();
    const signal = AbortSignal.any([this.signal, this.following.signal]);
    const followed = this.ofAll ? this.lookAgain(signal) : listen("/v1/events", {
      signal,
      onEvent: (name, job) => name === "job" && this.heard(job),
      onOpen: (again) => again && this.load(),
    });
    followed.catch((error) => signal.aborted || put(this.trouble, complaint(error)));
  }

  /** Asks for the first page again and again. Rows stay where they are: they may have the focus. */
  async lookAgain(signal) {
    for (let failed = false; ; ) {
      await pause(EVERY, signal);
      const { chosen } = this;
      let page;
      try {
        page = await get("/v1/jobs", { ...asQuery(chosen), limit: PAGE }, signal);
      } catch (error) {
        if (signal.aborted || error.status < 500) throw error;
        put(this.trouble, complaint(error)); // it may pass: the next look says more
        failed = true;
        continue;
      }
      if (failed) put(this.trouble);
      failed = false;
      if (chosen !== this.chosen) continue;
      const { jobs, next_cursor } = page;
      for (const job of jobs) this.heard(job);
      const found = new Set(jobs.map(({ id }) => id));
      const oldest = next_cursor === null ? -Infinity : Date.parse(jobs.at(-1)?.created_at);
      for (const [id, { item }] of this.byId) if (!found.has(id) && item.accepted > oldest) this.drop(id);
      this.noteEmpty();
    }
  }

  async toggle() {
    const paused = this.live.getAttribute("aria-pressed") === "true";
    this.live.setAttribute("aria-pressed", String(!paused));
    say(this.live, paused ? "Paused" : "Live");
    if (paused) this.following.abort();
    else {
      this.follow();
      await this.load();
    }
  }

  action(name) {
    return h("button", { type: "button", onclick: () => this.act(name) }, ACTIONS[name].button);
  }

  /** Asks with the number of jobs, and does it only while as many match. */
  async act(name) {
    const { verb, done, more } = ACTIONS[name];
    const body = asBody(this.chosen);
    try {
      let { matched } = await call("POST", `/v1/jobs/${name}`, { json: body, signal: this.signal });
      const jobs = plural(matched, "job");
      if (matched === 0) return put(this.trouble, complaint(new Error(`Nothing to ${name}: no job of those that match.`)));
      if (!(await ask({ question: `${verb} ${jobs}?`, more, yes: `${verb} ${jobs}`, bad: name === "cancel" }))) return undefined;
      let total = 0;
      for (let left = matched; left > 0; ) {
        const answer = await call("POST", `/v1/jobs/${name}`, { json: { ...body, expected: left }, signal: this.signal });
        total += answer.done.length;
        left = answer.left;
      }
      await this.load();
      put(this.trouble, h("p.notice", { role: "status" }, `${plural(total, "job")} ${done}.`));
    } catch (error) {
      if (!this.signal.aborted) put(this.trouble, complaint(error));
    }
    return undefined;
  }
}
