/** <tm-pace>: how fast a job went, as a chart that follows the job. Set `.signal`, then `.job` whenever it has changed. */

import "./chart.js";
import { get } from "../lib/api.js";
import { h, put } from "../lib/dom.js";
import { rate } from "../lib/format.js";
import { pause } from "../lib/net.js";
import { complaint } from "./notice.js";

const EVERY = 2000;
/** Milliseconds between two looks at least. */

const FEWEST = 3;
/** Documents, and buckets, that make a picture. */

class Pace extends HTMLElement {
  set job(job) {
    this.decided = job.counts.succeeded + job.counts.failed;
    const now = JSON.stringify([job.started_at, job.finished_at, job.counts]);
    if (now === this.seen) return;
    this.seen = now;
    this.changed = true;
    this.following ??= this.follow(job.id);
  }

  /** Looks, and looks again for as long as the job has changed meanwhile. */
  async follow(id) {
    try {
      while (this.changed) {
        this.changed = false;
        this.draw(await get(`/v1/jobs/${id}/pace`, {}, this.signal));
        await pause(EVERY, this.signal);
      }
    } catch (error) {
      if (!this.signal.aborted) put(this, complaint(error));
    }
    this.following = null;
  }

  draw({ buckets, exact }) {
    if (Math.min(buckets.length, this.decided) < FEWEST) return put(this);
    this.chart ??= h("tm-chart");
    if (!this.chart.isConnected) put(this, this.chart);
    const points = buckets.map(({ start, documents_per_second: value }) => ({ at: new Date(start), value }));
    const show = (value) => (exact ? rate(value) : `about ${rate(value)}`);
    return this.chart.draw({ points, show, label: "Documents per second" });
  }
}

customElements.define("tm-pace", Pace);
