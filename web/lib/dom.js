/** Elements out of names, attributes and children. Text only ever becomes text: nothing here parses markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * An element. `name` may carry classes: "p.lead.quiet".
 * Attributes: a function under "onclick" listens, a key that begins with "." sets the property, true and false add and
 * leave out (but under "aria-..." they are words), null leaves out. Children: nodes, text, numbers, arrays of them; null
 * and false are nothing.
 */
export function h(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return fill(document.createElement(tag), classes, attributes, children);
}

/** The same for SVG. */
export function svg(name, attributes = {}, ...children) {
  const [tag, ...classes] = name.split(".");
  return fill(document.createElementNS(SVG, tag), classes, attributes, children);
}

function fill(element, classes, attributes, children) {
  if (classes.length) element.setAttribute("class", classes.join(" "));
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || (value === false && !key.startsWith("aria-"))) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key.startsWith(".")) element[key.slice(1)] = value;
    else element.setAttribute(key, value === true && !key.startsWith("aria-") ? "" : String(value));
  }
  element.append(...nodes(children));
  return element;
}

function nodes(children) {
  return children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
}

/** Replaces what an element holds. */
export function put(element, ...children) {
  element.replaceChildren(...nodes(children));
  return element;
}

/** Sets an element's text where it differs, so that a live update does not disturb a selection. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Says something to those who listen to the page rather than see it. */
export function announce(text) {
  document.getElementById("said").textContent = text;
}

/** Text for those who listen, beside what is seen. */
export function unseen(text) {
  return h("span.unseen", {}, text);
}

/** A number for ids of elements that belong together (a label and its field). */
let last = 0;
export function unique(prefix) {
  last += 1;
  return `${prefix}-${last}`;
}
