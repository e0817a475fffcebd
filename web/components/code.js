/** <tm-code>: a piece of code to take along, as tabs where there is more than one way to say it. */

import { announce, h, put, unique } from "../lib/dom.js";

class Code extends HTMLElement {
  /** ways: {"curl": "...", "Python": "..."} */
  set ways(ways) {
    const names = Object.keys(ways);
    this.chosen ??= names[0];
    const id = unique("code");
    const text = h("code", {}, ways[this.chosen]);
    const shown = h("pre", { id, tabindex: "0", "aria-label": `${this.chosen} code` }, text);
    const tabs = names.map((name) =>
      h("button.tab", { type: "button", "aria-pressed": name === this.chosen, onclick: () => this.choose(name, ways) }, name),
    );
    const copy = h("button.quiet", { type: "button", onclick: () => copied(text, copy) }, "Copy");
    put(this, h("div.code-top", {}, h("div.tabs", {}, tabs), copy), shown);
  }

  choose(name, ways) {
    this.chosen = name;
    this.ways = ways;
    this.querySelector('[aria-pressed="true"]').focus();
  }
}

async function copied(text, button) {
  // The clipboard is for secure origins alone. Elsewhere the text is selected, and the usual key copies it.
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text.textContent);
    button.textContent = "Copied";
    announce("Copied");
  } else {
    getSelection().selectAllChildren(text);
    button.textContent = "Selected: Ctrl+C";
  }
}

customElements.define("tm-code", Code);
