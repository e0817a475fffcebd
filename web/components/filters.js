/** <tm-filters>: what the Jobs view shows. Dispatches "filter" with the query of the address in `detail`. */

import { h, put, unique } from "../lib/dom.js";
import { STATES } from "../lib/format.js";

/** Names of the API's filters; the address and the calls have the same. */
export const FILTERS = ["state", "task", "model", "id", "metadata", "created_after", "created_before", "keys"];

/** Where there is room, all filters are seen. */
const wide = matchMedia("(min-width: 64rem)");

class Filters extends HTMLElement {
  /** chosen: {filter: value}; tasks, models: names to choose from; role: the key's. */
  build(chosen, tasks, models, role) {
    const states = (chosen.state ?? "").split(",").filter(Boolean);
    this.form = h("form.filters", { role: "search", "aria-label": "Jobs", oninput: () => this.tell(), onsubmit: (event) => event.preventDefault() },
      h("fieldset.chips", {}, h("legend.unseen", {}, "States"), Object.entries(STATES).map(([value, label]) =>
        h("label.chip", {}, h("input", { type: "checkbox", name: "state", value, checked: states.includes(value) }), h("span", {}, label)))),
      role === "operator" && h("fieldset.chips", {}, h("legend.unseen", {}, "Keys"),
        h("label.chip", {}, h("input", { type: "checkbox", name: "keys", value: "all", checked: chosen.keys === "all" }), h("span", {}, "All keys"))),
      h("details.more-filters", { open: wide.matches || FILTERS.some((name) => name !== "state" && name !== "keys" && chosen[name]) }, h("summary", {}, "More filters"), h("div.fields", {},
        choice("task", "Task", tasks, chosen.task),
        choice("model", "Model", models, chosen.model),
        field("id", "Id begins with", chosen.id),
        field("metadata", "Metadata", chosen.metadata, { placeholder: "key=value" }),
        field("created_after", "After", chosen.created_after, { type: "datetime-local" }),
        field("created_before", "Before", chosen.created_before, { type: "datetime-local" }))));
    put(this, this.form);
  }

  tell() {
    const data = new FormData(this.form);
    const chosen = Object.fromEntries(FILTERS.map((name) => [name, data.getAll(name).join(",").trim()]));
    this.dispatchEvent(new CustomEvent("filter", { detail: chosen }));
  }
}

function field(name, label, value, more = {}) {
  const id = unique(name);
  return h("div.field", {}, h("label", { for: id }, label), h("input", { id, name, type: "text", ".value": value ?? "", spellcheck: "false", ...more }));
}

function choice(name, label, values, chosen) {
  const id = unique(name);
  // A value of the address that is not among them is shown all the same: it filters.
  const all = chosen && !values.includes(chosen) ? [...values, chosen] : values;
  return h("div.field", {}, h("label", { for: id }, label), h("select", { id, name },
    h("option", { value: "" }, "Any"), all.map((value) => h("option", { value, selected: value === chosen }, value))));
}

/** What a filter of the address is in a call's query; null where it says nothing yet (a metadata filter half typed). */
export function asQuery(chosen) {
  const { metadata, created_after, created_before, ...plain } = chosen;
  const query = Object.fromEntries(Object.entries(plain).filter(([, value]) => value));
  const [key, value] = parted(metadata);
  if (key) query[`metadata.${key}`] = value;
  if (created_after) query.created_after = new Date(created_after).toISOString();
  if (created_before) query.created_before = new Date(created_before).toISOString();
  return query;
}

/** The same for the calls that act on all that match: of one key alone. */
export function asBody(chosen) {
  const { metadata, state, created_after, created_before, keys: _keys, ...plain } = chosen;
  const body = Object.fromEntries(Object.entries(plain).filter(([, value]) => value));
  const [key, value] = parted(metadata);
  if (key) body.metadata = { [key]: value };
  if (state) body.state = state.split(",");
  if (created_after) body.created_after = new Date(created_after).toISOString();
  if (created_before) body.created_before = new Date(created_before).toISOString();
  return body;
}

/** Whether a job that was just heard of belongs into the list. */
export function matches(job, chosen) {
  const [key, value] = parted(chosen.metadata);
  const created = new Date(job.created_at);
  return (
    (!chosen.state || chosen.state.split(",").includes(job.state)) &&
    (!chosen.task || chosen.task === job.task) &&
    (!chosen.model || chosen.model === job.model) &&
    (!chosen.id || job.id.startsWith(chosen.id)) &&
    (!key || String(job.metadata[key]) === value) &&
    (!chosen.created_after || created >= new Date(chosen.created_after)) &&
    (!chosen.created_before || created < new Date(chosen.created_before))
  );
}

function parted(metadata) {
  const at = (metadata ?? "").indexOf("=");
  return at > 0 ? [metadata.slice(0, at).trim(), metadata.slice(at + 1).trim()] : [null, null];
}

customElements.define("tm-filters", Filters);
