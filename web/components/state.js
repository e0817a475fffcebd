/** <tm-state>: a job's or a document's state, by word, colour and shape. */

import { STATES } from "../lib/format.js";

const RESULTS = { succeeded: "Succeeded", waiting: "Waiting" };

class State extends HTMLElement {
  static observedAttributes = ["value"];

  attributeChangedCallback(_name, _before, value) {
    this.className = `state ${value}`;
    this.textContent = STATES[value] ?? RESULTS[value] ?? value;
  }
}

customElements.define("tm-state", State);
