/** System: what the last hours were like, and where to look further. */

import "../components/chart.js";
import { address, get } from "../lib/api.js";
import { h, put, unique } from "../lib/dom.js";
import { count, percent, rate } from "../lib/format.js";
import { pause } from "../lib/net.js";
import { replace, link } from "../lib/router.js";
import { empty } from "../components/notice.js";

export const title = "System";

const EVERY = 10_000;
const SPANS = [["1", "Last hour"], ["6", "Last 6 hours"], ["24", "Last 24 hours"]];

export async function show(outlet, { query, signal }) {
  const id = unique("hours");
  const span = h("select", { id, onchange: () => changed() }, SPANS.map(([value, label]) => h("option", { value, selected: value === (query.get("hours") ?? "1") }, label)));
  const charts = { speed: h("tm-chart"), fill: h("tm-chart"), errors: h("tm-chart") };
  const codes = h("div");
  const about = h("ul.links");
  put(
    outlet,
    h("div.head", {}, h("h1", {}, "System"), h("label.unseen", { for: id }, "Span of time"), span),
    h("section.charts", {},
      figure("Documents per second", charts.speed), figure("Batch fill", charts.fill), figure("Failed documents", charts.errors)),
    h("h2", {}, "Errors"), codes,
    h("h2", {}, "Look further"), about,
  );
  await draw();
  put(about, await links(signal));
  for (;;) {
    await pause(EVERY, signal);
    await draw();
  }

  async function changed() {
    replace(link("system", { hours: span.value }));
    await draw();
  }

  async function draw() {
    const { buckets } = await get("/v1/stats", { hours: span.value }, signal);
    const points = (value, tone) => buckets.map((bucket) => ({ at: new Date(bucket.start), value: value(bucket), tone }));
    charts.speed.draw({ points: points((bucket) => bucket.documents_per_second), show: rate, label: "Documents per second" });
    charts.fill.draw({ top: 1, points: points((bucket) => bucket.batch_fill), show: percent, label: "Batch fill" });
    charts.errors.draw({ points: points((bucket) => bucket.documents_failed, "bad"), show: count, label: "Failed documents" });
    put(codes, errors(buckets));
  }
}

function figure(label, chart) {
  return h("figure.card", {}, h("figcaption", {}, label), chart);
}

function errors(buckets) {
  const sums = new Map();
  for (const bucket of buckets) for (const [code, times] of Object.entries(bucket.errors)) sums.set(code, (sums.get(code) ?? 0) + times);
  if (sums.size === 0) return empty("None.");
  return h("ul.codes", {}, [...sums].sort(([, one], [, other]) => other - one).map(([code, times]) => h("li", {}, h("code", {}, code), h("span", {}, count(times)))));
}

async function links(signal) {
  const [{ info }, stats] = await Promise.all([get("/openapi.json", {}, signal), get("/v1/stats", { hours: 1 }, signal)]);
  const shown = [
    ["The API in full", address("/docs")],
    ["Its description for machines", address("/openapi.json")],
    ["Metrics for Prometheus", address("/metrics")],
    ["Flower: Celery's view of the workers", stats.flower_url],
  ];
  return [
    h("li", {}, `${info.title}, API version ${info.version}`),
    shown.filter(([, url]) => url).map(([label, url]) => h("li", {}, h("a", { href: url }, label))),
  ];
}
