/** A job that is sent up in chunks: at most one chunk is in memory, and a lost connection is waited out. */

import { Problem, Unreachable, call } from "./api.js";
import { unreadable } from "./files.js";
import { bytes } from "./format.js";
import { BadFile } from "./kinds.js";
import { backOff, pause } from "./net.js";

const DOCUMENTS = 500;
const BYTES = 1024 * 1024;
/** Of one chunk: well below what the server takes, so that progress is seen. */

/** The upload that runs, if any: it goes on while other views are looked at. */
export let current = null;

export class Upload extends EventTarget {
  /** total: bytes of all files, for progress. */
  constructor(total) {
    super();
    Object.assign(this, { total, read: 0, sent: 0, job: null, error: null, waiting: false, over: false });
    this.stopped = new AbortController();
    this.name = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
  }

  /** Stops it. What was accepted is cancelled. */
  stop() {
    this.stopped.abort();
  }

  /** Sends it all. Throws nothing: `error` says what went wrong. Dispatches "change" whenever something has changed. */
  async run(request, documents) {
    current = this;
    try {
      this.job = await this.patiently(() => this.post("/v1/jobs", { json: { ...request, open: true }, headers: { "Idempotency-Key": this.name } }));
      for await (const chunk of chunks(documents)) await this.append(chunk);
      if (!this.sent) throw new BadFile("There are no documents in it: the job is cancelled.");
      this.job = await this.patiently(() => this.post(`/v1/jobs/${this.job.id}/close`));
    } catch (error) {
      if (!this.stopped.signal.aborted) this.error = error;
      if (this.job) await call("POST", `/v1/jobs/${this.job.id}/cancel`, { json: {} }).catch((other) => (this.error ??= other));
    } finally {
      this.over = true;
      current = null;
      this.tell();
    }
  }

  async append(chunk) {
    try {
      await this.send(chunk.lines);
    } catch (error) {
      if (error.code !== "request_too_large" || chunk.count > 1) throw error;
      const { place, isFile } = chunk.last;
      const reason = `${place} has a text of ${bytes(chunk.size)}: more than the server takes in one request`;
      if (!isFile) throw new BadFile(`${reason}. Split it.`);
      await this.send(JSON.stringify(unreadable(place, "file_too_large", reason))); // by itself, and the others go on
    }
    this.sent += chunk.count;
    this.read = chunk.last.read;
    this.tell();
  }

  async send(lines) {
    // The offset makes repeating harmless: where the answer was lost, the server finds the chunk stored already.
    const headers = { "Content-Type": "application/x-ndjson", "Upload-Offset": String(this.sent) };
    await this.patiently(() => this.post(`/v1/jobs/${this.job.id}/documents`, { body: lines, headers }));
  }

  post(path, options = {}) {
    return call("POST", path, { ...options, signal: this.stopped.signal });
  }

  /** Tries again while the server is away or busy. */
  async patiently(attempt) {
    for (let tries = 0; ; tries += 1) {
      try {
        const answer = await attempt();
        if (this.waiting) [this.waiting] = [false, this.tell()];
        return answer;
      } catch (error) {
        if (!(error instanceof Unreachable || (error instanceof Problem && error.passes))) throw error;
        this.waiting = true;
        this.tell();
        await pause(error.retryAfter ? error.retryAfter * 1000 : backOff(tries), this.stopped.signal);
      }
    }
  }

  tell() {
    this.dispatchEvent(new Event("change"));
    window.dispatchEvent(new CustomEvent("upload", { detail: this }));
  }
}

const ENCODER = new TextEncoder();

/** Documents, a JSON object a line, in pieces of bounded size: {lines, count, size, last}. What is larger than a piece goes alone. */
async function* chunks(documents) {
  let lines = [];
  let size = 0;
  let last = null;
  for await (const found of documents) {
    const line = JSON.stringify(found.document);
    const length = ENCODER.encode(line).length + 1;
    if (lines.length && (lines.length === DOCUMENTS || size + length > BYTES)) {
      yield { lines: lines.join("\n"), count: lines.length, size, last };
      [lines, size] = [[], 0];
    }
    lines.push(line);
    size += length;
    last = { place: found.place, isFile: found.isFile, read: found.read };
  }
  if (lines.length) yield { lines: lines.join("\n"), count: lines.length, size, last };
}
