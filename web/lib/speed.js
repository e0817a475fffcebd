/**
 * How fast a job has gone: while somebody looked, its counts become a rate over time, kept for this tab. Of a small job
 * that ended unseen, the times of its results say the same; a large one is not read for a picture.
 */

import { get } from "./api.js";

const MOST = 240;
const STEP = 900;
/** Milliseconds between two points at least: what is closer together is noise. */

const SMALL = 500;
/** Documents of a job whose results are read for it: one page. */

const PARTS = 24;

export class Speed {
  constructor(id) {
    this.place = `textmill.speed.${id}`;
    this.samples = JSON.parse(sessionStorage.getItem(this.place) ?? "[]");
  }

  /** The job as it is at this moment. */
  note(job) {
    const done = job.counts.total - job.counts.pending;
    if (!job.started_at) return;
    const now = job.finished_at ? Date.parse(job.finished_at) : Date.now();
    const last = this.samples.at(-1);
    if (last && done < last[1]) this.samples = []; // it was tried again
    if (last && (now - last[0] < STEP || done === last[1]) && !job.finished_at) return;
    if (last && now <= last[0]) return;
    if (this.samples.length === 0 && job.finished_at) return; // nobody looked
    this.samples.push([now, done]);
    if (this.samples.length > MOST) this.samples = this.samples.filter((_, index) => index % 2 === 0);
    sessionStorage.setItem(this.place, JSON.stringify(this.samples));
  }

  /** Documents per second in equal parts of the time from the first outcome to the last; [] where that is too much. */
  static async afterwards(job, signal) {
    if (job.counts.total > SMALL) return [];
    const { results } = await get(`/v1/jobs/${job.id}/results`, { limit: SMALL }, signal);
    const times = results.filter(({ finished_at }) => finished_at).map(({ finished_at }) => Date.parse(finished_at));
    const from = Date.parse(job.started_at);
    const step = (Math.max(...times) - from) / PARTS;
    if (times.length < PARTS || !(step > 0)) return [];
    return Array.from({ length: PARTS }, (_, part) => {
      const end = from + (part + 1) * step;
      const inside = times.filter((time) => time > end - step && time <= end).length;
      return { at: new Date(end), value: (1000 * inside) / step };
    });
  }

  /** Documents per second between one sample and the next. */
  get points() {
    return this.samples.slice(1).map(([at, done], index) => {
      const [before, had] = this.samples[index];
      return { at: new Date(at), value: (1000 * (done - had)) / Math.max(1, at - before) };
    });
  }
}
