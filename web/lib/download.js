/** A job's results as a file. The browser keeps what comes on its disk, so that a large job does not fill the memory. */

import { get, request } from "./api.js";
import { lines } from "./events.js";

const TYPES = { jsonl: "application/x-ndjson", csv: "text/csv" };

/** Streams the results into a file of that kind and gives it to the browser to keep. */
export async function save(job, kind, signal) {
  const answer = await request("GET", `/v1/jobs/${job.id}/results.jsonl`, { signal });
  const stream = kind === "csv" ? asCsv(answer.body, await columns(job.task, signal)) : answer.body;
  const blob = await new Response(stream, { headers: { "Content-Type": TYPES[kind] } }).blob();
  const url = URL.createObjectURL(blob);
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = `${job.task}-${job.id.slice(0, 8)}.${kind}`;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

/** The fields of a task's output, as the API describes them. */
async function columns(name, signal) {
  const { tasks } = await get("/v1/tasks", {}, signal);
  return Object.keys(tasks.find((task) => task.name === name).output.properties);
}

/** What follows the task's own columns, as in the files of `textmill run`. */
const AFTER = ["model", "model_revision", "backend", "dtype", "input_tokens", "output_tokens", "pieces", "truncated", "attempts", "finished_at"];

function asCsv(body, fields) {
  const results = lines(body);
  const encoder = new TextEncoder();
  const send = (controller, cells) => controller.enqueue(encoder.encode(row(cells)));
  return new ReadableStream({
    start: (controller) => send(controller, ["id", "position", "state", ...fields, "error_code", "error_message", ...AFTER]),
    async pull(controller) {
      const { done, value } = await results.next();
      if (done) return controller.close();
      const { output, error, ...result } = JSON.parse(value);
      return send(controller, [
        result.id, result.position, result.state, ...fields.map((name) => output?.[name]), error?.code, error?.message,
        ...AFTER.map((name) => result[name]),
      ]);
    },
    cancel: () => results.return(),
  });
}

/** A line as RFC 4180 says. */
export function row(cells) {
  return `${cells.map(cell).join(",")}\n`;
}

function cell(value) {
  if (value === null || value === undefined) return "";
  const text = typeof value === "string" ? value : JSON.stringify(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
