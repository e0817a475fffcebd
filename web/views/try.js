/** Try: one text, any model, the answer as a person reads it. */

import "../components/code.js";
import "../components/what.js";
import { call, get } from "../lib/api.js";
import { announce, h, put, unique } from "../lib/dom.js";
import { duration, ended } from "../lib/format.js";
import { oneText } from "../lib/recipes.js";
import { jobLink } from "../lib/router.js";
import { complaint } from "../components/notice.js";
import { shown } from "../outputs/outputs.js";

export const title = "Try";

const SLOW = 1500;
/** Milliseconds after which somebody who waits is told why. */

const EXAMPLES = {
  ner: "Grace Hopper worked on the Harvard Mark I with Howard Aiken, and later for Remington Rand in Philadelphia.",
  translation: "The library is small. It has no dependencies.",
  summarization: "This package provides a small library for reading and writing configuration files. It understands several formats, keeps comments in place, and reports errors with the line in which they stand.",
};

export async function show(outlet, { query, signal }) {
  const id = unique("text");
  const text = h("textarea", { id, rows: 7, name: "text", required: true, dir: "auto" });
  const what = h("tm-what");
  const run = h("button.primary", {}, "Run");
  const answer = h("section.answer", { "aria-label": "Answer" });
  const form = h("form.try", { onsubmit: (event) => tried(event) },
    h("label", { for: id }, "Text"), text, what, h("div.actions", {}, run, h("span.quietly", {}, "or Ctrl+Enter")));
  put(outlet, h("div.head", {}, h("h1", {}, "Try a text")), h("div.halves", {}, form, answer));
  text.addEventListener("keydown", (event) => event.key === "Enter" && (event.ctrlKey || event.metaKey) && form.requestSubmit());
  what.addEventListener("change", () => fill());
  // Names in a text are what shows most at a glance.
  await what.build({ task: query.get("task") ?? "ner", model: query.get("model") }, signal);
  fill();

  /** An example, as long as nobody has written anything. */
  function fill() {
    const untouched = text.value === "" || Object.values(EXAMPLES).includes(text.value);
    if (untouched) text.value = EXAMPLES[what.request.task] ?? "";
  }

  async function tried(event) {
    event.preventDefault();
    const asked = { ...what.request, text: text.value };
    const began = performance.now();
    run.disabled = true;
    answer.setAttribute("aria-busy", "true");
    const slow = setTimeout(() => put(answer, h("p.notice", { role: "status" }, "Waiting. A model that is asked for the first time has to be loaded.")), SLOW);
    try {
      const { job, result } = await ask(asked, signal);
      put(answer, picture(job, result, asked, (performance.now() - began) / 1000));
      announce(result ? `Answer: ${result.state}` : "No answer yet");
    } catch (error) {
      if (signal.aborted) return;
      put(answer, complaint(error));
    } finally {
      clearTimeout(slow);
      run.disabled = false;
      answer.removeAttribute("aria-busy");
    }
  }
}

/** A job of one document, waited for as long as one request may wait. */
async function ask({ text, ...request }, signal) {
  const json = { ...request, documents: [{ id: "1", text }], priority: "high", metadata: { from: "the page" } };
  const accepted = await call("POST", "/v1/jobs", { json, signal });
  const job = await get(`/v1/jobs/${accepted.id}`, { wait: 30 }, signal);
  const result = ended(job) ? await get(`/v1/jobs/${job.id}/results/1`, {}, signal) : null;
  return { job, result };
}

function picture(job, result, asked, seconds) {
  const facts = [
    `${duration(Number(seconds.toPrecision(2)))}`,
    result?.input_tokens !== null && result?.input_tokens !== undefined && `${result.input_tokens} tokens`,
    result?.output_tokens ? `${result.output_tokens} generated` : null,
    result?.pieces > 1 && `${result.pieces} pieces`,
    result?.truncated && "truncated",
  ].filter(Boolean).join(" · ");
  return [
    h("div.answer-top", {}, h("h2", {}, "Answer"), h("p.quietly", {}, facts, " · ", h("a", { href: jobLink(job.id) }, "the job"))),
    answerOf(job, result, asked.text),
    h("h2", {}, "The same request"),
    h("tm-code", { ".ways": oneText(asked) }),
  ];
}

function answerOf(job, result, text) {
  if (result === null) return h("p.notice", {}, "No worker has answered yet. ", h("a", { href: jobLink(job.id) }, "Look at the job"), ".");
  if (result.output) return shown(job.task, text, result.output, job.options);
  return complaint(result.error ?? new Error("The document was cancelled."));
}
