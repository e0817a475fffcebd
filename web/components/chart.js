/** <tm-chart>: numbers over time as bars, in SVG, with the same said in words. */

import { h, put, svg } from "../lib/dom.js";

const WIDTH = 600;
const HEIGHT = 120;

const SHORT = 10 * 60_000;
/** Milliseconds: below these, seconds are shown. */

const minutes = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const seconds = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

class Chart extends HTMLElement {
  /**
   * points: [{at: Date, value: number or null, tone?: "bad"}], equal spans of time with their beginnings, oldest first;
   * null: nothing is known of it. show: a number as text. label: what the numbers are. top: the highest that can be.
   */
  draw({ points, show, label, top = null }) {
    const known = points.filter((point) => point.value !== null);
    const most = top ?? Math.max(...known.map((point) => point.value), 0);
    const last = known.at(-1);
    const said = known.length
      ? `${label}: ${show(last.value)} last, at most ${show(Math.max(...known.map((point) => point.value)))}`
      : `${label}: nothing yet`;
    const clock = points.length && points.at(-1).at - points[0].at < SHORT ? seconds : minutes;
    const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", role: "img", "aria-label": said });
    picture.append(svg("line.base", { x1: 0, x2: WIDTH, y1: HEIGHT - 0.5, y2: HEIGHT - 0.5 }));
    if (most > 0) picture.append(...asBars(points, most, clock, show));
    const axis = h("div.axis", { "aria-hidden": "true" }, h("span", {}, most > 0 ? show(most) : ""));
    const times = points.length > 1 ? [clock.format(points[0].at), clock.format(points.at(-1).at)] : ["", ""];
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

function asBars(points, most, clock, show) {
  const width = WIDTH / points.length;
  return points.map((point, index) => {
    if (!point.value) return svg("g");
    const top = y(point.value, most);
    const shape = { x: index * width + width * 0.1, y: top, width: width * 0.8, height: HEIGHT - 1 - top };
    const title = svg("title", {}, `${clock.format(point.at)}: ${show(point.value)}`);
    return svg(`rect.bar${point.tone ? `.${point.tone}` : ""}`, shape, title);
  });
}

customElements.define("tm-chart", Chart);
