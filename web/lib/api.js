/** The public HTTP API: one function that speaks it, and what its errors mean. */

import { key } from "./key.js";
import * as net from "./net.js";

/** Where the API is: beside this page, below whatever prefix a proxy has put both. */
export const BASE = new URL(".", document.baseURI);

/** What the server answered instead of what was asked for: problem+json with a stable code. */
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.code = body.code ?? `http_${status}`;
    this.details = body.details ?? {};
    this.retryAfter = retryAfter;
  }

  /** Whether the same request may succeed later. */
  get passes() {
    return this.status === 429 || this.status === 502 || this.status === 503 || this.status === 504;
  }
}

/** No answer at all: the server restarts, or the network is gone. */
export class Unreachable extends Error {
  constructor() {
    super("The server does not answer.");
  }
}

/** The address of a call. Query values that are null, undefined or "" are left out; arrays repeat. */
export function address(path, query = {}) {
  const url = new URL(path.replace(/^\//, ""), BASE);
  for (const [name, value] of Object.entries(query)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== null && one !== undefined && one !== "") url.searchParams.append(name, one);
    }
  }
  return url;
}

/** The raw answer. Throws Problem, Unreachable, or the signal's reason. */
export async function request(method, path, { query, json, body, headers = {}, signal } = {}) {
  const used = key();
  const sent = { Authorization: `Bearer ${used ?? ""}`, ...headers };
  if (json !== undefined) sent["Content-Type"] = "application/json";
  let answer;
  try {
    answer = await fetch(address(path, query), {
      method,
      headers: sent,
      body: json === undefined ? body : JSON.stringify(json),
      signal,
      cache: "no-store",
      credentials: "omit",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    net.isSilent();
    throw new Unreachable();
  }
  if (answer.status < 502 || answer.status > 504) net.answers();
  if (answer.ok) return answer;
  const problem = new Problem(answer.status, await bodyOf(answer), Number(answer.headers.get("Retry-After")) || null);
  if (problem.status === 401) window.dispatchEvent(new CustomEvent("refused", { detail: { problem, used } }));
  throw problem;
}

async function bodyOf(answer) {
  const isJson = (answer.headers.get("Content-Type") ?? "").includes("json");
  return isJson ? answer.json() : {};
}

/** The answer as an object; null where it has no body. */
export async function call(method, path, options = {}) {
  const answer = await request(method, path, options);
  return answer.status === 204 ? null : answer.json();
}

/** A GET that waits for a server that is away, until the signal aborts. Only for what may be asked twice. */
export async function get(path, query = {}, signal = undefined) {
  for (let tries = 0; ; tries += 1) {
    try {
      return await call("GET", path, { query, signal });
    } catch (error) {
      if (!(error instanceof Unreachable || error.passes)) throw error;
      await net.pause(error.retryAfter ? error.retryAfter * 1000 : net.backOff(tries), signal);
    }
  }
}
