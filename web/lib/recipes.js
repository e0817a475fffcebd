/** What the page has done, as somebody would do it from a shell or a program. */

import { BASE } from "./api.js";

const AUTH = '-H "Authorization: Bearer $TEXTMILL_API_KEY"';

function server() {
  return BASE.href.replace(/\/$/, "");
}

/** A job of one text: submit, wait, read. */
export function oneText({ task, model, options, text }) {
  const body = JSON.stringify({ task, model, options, documents: [{ id: "1", text }] });
  return {
    curl: [
      `export TEXTMILL_URL=${shell(server())} TEXTMILL_API_KEY=...`,
      `job=$(curl -s "$TEXTMILL_URL/v1/jobs" ${AUTH} \\`,
      `  -H 'Content-Type: application/json' -d ${shell(body)} | sed 's/^{"id":"\\([^"]*\\)".*/\\1/')`,
      `until curl -s "$TEXTMILL_URL/v1/jobs/$job?wait=30" ${AUTH} | grep -q '"finished_at":"'; do sleep 1; done`,
      `curl -s "$TEXTMILL_URL/v1/jobs/$job/results" ${AUTH}`,
    ].join("\n"),
    Python: [
      "from textmill import Client",
      "",
      `with Client(${python(server())}, api_key="...") as mill:`,
      `    job = mill.submit(${python(task)}, [("1", ${python(text)})], model=${python(model)}${keywords(options)})`,
      "    job.wait()",
      "    for result in job.results():",
      "        print(result.id, result.output)",
    ].join("\n"),
  };
}

/** A job that is there: follow it and read its results. */
export function existingJob(job) {
  const path = `"$TEXTMILL_URL/v1/jobs/${job.id}`;
  return {
    curl: [
      `export TEXTMILL_URL=${shell(server())} TEXTMILL_API_KEY=...`,
      `until curl -s ${path}?wait=60" ${AUTH} | grep -q '"finished_at":"'; do sleep 1; done`,
      `curl -s ${path}/results.jsonl" ${AUTH} > results.jsonl`,
    ].join("\n"),
    Python: [
      "from textmill import Client",
      "",
      `with Client(${python(server())}, api_key="...") as mill:`,
      `    job = mill.job(${python(job.id)})`,
      "    job.wait(progress=True)",
      "    for result in job.results():",
      "        print(result.id, result.state, result.output)",
      "",
      "    # The same again, over documents of your own:",
      `    again = mill.submit(${python(job.task)}, open("documents.txt"), model=${python(job.model)}${keywords(job.options)})`,
    ].join("\n"),
  };
}

/** A word of a shell's command line. */
export function shell(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

/** A value as Python writes it. JSON's strings are Python's, but for surrogates, which a stored text has none of. */
export function python(value) {
  if (value === null || value === undefined) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(python).join(", ")}]`;
  if (typeof value === "object") {
    return `{${Object.entries(value).map(([name, one]) => `${python(name)}: ${python(one)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

function keywords(options) {
  return Object.entries(options).map(([name, value]) => `, ${name}=${python(value)}`).join("");
}
