/** What went wrong, in a sentence, with the code that the API's page explains. */

import { Problem } from "../lib/api.js";
import { h } from "../lib/dom.js";

/** A notice for an error that was caught. */
export function complaint(error) {
  const code = error instanceof Problem ? h("code", {}, error.code) : null;
  return h("p.notice.bad", { role: "alert" }, error.message, code && " ", code);
}

/** A notice that nothing is wrong with. */
export function notice(...children) {
  return h("p.notice", {}, ...children);
}

/** What stands where there is nothing to show. */
export function empty(...children) {
  return h("p.empty", {}, ...children);
}
