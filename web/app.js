/** The page's entry: the key, the views by address, and what stands around them. */

import { h, put, say } from "./lib/dom.js";
import { percent } from "./lib/format.js";
import { forget, key, takeFromAddress } from "./lib/key.js";
import * as net from "./lib/net.js";
import { parse } from "./lib/router.js";
import { complaint } from "./components/notice.js";

/** A view a file, fetched when it is first opened. Each exports `title` and `show(outlet, {rest, query, signal})`. */
const VIEWS = {
  jobs: () => import("./views/jobs.js"),
  job: () => import("./views/job.js"),
  new: () => import("./views/new.js"),
  try: () => import("./views/try.js"),
  models: () => import("./views/models.js"),
  workers: () => import("./views/workers.js"),
  system: () => import("./views/system.js"),
};

const main = document.getElementById("main");
const leave = document.getElementById("leave");
const sending = document.getElementById("upload");
const offline = document.getElementById("offline");
let open = new AbortController();

async function route() {
  open.abort(new DOMException("another view was opened", "AbortError"));
  open = new AbortController();
  const { signal } = open;
  leave.hidden = key() === null;
  const { view, rest, query } = parse(location.hash);
  markCurrent(view);
  try {
    const module = key() === null ? await import("./views/key.js") : await (VIEWS[view] ?? VIEWS.jobs)();
    if (signal.aborted) return;
    document.title = `${module.title} · Textmill`;
    put(main, h("div.head", {}, h("h1", {}, module.title))); // until the view has asked for what it shows
    await module.show(main, { rest, query, signal });
  } catch (error) {
    if (!signal.aborted) put(main, complaint(error));
  }
}

function markCurrent(view) {
  for (const link of document.querySelectorAll("#views a")) {
    const here = link.getAttribute("href") === `#/${view === "job" ? "jobs" : view}`;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

async function signOut(reason) {
  forget();
  await route();
  if (reason) main.querySelector("tm-key")?.complain(reason);
}

window.addEventListener("hashchange", () => {
  if (location.hash === "#main") return; // the skip link
  takeFromAddress();
  route().then(() => main.focus({ preventScroll: true }));
  window.scrollTo(0, 0);
});
window.addEventListener("refused", ({ detail: { problem, used } }) => {
  // Several requests are refused at once: those that come after the first say nothing of the key that is tried next.
  if (used !== null && used === key()) signOut(problem);
});
window.addEventListener("unhandledrejection", (event) => {
  // What a view began and nobody waits for: it ended because its view was left, or it is a fault to be seen.
  if (event.reason?.name === "AbortError") event.preventDefault();
});
leave.addEventListener("click", () => signOut());
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
/** Menus close as menus do: by a click elsewhere, or by Escape. */
function closeMenus(event) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (event.type === "keydown" && menu.contains(document.activeElement)) menu.querySelector("summary").focus();
    if (event.type === "keydown" || !menu.contains(event.target)) menu.open = false;
  }
}

document.addEventListener("click", closeMenus);
document.addEventListener("keydown", (event) => event.key === "Escape" && closeMenus(event));
net.onChange((answers) => {
  say(offline, answers ? "" : "The server does not answer. This page goes on as soon as it does.");
  offline.hidden = answers;
});

window.addEventListener("upload", ({ detail: upload }) => {
  sending.hidden = upload.over;
  say(sending, `Uploading, ${percent(upload.total ? upload.read / upload.total : 0)}`);
});
window.addEventListener("beforeunload", (event) => {
  if (!sending.hidden) event.preventDefault(); // an upload ends with its tab: the browser asks
});

takeFromAddress();
route();
