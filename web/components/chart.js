/** <tm-chart>: numbers over time as an area or as bars, in SVG, with the same said in words. */

import { h, put, svg } from "../lib/dom.js";

const WIDTH = 600;
const HEIGHT = 120;

class Chart extends HTMLElement {
  /**
   * points: [{at: Date, value: number or null, tone?: "bad"}], oldest first; null: nothing is known of that time.
   * bars: each point is a span of time. show: a number as text. label: what the numbers are.
   */
  draw({ points, bars = false, show, label, top = null }) {
    const known = points.filter((point) => point.value !== null);
    const most = top ?? Math.max(...known.map((point) => point.value), 0);
    const last = known.at(-1);
    const said = known.length
      ? `${label}: ${show(last.value)} last, at most ${show(Math.max(...known.map((point) => point.value)))}`
      : `${label}: nothing yet`;
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": said });
    picture.append(svg("line.base", { x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }));
    if (most > 0) picture.append(...(bars ? asBars(points, most, show) : asArea(points, most)));
    const axis = h("div.axis", { "aria-hidden": "true" }, h("span", {}, most > 0 ? show(most) : ""));
    const times = points.length > 1 ? [clock(points[0].at), clock(points.at(-1).at)] : ["", ""];
    put(
      this,
      h("div.plot", {}, axis, picture),
      h("div.times", { "aria-hidden": "true" }, h("span", {}, times[0]), h("span", {}, times[1])),
    );
  }
}

function y(value, most) {
  return HEIGHT - 1 - (HEIGHT - 8) * Math.min(1, value / most);
}

function asArea(points, most) {
  const from = points[0].at.getTime();
  const span = Math.max(1, points.at(-1).at.getTime() - from);
  const xy = points
    .filter((point) => point.value !== null)
    .map((point) => [(WIDTH * (point.at.getTime() - from)) / span, y(point.value, most)]);
  const path = xy.map(([left, top]) => `${left.toFixed(1)},${top.toFixed(1)}`).join(" L");
  return [
    svg("path.area", { d: `M${xy[0][0].toFixed(1)},${HEIGHT} L${path} L${xy.at(-1)[0].toFixed(1)},${HEIGHT} Z` }),
    svg("path.line", { d: `M${path}`, "vector-effect": "non-scaling-stroke" }),
  ];
}

function asBars(points, most, show) {
  const width = WIDTH / points.length;
  return points.map((point, index) => {
    if (!point.value) return svg("g");
    const top = y(point.value, most);
    const shape = { x: index * width + width * 0.1, y: top, width: width * 0.8, height: HEIGHT - 1 - top };
    const title = svg("title", {}, `${clock(point.at)}: ${show(point.value)}`);
    return svg(`rect.bar${point.tone ? `.${point.tone}` : ""}`, shape, title);
  });
}

function clock(date) {
  return date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
}

customElements.define("tm-chart", Chart);
