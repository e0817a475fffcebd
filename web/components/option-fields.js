/** <tm-options>: fields for the options of a task, out of the JSON schema that the API gives. */

import { h, put, unique } from "../lib/dom.js";

class OptionFields extends HTMLElement {
  /**
   * schema: of GET /v1/tasks. model: of GET /v1/models, whose languages and labels are offered.
   * What was typed stays where the next schema has an option of the same name.
   */
  build(schema, model, given = this.values()) {
    this.fields = Object.entries(schema.properties ?? {}).map(([name, property]) => {
      const rule = simple(property);
      const input = inputFor(name, rule, model, given[name]);
      return { name, rule, input };
    });
    const shown = this.fields.map(({ rule, name, input }) => field(name, rule, input));
    put(this, ordered(shown, this.fields, model));
  }

  /** What is set: {option: value}. Throws nothing: the API says what it does not take. */
  values() {
    const set = (this.fields ?? []).map(({ name, rule, input }) => [name, valueOf(rule, input)]);
    return Object.fromEntries(set.filter(([, value]) => value !== undefined));
  }
}

/** A property without the "or null" that every option has: its kinds, and the bounds of all of them. */
function simple(property) {
  const ways = (property.anyOf ?? [property]).filter((way) => way.type !== "null");
  const values = ways.flatMap((way) => way.enum ?? (way.const === undefined ? [] : [way.const]));
  if (ways.some((way) => way.type === "boolean")) values.unshift(true, false);
  return { ...Object.assign({}, ...ways), description: property.description ?? "", values };
}

function inputFor(name, rule, model, value) {
  const id = unique(name);
  const offered = model ? { source_lang: model.source_langs, target_lang: model.target_langs }[name] : null;
  const choices = rule.values.length ? rule.values : offered?.length ? offered : null;
  if (choices) {
    const only = offered?.length === 1 && value === undefined ? offered[0] : value;
    return h("select", { id, name },
      h("option", { value: "" }, "As the model has it"),
      choices.map((choice) => h("option", { value: JSON.stringify(choice), selected: choice === only }, String(choice))));
  }
  const filled = Array.isArray(value) ? value.join(", ") : value;
  if (rule.type === "integer" || rule.type === "number") {
    const { minimum = rule.exclusiveMinimum, maximum } = rule;
    return h("input", { id, name, type: "number", min: minimum, max: maximum, step: rule.type === "integer" ? 1 : "any", ".value": filled ?? "", placeholder: "as the model has it" });
  }
  const hint = rule.type === "array" ? (model?.labels?.join(", ") ?? "one, another") : "as the model has it";
  return h("input", { id, name, type: "text", placeholder: hint, ".value": filled ?? "", spellcheck: "false" });
}

function field(name, rule, input) {
  const { minimum, exclusiveMinimum, maximum } = rule;
  const low = minimum ?? exclusiveMinimum;
  const limits = low !== undefined && maximum !== undefined ? `${minimum === undefined ? "above " : ""}${low} to ${maximum}` : "";
  const help = `${input.id}-help`;
  input.setAttribute("aria-describedby", help);
  return h("div.field.option", {},
    h("label", { for: input.id }, h("code", {}, name), limits && h("span.limits", {}, limits)),
    input,
    h("p.help", { id: help }, rule.description.replaceAll("`", "")));
}

/** The languages first, since nothing works without them; the rest, which models have good values for, folded away. */
function ordered(shown, fields, model) {
  const first = shown.filter((_, index) => fields[index].name.endsWith("_lang"));
  const rest = shown.filter((_, index) => !fields[index].name.endsWith("_lang"));
  const defaults = Object.entries(model?.options ?? {}).map(([name, value]) => `${name} ${JSON.stringify(value)}`).join(", ");
  return [
    first.length > 0 && h("div.fields", {}, first),
    h("details.more-options", {}, h("summary", {}, "More options"),
      defaults && h("p.quietly", {}, `This model's own: ${defaults}`),
      h("div.fields", {}, rest)),
  ];
}

function valueOf(rule, input) {
  if (input.value === "") return undefined;
  if (input instanceof HTMLSelectElement) return JSON.parse(input.value);
  if (rule.type === "integer" || rule.type === "number") return Number(input.value);
  if (rule.type === "array") return input.value.split(",").map((part) => part.trim()).filter(Boolean);
  return input.value;
}

customElements.define("tm-options", OptionFields);
