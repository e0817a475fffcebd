/** A job: how far it is, what failed and why, and each document beside what became of it. */

import "../components/code.js";
import "../components/deliveries.js";
import "../components/documents.js";
import "../components/pace.js";
import "../components/progress.js";
import "../components/state.js";
import { call, get } from "../lib/api.js";
import { h, put, say } from "../lib/dom.js";
import { save } from "../lib/download.js";
import { listen } from "../lib/events.js";
import { between, count, duration, ended, plural, rate, time } from "../lib/format.js";
import { existingJob } from "../lib/recipes.js";
import { go, jobLink, link, replace } from "../lib/router.js";
import { pause } from "../lib/net.js";
import { ask } from "../components/ask.js";
import { complaint } from "../components/notice.js";
import { options } from "../components/facts.js";

export const title = "Job";

/** Milliseconds until it is asked again what a job waits for. */
const LOOK_AGAIN = 2000;

export async function show(outlet, { rest: [id], query, signal }) {
  const [job, { models }] = await Promise.all([get(`/v1/jobs/${encodeURIComponent(id)}`, {}, signal), get("/v1/models", {}, signal)]);
  const view = new JobView(job, models.find(({ name }) => name === job.model), signal);
  document.title = `${job.task} ${job.id.slice(0, 8)} · Textmill`;
  put(outlet, view.element);
  view.follow();
  await view.documents.build(job, Object.fromEntries(query), signal);
}

class JobView {
  constructor(job, model, signal) {
    this.job = job;
    this.signal = signal;
    this.state = h("tm-state");
    this.bar = h("tm-progress");
    this.pace = h("tm-pace", { ".signal": signal });
    this.figures = h("dl.figures");
    this.timeline = h("ol.timeline", { "aria-label": "Timeline" });
    this.actions = h("div.actions");
    this.errors = h("section.errors", { "aria-label": "Errors" });
    this.trouble = h("div");
    this.deliveries = h("tm-deliveries", { ".signal": signal });
    this.waits = h("p.notice", { role: "status", hidden: true });
    this.documents = h("tm-documents", { onturn: ({ detail }) => replace(jobLink(job.id, detail)) });
    this.element = h("div", {},
      h("p.crumbs", {}, h("a", { href: "#/jobs" }, "Jobs"), " / ", h("code", {}, job.id)),
      h("div.head", {}, h("h1", {}, job.task, " ", h("span.model", {}, job.model)), this.state, this.actions),
      this.trouble, this.waits,
      h("section.progress", { "aria-label": "Progress" }, this.bar, this.figures, this.timeline, this.pace),
      this.errors,
      this.deliveries,
      h("div.columns", {},
        h("section", { "aria-labelledby": "documents" }, h("h2", { id: "documents" }, "Documents"), this.documents),
        aside(job, model)));
    this.update(job);
  }

  /** Shows the job as it is now. What can be clicked is built anew only where it differs. */
  update(job) {
    this.job = job;
    this.state.setAttribute("value", job.state);
    this.bar.counts = job.counts;
    this.pace.job = job;
    put(this.figures, figures(job));
    put(this.timeline, timeline(job));
    this.deliveries.job = job;
    this.waits.hidden = this.waits.hidden || ended(job) || job.counts.pending < job.counts.total;
    this.once("actions", [ended(job), job.counts.failed > 0, job.counts.cancelled > 0], () => put(this.actions, this.buttons()));
    this.once("errors", job.errors, () => [put(this.errors, this.errorTable()), (this.errors.hidden = !this.errors.firstChild)]);
    if (this.documents.job) this.documents.counts(job);
  }

  /** Draws where what it depends on has changed: a button that is pointed at must not be replaced under the pointer. */
  once(name, depends, draw) {
    this.drawn ??= {};
    const now = JSON.stringify(depends ?? null);
    if (this.drawn[name] === now) return;
    this.drawn[name] = now;
    draw();
  }

  follow() {
    if (ended(this.job)) return;
    const path = `/v1/jobs/${this.job.id}`;
    this.sayWhy(path).catch((error) => this.signal.aborted || put(this.trouble, complaint(error)));
    listen(`${path}/events`, {
      signal: this.signal,
      onEvent: (name, job) => name === "job" && this.update(job),
      onOpen: (again) => again && this.catchUp(path),
    }).catch((error) => put(this.trouble, complaint(error)));
  }

  /** What it waits for, as long as none of its documents is done: events do not tell that. */
  async sayWhy(path) {
    for (let { job } = this; !ended(this.job) && this.job.counts.pending === this.job.counts.total; job = await get(path, {}, this.signal)) {
      say(this.waits, job.notice ?? "");
      this.waits.hidden = !job.notice;
      await pause(LOOK_AGAIN, this.signal);
    }
    this.waits.hidden = true;
  }

  /** The job after a silence. What was heard while it was asked for is newer, if it was the end. */
  async catchUp(path) {
    const job = await get(path, {}, this.signal);
    if (!ended(this.job)) this.update(job);
  }

  buttons() {
    const { job } = this;
    const over = ended(job);
    const button = (label, does, bad) => h(`button${bad ? ".bad" : ""}`, { type: "button", onclick: does }, label);
    return [
      !over && button("Cancel", () => this.cancel(), true),
      over && job.counts.failed + job.counts.cancelled > 0 && button("Retry", () => this.retry()),
      over && button("Delete", () => this.remove(), true),
      h("details.menu", {}, h("summary", {}, "Download"), h("div.sheet", {},
        button("JSON lines", () => this.download("jsonl")), button("CSV", () => this.download("csv")))),
      h("details.menu", {}, h("summary", {}, "Code"), h("div.sheet.wide", {}, h("tm-code", { ".ways": existingJob(job) }))),
    ];
  }

  errorTable() {
    const codes = Object.entries(this.job.errors ?? {}).sort(([, one], [, other]) => other - one);
    if (codes.length === 0) return [];
    return [
      h("h2", {}, "Errors"),
      this.job.error && complaint(this.job.error),
      h("ul.codes", {}, codes.map(([code, times]) => h("li", {},
        h("code", {}, code), h("span", {}, plural(times, "document")),
        h("span.actions", {},
          h("button.quiet", { type: "button", onclick: () => this.documents.open({ state: "failed", code }) }, "Show"),
          h("button.quiet", { type: "button", onclick: () => this.retry([code]) }, "Retry these"))))),
    ];
  }

  async cancel() {
    const left = plural(this.job.counts.pending, "document");
    if (await ask({ question: "Cancel this job?", more: `${left} without an outcome will have none. What is done stays.`, yes: "Cancel the job", bad: true })) {
      await this.do(async () => this.update(await call("POST", `/v1/jobs/${this.job.id}/cancel`, { json: {} })));
    }
  }

  async retry(codes) {
    const { cancelled } = this.job.counts;
    const more = `Its ${plural(cancelled, "cancelled document")} will be processed, too.`;
    if (cancelled && !(await ask({ question: "Retry this job?", more, yes: "Retry" }))) return;
    await this.do(async () => {
      this.update(await call("POST", `/v1/jobs/${this.job.id}/retry`, { json: codes ? { codes } : {} }));
      this.documents.open({});
      this.follow();
    });
  }

  async remove() {
    const more = `Its ${plural(this.job.counts.total, "document")} and their results are removed for good.`;
    if (await ask({ question: "Delete this job?", more, yes: "Delete the job", bad: true })) {
      await this.do(async () => {
        await call("DELETE", `/v1/jobs/${this.job.id}`);
        go(link("jobs"));
      });
    }
  }

  download(kind) {
    return this.do(() => save(this.job, kind, this.signal));
  }

  async do(action) {
    put(this.trouble);
    try {
      await action();
    } catch (error) {
      if (!this.signal.aborted) put(this.trouble, complaint(error));
    }
  }
}

function figures({ counts, documents_per_second, eta_seconds, open, ...job }) {
  const over = ended(job);
  const shown = [
    ["Documents", `${count(counts.total)}${open ? "+" : ""}`, ""],
    ["Succeeded", count(counts.succeeded), "succeeded"],
    ["Failed", count(counts.failed), counts.failed ? "failed" : ""],
    counts.cancelled > 0 && ["Cancelled", count(counts.cancelled), ""],
    !over && ["Waiting", count(counts.pending), ""],
    ["Rate", rate(documents_per_second), ""],
    !over && ["Remaining", duration(eta_seconds), ""],
  ];
  return shown.filter(Boolean).map(([label, value, tone]) => h("div", {}, h("dt", {}, label), h(`dd${tone && `.${tone}`}`, {}, value)));
}

function timeline(job) {
  const step = (label, at, since) => h("li", { class: at ? "done" : "" }, h("b", {}, label), " ", at ? time(at) : "not yet",
    at && since && h("span.quietly", {}, ` after ${duration(between(since, at))}`));
  return [step("Accepted", job.created_at), step("Started", job.started_at, job.created_at), step("Ended", job.finished_at, job.started_at)];
}

function aside(job, model) {
  const { limitations, licence, window: tokens } = model ?? {};
  return h("aside", { "aria-label": "About this job" },
    h("h2", {}, "Options"), options(job.options, { Priority: job.priority, Key: job.key }),
    Object.keys(job.metadata).length > 0 && [h("h2", {}, "Metadata"), options(job.metadata)],
    h("h2", {}, "Model"),
    options({ Name: job.model, ...(tokens && { Window: plural(tokens, "token") }), ...(licence && { Licence: licence }) }),
    limitations && h("p.limitations", {}, limitations));
}

