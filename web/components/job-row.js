/** <tm-job-row>: a job in a list. Set `.job` as often as it changes; nothing is built anew then. */

import "./progress.js";
import "./state.js";
import { h, say } from "../lib/dom.js";
import { count, duration, ended, rate, shortId, time } from "../lib/format.js";
import { jobLink } from "../lib/router.js";

class JobRow extends HTMLElement {
  set job(job) {
    if (!this.firstChild) this.build(job);
    const { counts } = job;
    this.state.setAttribute("value", job.state);
    this.bar.counts = counts;
    say(this.done, count(counts.total - counts.pending));
    say(this.total, `of ${count(counts.total)}${job.open ? "+" : ""}`);
    say(this.rate, rate(job.documents_per_second));
    say(this.left, ended(job) ? "–" : duration(job.eta_seconds));
    say(this.failed, count(counts.failed));
    this.failed.classList.toggle("some", counts.failed > 0);
  }

  build(job) {
    this.state = h("tm-state");
    this.bar = h("tm-progress");
    [this.done, this.total, this.rate, this.left, this.failed] = ["b", "span", "span", "span", "span"].map((tag) => h(tag));
    this.append(
      h("div.what", {},
        h("a.name", { href: jobLink(job.id) }, h("b", {}, job.task), " ", h("span.model", {}, job.model)),
        h("div.quietly", {}, h("code", { title: job.id }, shortId(job.id)), " · ", time(job.created_at), job.key && [" · ", h("span", { title: "The key that it belongs to" }, job.key)], noted(job))),
      this.state,
      h("div.how-far", {}, this.bar, h("div.numbers", {}, this.done, " ", this.total)),
      h("div.figures-row", {}, figure("Rate", this.rate), figure("Remaining", this.left), figure("Failed", this.failed)),
    );
  }
}

function figure(label, value) {
  return h("div.figure", {}, h("span.label", {}, label), " ", value);
}

/** What the producer noted with the job. */
function noted(job) {
  const notes = Object.entries(job.metadata).map(([name, value]) => `${name}=${typeof value === "string" ? value : JSON.stringify(value)}`);
  return notes.length > 0 && h("span.notes", {}, ` · ${notes.join(", ").slice(0, 120)}`);
}

customElements.define("tm-job-row", JobRow);
