/** Numbers, times and states as people read them. */

import { h } from "./dom.js";

const whole = new Intl.NumberFormat();
const short = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
const tenths = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 2 });
const size = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const moment = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

export function count(number) {
  return whole.format(number);
}

/** A count with its noun: plural(1, "job") is "1 job". */
export function plural(number, noun) {
  return `${count(number)} ${noun}${number === 1 ? "" : "s"}`;
}

export function rate(perSecond) {
  return perSecond === null || perSecond === undefined ? "–" : `${short.format(perSecond)}/s`;
}

export function percent(part) {
  return part === null || part === undefined ? "–" : `${Math.round(part * 100)} %`;
}

export function bytes(number) {
  const units = ["bytes", "kB", "MB", "GB"];
  const unit = number < 1000 ? 0 : Math.min(3, Math.floor(Math.log10(number) / 3));
  return `${size.format(number / 1000 ** unit)} ${units[unit]}`;
}

/** Seconds as "0.4 s", "3 min 20 s", "2 h 5 min", "3 d 4 h". */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 60) return `${seconds < 10 ? tenths.format(seconds) : Math.round(seconds)} s`;
  const steps = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const at = steps.findIndex(([length]) => seconds >= length);
  const [length, unit] = steps[at];
  const [below, smaller] = steps[at + 1];
  const rest = Math.floor((seconds % length) / below);
  return `${Math.floor(seconds / length)} ${unit}${rest ? ` ${rest} ${smaller}` : ""}`;
}

/** Seconds from one ISO time to another. */
export function between(from, to) {
  return Math.max(0, (new Date(to) - new Date(from)) / 1000);
}

/** A <time> that shows the day and minute, and all of it to who points at it. */
export function time(iso) {
  if (!iso) return h("span", {}, "–");
  const date = new Date(iso);
  return h("time", { datetime: iso, title: exact.format(date) }, moment.format(date));
}

/** The first part of a job's id: enough to tell jobs apart, and a prefix that the filter takes. */
export function shortId(id) {
  return id.slice(0, 8);
}

export const STATES = {
  queued: "Queued",
  running: "Running",
  completed: "Completed",
  completed_with_errors: "Completed with errors",
  failed: "Failed",
  cancelled: "Cancelled",
};

export const ENDED = new Set(["completed", "completed_with_errors", "failed", "cancelled"]);

/** Whether every document has its outcome, also in a state that this page does not know. */
export function ended(job) {
  return ENDED.has(job.state) || job.finished_at !== null;
}
