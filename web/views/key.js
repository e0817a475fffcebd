/** The way in where this tab has no key. */

import { get } from "../lib/api.js";
import { h, put, unique } from "../lib/dom.js";
import { keep } from "../lib/key.js";

export const title = "Sign in";

export function show(outlet) {
  put(outlet, h("tm-key"));
}

class KeyForm extends HTMLElement {
  connectedCallback() {
    const id = unique("key");
    this.trouble = h("p.notice.bad", { role: "alert", hidden: true });
    this.field = h("input", { id, type: "password", autocomplete: "off", required: true, spellcheck: "false", autofocus: true });
    put(
      this,
      h("form.sign-in", { onsubmit: (event) => this.submit(event) },
        h("h1", {}, "Textmill"),
        h("p", {}, "Enter an API key. It stays in this tab, and is forgotten when the tab is closed."),
        h("label", { for: id }, "API key"),
        this.field,
        this.trouble,
        h("button.primary", {}, "Continue"),
        h("p.quietly", {}, "With ", h("code", {}, "make up"), ", open the address that it prints: it brings the key along. Elsewhere ",
          h("code", {}, "python -m api keys create NAME"), " makes one."),
      ),
    );
    this.field.focus();
  }

  async submit(event) {
    event.preventDefault();
    this.trouble.hidden = true; // it spoke of the key before
    keep(this.field.value);
    try {
      await get("/v1/jobs", { limit: 1 });
      window.dispatchEvent(new HashChangeEvent("hashchange"));
    } catch (error) {
      if (error.status !== 401) this.complain(error); // refused: the page comes back here by itself, with the reason
    }
  }

  complain(problem) {
    this.trouble.hidden = false;
    this.trouble.textContent = `The server does not accept this key: ${problem.message}`;
    this.field.focus();
  }
}

customElements.define("tm-key", KeyForm);
