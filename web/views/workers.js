/** Workers: who is at work, on what, and what waits for nobody. */

import { get } from "../lib/api.js";
import { h, put } from "../lib/dom.js";
import { between, count, duration, percent, plural, rate, time } from "../lib/format.js";
import { pause } from "../lib/net.js";
import { empty } from "../components/notice.js";

export const title = "Workers";

const EVERY = 3000;

export async function show(outlet, { signal }) {
  const workers = h("ul.cards", { "aria-label": "Live workers" });
  const queue = h("div");
  put(outlet, h("div.head", {}, h("h1", {}, "Workers")), h("h2.unseen", {}, "Live"), workers, h("h2", {}, "Waiting"), queue);
  for (;;) {
    const [live, stats] = await Promise.all([get("/v1/workers", {}, signal), get("/v1/stats", { hours: 1 }, signal)]);
    put(workers, live.workers.length ? live.workers.map((worker) => h("li", {}, card(worker, stats.now))) : h("li", {}, empty("No worker is alive: what is submitted waits.")));
    put(queue, waiting(stats.queued, new Set(live.workers.filter((worker) => !worker.draining).flatMap((worker) => worker.models))));
    await pause(EVERY, signal);
  }
}

function card(worker, now) {
  const heard = between(worker.heartbeat_at, now ?? worker.heartbeat_at);
  const figures = [
    ["Load", percent(worker.load)],
    ["Rate", rate(worker.documents_per_second)],
    ["Batch fill", percent(worker.batch_fill)],
    ["Slots", count(worker.slots)],
    ["Heartbeat", `${duration(Math.round(heard))} ago`],
  ];
  return h("article.card", {},
    h("header", {}, h("h3", {}, worker.host, " ", h("span.model", {}, worker.device)),
      worker.draining && h("strong.truncated", { title: "It was told to end: it takes no more, and does what it has." }, "draining")),
    h("dl.figures.small", {}, figures.map(([label, value]) => h("div", {}, h("dt", {}, label), h("dd", {}, value)))),
    h("p.quietly", {}, `Process ${worker.pid}, since `, time(worker.started_at)),
    h("ul.tags", { "aria-label": "Models" }, sorted(worker).map((model) => h("li", { class: state(worker, model) }, model, h("span.unseen", {}, `: ${state(worker, model)}`)))),
    h("p.quietly.key", {}, h("span.dot.resident"), " in memory ", h("span.dot.served"), " when asked for", worker.failed.length > 0 && [" ", h("span.dot.broken"), " did not load"]));
}

/** What is in memory first, then what did not load. */
function sorted(worker) {
  const order = ["resident", "broken", "served"];
  return [...worker.models].sort((one, other) => order.indexOf(state(worker, one)) - order.indexOf(state(worker, other)));
}

function state(worker, model) {
  if (worker.failed.includes(model)) return "broken";
  return worker.resident.includes(model) ? "resident" : "served";
}

function waiting(queued, served) {
  if (queued.length === 0) return empty("Nothing waits.");
  return h("div.scroll", {}, h("table", {},
    h("thead", {}, h("tr", {}, ["Model", "Task", "Waiting", "Oldest", ""].map((name) => h("th", { scope: "col" }, name || h("span.unseen", {}, "Note"))))),
    h("tbody", {}, queued.map((row) => h("tr", {},
      h("th", { scope: "row" }, row.model), h("td", {}, row.task),
      h("td", {}, plural(row.documents, "document")),
      h("td", {}, duration(row.oldest_seconds)),
      h("td", {}, !served.has(row.model) && h("strong.truncated", {}, "no worker serves it")))))));
}
