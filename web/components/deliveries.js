/** <tm-deliveries>: the last times that a job's end was told to its webhook. Set `.signal`, then `.job` whenever it has changed. */

import { call, get } from "../lib/api.js";
import { h, put } from "../lib/dom.js";
import { ended, time } from "../lib/format.js";
import { pause } from "../lib/net.js";
import { complaint } from "./notice.js";

const SHOWN = 5;

const EVERY = 2000;
/** Milliseconds between two looks at least, while something is still to be sent. */

const STATES = { pending: "to be sent", delivered: "delivered", failed: "given up" };

class Deliveries extends HTMLElement {
  set job(job) {
    this.hidden = !job.webhook;
    const now = JSON.stringify([job.webhook, job.finished_at]);
    if (this.hidden || now === this.drawn) return;
    this.drawn = this.seen = now;
    this.shown = null;
    this.path = encodeURIComponent(job.id);
    this.trouble = h("div");
    this.list = h("ul.codes");
    put(this, h("h2", {}, "Webhook"), h("p.quietly.address", {}, job.webhook), this.trouble, this.list);
    if (ended(job)) this.follow(now);
  }

  /** Looks, and looks again when the next attempt is due: until none is, or the job runs again. */
  async follow(now) {
    let failed = false;
    while (this.seen === now) {
      let due = [0];
      try {
        const { deliveries } = await get(`/v1/jobs/${this.path}/deliveries`, {}, this.signal);
        if (this.seen !== now) return;
        if (failed) put(this.trouble);
        failed = false;
        this.show(deliveries.slice(0, SHOWN));
        due = deliveries.filter(({ state }) => state === "pending").map((delivery) => new Date(delivery.next_attempt_at) - Date.now());
      } catch (error) {
        if (this.signal.aborted || this.seen !== now) return;
        put(this.trouble, complaint(error));
        if (error.status < 500) return; // it will not be otherwise
        failed = true;
      }
      if (due.length === 0) return;
      try {
        await pause(Math.max(EVERY, Math.min(...due)), this.signal);
      } catch {
        return; // the view was left
      }
    }
  }

  /** Drawn only when they have changed: who is about to press a button finds it where it was. */
  show(deliveries) {
    const now = JSON.stringify(deliveries);
    if (now === this.shown) return;
    this.shown = now;
    put(this.list, deliveries.map((delivery) => this.line(delivery)));
  }

  line({ id, type, state, attempts, created_at, next_attempt_at }) {
    const last = attempts.at(-1);
    const came = last && [last.outcome, last.status ?? last.detail].filter(Boolean).join(" ");
    return h("li", {},
      h("code", {}, type), h("span", {}, time(created_at)),
      h("span", {}, STATES[state] ?? state, came && state !== "delivered" && ` (${came})`),
      state === "pending" && last && h("span.quietly", {}, "again ", time(next_attempt_at)),
      h("span.actions", {}, h("button.quiet", { type: "button", onclick: () => this.resend(id) }, "Send again")));
  }

  async resend(id) {
    put(this.trouble);
    try {
      await call("POST", `/v1/jobs/${this.path}/deliveries/${id}/resend`);
      this.seen = `${this.seen} again`; // what follows the list now stops
      await this.follow(this.seen);
    } catch (error) {
      if (!this.signal.aborted) put(this.trouble, complaint(error));
    }
  }
}

customElements.define("tm-deliveries", Deliveries);
