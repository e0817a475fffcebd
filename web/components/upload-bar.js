/** <tm-upload>: how far an upload is. Set `.upload`. */

import { announce, h, put, say } from "../lib/dom.js";
import { bytes, plural } from "../lib/format.js";

class UploadBar extends HTMLElement {
  set upload(upload) {
    this.bar = h("progress", { max: Math.max(1, upload.total), "aria-label": "Upload" });
    this.far = h("p");
    this.wait = h("p.notice", { role: "status", hidden: true }, "The connection is lost. The upload goes on as soon as the server answers.");
    put(this, this.bar, this.far, this.wait, h("div.actions", {}, h("button.bad", { type: "button", onclick: () => upload.stop() }, "Stop")));
    const show = () => {
      this.bar.value = upload.read;
      say(this.far, `${plural(upload.sent, "document")} sent, ${bytes(upload.read)} of ${bytes(upload.total)}`);
      if (upload.waiting && this.wait.hidden) announce("The connection is lost");
      this.wait.hidden = !upload.waiting;
    };
    upload.addEventListener("change", show);
    show();
  }
}

customElements.define("tm-upload", UploadBar);
