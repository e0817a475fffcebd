/** Server-sent events over fetch: EventSource cannot send the Authorization header. */

import { Problem, Unreachable, request } from "./api.js";
import { backOff, pause } from "./net.js";

/**
 * Listens until the signal aborts, and connects again whenever the stream ends.
 *
 * onEvent(name, data): data is parsed JSON. onOpen(again): each time the stream is open, again: not for the first time;
 * what happened meanwhile comes by itself where the server still knows it, but a view had better look.
 * Returns where the server says that nothing more will come. Throws Problem where it refuses for good.
 */
export async function listen(path, { onEvent, onOpen, signal, query }) {
  let lastId = null;
  let opened = false;
  for (let tries = 0; !signal.aborted; tries += 1) {
    const looked = await seen(signal);
    let wait = null;
    try {
      const headers = { Accept: "text/event-stream", ...(lastId === null ? {} : { "Last-Event-ID": lastId }) };
      const answer = await request("GET", path, { headers, signal: looked, query });
      if (answer.status === 204) return; // all that there was to tell has been told
      onOpen?.(opened);
      opened = true;
      tries = 0;
      for await (const event of parsed(answer.body)) {
        if (event.id !== null) lastId = event.id;
        if (event.data !== "") onEvent(event.name, JSON.parse(event.data));
      }
    } catch (error) {
      if (signal.aborted) return;
      if (looked.aborted) continue;
      if (error instanceof Problem && !error.passes) throw error;
      wait = error.retryAfter ? 1000 * error.retryAfter : null;
      if (!(error instanceof Problem || error instanceof Unreachable || error instanceof TypeError)) throw error;
    }
    // A stream that breaks in the middle is a TypeError of fetch. The next request finds out whether the server is there.
    if (!signal.aborted) await pause(wait ?? backOff(tries), signal).catch(() => {});
  }
}

/**
 * Waits until the tab is seen, and gives a signal that aborts when it no longer is: a browser has six connections for all
 * tabs of a server, and streams that nobody looks at would use them up.
 */
async function seen(signal) {
  while (document.hidden && !signal.aborted) await happens(document, "visibilitychange", signal);
  const hidden = new AbortController();
  const both = AbortSignal.any([signal, hidden.signal]);
  document.addEventListener("visibilitychange", () => document.hidden && hidden.abort(), { signal: both });
  return both;
}

function happens(target, name, signal) {
  return new Promise((resolve) => {
    target.addEventListener(name, resolve, { once: true, signal });
    signal.addEventListener("abort", resolve, { once: true });
  });
}

/** The events of a stream of bytes, as the HTML standard says: fields by line, a blank line ends an event. */
async function* parsed(body) {
  let event = { id: null, name: "message", data: [] };
  for await (const line of lines(body)) {
    if (line === "") {
      if (event.data.length || event.id !== null) yield { ...event, data: event.data.join("\n") };
      event = { id: null, name: "message", data: [] };
      continue;
    }
    const [, field, value] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
    if (field === "data") event.data.push(value ?? "");
    else if (field === "event") event.name = value ?? "";
    else if (field === "id") event.id = value ?? "";
  }
}

/** The lines of a stream of bytes in UTF-8, without their ends. */
export async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const parts = (rest + value).split("\n");
      rest = parts.pop();
      for (const part of parts) yield part.endsWith("\r") ? part.slice(0, -1) : part;
    }
    if (rest) yield rest;
  } finally {
    await reader.cancel().catch(() => {}); // who stops reading early lets the connection go
  }
}
