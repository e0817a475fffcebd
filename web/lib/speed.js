/** How fast a job has gone while somebody looked: counts become a rate over time, kept for this tab. */

const MOST = 240;
const STEP = 900;
/** Milliseconds between two points at least: what is closer together is noise. */

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

  /** Documents per second between one sample and the next. */
  get points() {
    return this.samples.slice(1).map(([at, done], index) => {
      const [before, had] = this.samples[index];
      return { at: new Date(at), value: (1000 * (done - had)) / Math.max(1, at - before) };
    });
  }
}
