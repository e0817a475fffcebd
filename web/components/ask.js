/** A question that has to be answered before something is done that cannot be undone. */

import { h } from "../lib/dom.js";

/** Asks in a dialog. Resolves true for yes. `yes` is what the button says: "Cancel 12 jobs". */
export function ask({ question, more, yes, bad = false }) {
  return new Promise((resolve) => {
    const dialog = h(
      "dialog",
      { "aria-labelledby": "question", onclose: () => end() },
      h("form", { method: "dialog" },
        h("h2", { id: "question" }, question),
        more && h("p", {}, more),
        h("div.actions", {},
          h("button", { value: "no", autofocus: true }, "Leave it"),
          h(`button.primary${bad ? ".bad" : ""}`, { value: "yes" }, yes)),
      ),
    );
    const end = () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    };
    document.body.append(dialog);
    dialog.showModal();
  });
}
