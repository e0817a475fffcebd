/** Models: what the catalogue offers, what each is good for, and where it is in memory. */

import { get } from "../lib/api.js";
import { h, put } from "../lib/dom.js";
import { plural } from "../lib/format.js";
import { link } from "../lib/router.js";
import { empty } from "../components/notice.js";
import { options } from "../components/facts.js";

export const title = "Models";

export async function show(outlet, { signal }) {
  const [{ models }, { workers }] = await Promise.all([get("/v1/models", {}, signal), get("/v1/workers", {}, signal)]);
  const tasks = [...new Set(models.map(({ task }) => task ?? "any task"))];
  put(
    outlet,
    h("div.head", {}, h("h1", {}, "Models")),
    models.length === 0 && empty("The catalogue is empty."),
    tasks.map((task) => h("section", { "aria-label": task }, h("h2", {}, task),
      h("ul.cards", {}, models.filter((model) => (model.task ?? "any task") === task).map((model) => h("li", {}, card(model, workers)))))),
  );
}

function card(model, workers) {
  const serving = workers.filter((worker) => !worker.draining && worker.models.includes(model.name));
  const resident = serving.filter((worker) => worker.resident.includes(model.name));
  const broken = serving.filter((worker) => worker.failed.includes(model.name));
  const where = resident.length ? `in memory on ${resident.map(place).join(", ")}` : serving.length ? "loaded when it is asked for" : "no worker serves it";
  return h("article.card", {},
    h("header", {}, h("h3", {}, model.name), model.default && h("span.badge", {}, "default"), model.task && h("a.button.quiet", { href: link("try", { task: model.task, model: model.name }), "aria-label": `Try ${model.name}` }, "Try")),
    h("p", { class: serving.length ? "where" : "where absent" }, where, broken.length > 0 && h("span.failed", {}, ` (failed to load on ${broken.map(place).join(", ")})`)),
    options({ ...languages(model), Window: plural(model.window, "token"), Licence: model.licence ?? "not stated", ...facts(model) }),
    model.limitations && h("p.limitations", {}, model.limitations));
}

function facts(model) {
  return Object.fromEntries([
    ["Labels", model.labels],
    ["Revision", model.revision?.slice(0, 12)],
    ["Source", model.source],
    ["Defaults", Object.keys(model.options).length ? Object.entries(model.options).map(([name, value]) => `${name} ${value}`) : null],
  ].filter(([, value]) => value));
}

/** From which language to which; between any of many where both sides are the same. */
function languages({ source_langs: from = [], target_langs: to = [] }) {
  if (from.length === 0) return {};
  const same = from.length > 2 && from.join() === to.join();
  return { Languages: same ? `between any of ${from.join(", ")}` : `${from.join(", ")} → ${to.join(", ")}` };
}

function place(worker) {
  return `${worker.host} ${worker.device}`;
}
