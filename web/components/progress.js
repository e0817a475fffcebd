/** <tm-progress>: a job's counts as one bar. Set `.counts` as often as they change. */

import { h } from "../lib/dom.js";
import { count } from "../lib/format.js";

const PARTS = ["succeeded", "failed", "cancelled"];

class Progress extends HTMLElement {
  connectedCallback() {
    this.setAttribute("role", "progressbar");
    this.setAttribute("aria-valuemin", "0");
  }

  set counts(counts) {
    this.parts ??= PARTS.map((name) => h(`span.part.${name}`));
    if (!this.firstChild) this.append(...this.parts);
    const done = counts.total - counts.pending;
    this.setAttribute("aria-label", "Documents with an outcome");
    this.setAttribute("aria-valuemax", counts.total);
    this.setAttribute("aria-valuenow", done);
    this.setAttribute("aria-valuetext", `${count(done)} of ${count(counts.total)}, ${count(counts.failed)} failed`);
    PARTS.forEach((name, index) => {
      this.parts[index].style.width = `${counts.total ? (100 * counts[name]) / counts.total : 0}%`;
    });
  }
}

customElements.define("tm-progress", Progress);
