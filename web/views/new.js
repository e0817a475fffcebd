/** New job: files or lines, a task, a model, its options; sent up in chunks. */

import "../components/drop.js";
import "../components/upload-bar.js";
import "../components/what.js";
import { h, put, unique } from "../lib/dom.js";
import { documents } from "../lib/files.js";
import { Upload, current } from "../lib/upload.js";
import { go, jobLink } from "../lib/router.js";
import { complaint } from "../components/notice.js";

export const title = "New job";

export async function show(outlet, { query, signal }) {
  if (current) return follow(outlet, current, signal);
  const drop = h("tm-drop");
  const what = h("tm-what");
  drop.task = () => what.task?.value;
  const trouble = h("div");
  const ids = [unique("priority"), unique("note")];
  const priority = h("select", { id: ids[0], name: "priority" }, ["normal", "high", "low"].map((value) => h("option", {}, value)));
  const note = h("input", { id: ids[1], name: "note", type: "text", placeholder: "name=value, other=value" });
  const form = h("form.new", { onsubmit: (event) => submit(event) },
    h("section.step", { "aria-label": "Documents" }, h("h2", {}, "Documents"), drop),
    h("section.step", { "aria-label": "What to do" }, h("h2", {}, "What to do with each"), what,
      h("div.fields", {},
        h("div.field", {}, h("label", { for: ids[0] }, "Priority"), priority, h("p.help", {}, "Among your own jobs; those of other keys are not affected.")),
        h("div.field", {}, h("label", { for: ids[1] }, "Metadata"), note, h("p.help", {}, "Kept with the job, so that it can be found again.")))),
    trouble,
    h("div.actions", {}, h("button.primary", {}, "Submit")));
  put(outlet, h("div.head", {}, h("h1", {}, "New job")), form);
  await what.build({ task: query.get("task"), model: query.get("model") }, signal);

  async function submit(event) {
    event.preventDefault();
    put(trouble);
    try {
      const { files, options, size } = await drop.chosen();
      if (current || signal.aborted) return; // meanwhile it was submitted by another click, or left
      const request = { ...what.request, priority: priority.value, metadata: noted(note.value) };
      const upload = new Upload(size);
      const sent = upload.run(request, documents(files, { ...options, ...what.documents }));
      follow(outlet, upload, signal, form);
      await sent;
    } catch (error) {
      put(trouble, complaint(error));
    }
  }
}

/** Shows an upload until it is over; then the job, or the form again with what went wrong. */
function follow(outlet, upload, signal, form = null) {
  const bar = h("tm-upload", { ".upload": upload });
  put(outlet, h("div.head", {}, h("h1", {}, "New job")), bar);
  upload.addEventListener("change", () => {
    if (!upload.over || signal.aborted) return;
    if (upload.job && !upload.error && !upload.stopped.signal.aborted) go(jobLink(upload.job.id));
    else put(outlet, h("div.head", {}, h("h1", {}, "New job")), upload.error && complaint(upload.error), form ?? h("a.button", { href: "#/jobs" }, "To the jobs"));
  }, { signal });
}

/** "a=b, c=d" as metadata. Throws where something is not of this form. */
function noted(text) {
  const pairs = text.split(",").map((pair) => pair.trim()).filter(Boolean);
  return Object.fromEntries(pairs.map((pair) => {
    const at = pair.indexOf("=");
    if (at < 1) throw new Error(`Metadata: "${pair}" is not name=value.`);
    return [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
  }));
}
