/** <tm-what>: task, model and options, chosen together. Dispatches "change" when another task or model is chosen. */

import "./option-fields.js";
import { get } from "../lib/api.js";
import { h, put, say, unique } from "../lib/dom.js";

class What extends HTMLElement {
  /** Asks the API what there is. asked: {task, model} to begin with. */
  async build(asked, signal) {
    const [{ tasks }, { models }, { workers }] = await Promise.all([
      get("/v1/tasks", {}, signal),
      get("/v1/models", {}, signal),
      get("/v1/workers", {}, signal),
    ]);
    Object.assign(this, { tasks, models, served: new Set(workers.flatMap((worker) => worker.models)) });
    const ids = [unique("task"), unique("model")];
    this.task = h("select", { id: ids[0], name: "task", onchange: () => this.choose() }, tasks.map(({ name }) => h("option", { value: name, selected: name === asked.task }, name)));
    this.model = h("select", { id: ids[1], name: "model", onchange: () => this.refresh() });
    this.about = h("p.help");
    this.caution = h("p.limitations");
    this.fields = h("tm-options");
    put(
      this,
      h("div.fields", {},
        h("div.field", {}, h("label", { for: ids[0] }, "Task"), this.task, this.about),
        h("div.field", {}, h("label", { for: ids[1] }, "Model"), this.model, this.caution)),
      this.fields,
    );
    this.choose(asked.model);
  }

  /** The model's entry of the catalogue. */
  get entry() {
    return this.models.find(({ name }) => name === this.model.value);
  }

  get request() {
    return { task: this.task.value, model: this.model.value, options: this.fields.values() };
  }

  /** What documents of the task may have beside their text (`fields`), and which of it may stand in its place (`instead`). */
  get documents() {
    const { document } = this.tasks.find(({ name }) => name === this.task.value);
    const fields = Object.keys(document.properties).filter((name) => name !== "id" && name !== "text");
    return { fields, instead: document.anyOf.flatMap(({ required }) => required).filter((name) => name !== "text") };
  }

  choose(wanted) {
    const task = this.tasks.find(({ name }) => name === this.task.value);
    say(this.about, task.title);
    // A model without a task serves them all. Those that a worker serves come first, the default before the others.
    const fitting = this.models.filter((model) => model.task === task.name || model.task === null);
    const rank = (model) => (this.served.has(model.name) ? 0 : 2) + (model.default ? 0 : 1) + (model.task === null ? 4 : 0);
    fitting.sort((one, other) => rank(one) - rank(other));
    put(this.model, fitting.map((model) => h("option", { value: model.name, selected: model.name === wanted }, model.name, !this.served.has(model.name) && " (no worker has it)")));
    this.refresh();
  }

  refresh() {
    const task = this.tasks.find(({ name }) => name === this.task.value);
    say(this.caution, this.entry?.limitations ?? "");
    this.fields.build(task.options, this.entry);
    this.dispatchEvent(new Event("change"));
  }
}

customElements.define("tm-what", What);
