// Line charts as inline SVG: several series, a legend with the values under the pointer, one marked point.

import {h} from "./dom.js";
import {number} from "./format.js";

const HEIGHT = 210;
const LEFT = 58, RIGHT = 14, TOP = 12, BOTTOM = 34;
const COLOURS = 8;
const MOST = 1000; // points of a line that are drawn: more than there are pixels

export class Chart {
  /** `line: false` draws points alone. */
  constructor(title, {xLabel = "", line = true} = {}) {
    this.xLabel = xLabel;
    this.line = line;
    this.series = [];
    this.title = title;
    this.plot = h("div", {class: "plot"});
    this.legend = h("ul", {class: "legend"});
    this.element = h("figure", {class: "chart"}, h("figcaption", {}, title), this.plot, this.legend);
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerleave", () => this.label(null));
    new ResizeObserver(() => this.paint()).observe(this.plot);
  }

  /** `series`: [{name, points: [[x, y]], best?: index of the marked point, strong?: boolean, dots?: boolean (alone; false: none)}] */
  draw(series) {
    const drawn = JSON.stringify(series);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    this.series = series.filter((one) => one.points.length);
    this.paint();
  }

  paint() {
    const width = this.plot.clientWidth;
    if (!width || !this.series.length) return;
    const all = this.series.flatMap((one) => one.points);
    this.x = scale(all.map((p) => p[0]), LEFT, width - RIGHT);
    this.y = scale(all.map((p) => p[1]), HEIGHT - BOTTOM, TOP);
    const svg = h("svg", {width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", "aria-label": this.said()});
    for (const value of ticks(this.y, 5)) {
      const at = this.y.to(value);
      svg.append(h("line", {class: "grid", x1: LEFT, x2: width - RIGHT, y1: at, y2: at}),
        h("text", {x: LEFT - 8, y: at + 4, "text-anchor": "end"}, number(value)));
    }
    const least = all.every((p) => Number.isInteger(p[0])) ? 1 : 0; // there is no trial one and a half
    for (const value of ticks(this.x, Math.max(2, Math.floor(width / 110)), least)) {
      svg.append(h("text", {x: this.x.to(value), y: HEIGHT - BOTTOM + 16, "text-anchor": "middle"}, number(value)));
    }
    svg.append(h("text", {class: "axis", x: width - RIGHT, y: HEIGHT - 4, "text-anchor": "end"}, this.xLabel));
    this.series.forEach((one, place) => svg.append(this.trace(one, place)));
    this.cursor = h("line", {class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden"});
    svg.append(this.cursor);
    this.plot.replaceChildren(svg);
    this.label(null);
  }

  trace(one, place) {
    const group = h("g", {class: `s${place % COLOURS}${one.strong ? " strong" : ""}`});
    const at = thinned(one.points).map(([x, y]) => [this.x.to(x).toFixed(1), this.y.to(y).toFixed(1)]);
    if (this.line && !one.dots && at.length > 1) group.append(h("polyline", {points: at.map((p) => p.join(",")).join(" ")}));
    if (one.dots ?? at.length <= 40) for (const [x, y] of at) group.append(h("circle", {cx: x, cy: y, r: one.dots ? 4 : 2.5}));
    if (one.best !== undefined && one.points[one.best]) {
      const [x, y] = one.points[one.best];
      group.append(h("circle", {class: "best", cx: this.x.to(x), cy: this.y.to(y), r: 7}));
    }
    return group;
  }

  said() {
    return `${this.title}: ` + this.series.map((one) => `${one.name}, last ${number(one.points.at(-1)[1])}`).join("; ");
  }

  point(event) {
    if (!this.x) return;
    const box = this.plot.getBoundingClientRect();
    this.label(this.x.from(event.clientX - box.left));
  }

  /** The legend: each series and its value at x, the last one where x is null. */
  label(x) {
    const items = this.series.map((one, place) => {
      const [at, value] = x === null ? one.points.at(-1) : nearest(one.points, x);
      const text = `${one.name} ${number(value)}${x === null ? "" : ` at ${number(at)}`}`;
      return h("li", {class: `s${place % COLOURS}`}, text);
    });
    this.legend.replaceChildren(...items);
    this.cursor?.setAttribute("visibility", x === null ? "hidden" : "visible");
    if (x !== null && this.cursor) {
      const at = this.x.to(x);
      this.cursor.setAttribute("x1", at);
      this.cursor.setAttribute("x2", at);
    }
  }
}

function scale(values, begin, end) {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low === high) {
    const around = Math.abs(low) * 0.1 || 1;
    low -= around;
    high += around;
  }
  const ratio = (end - begin) / (high - low);
  return {low, high, to: (value) => begin + (value - low) * ratio, from: (place) => low + (place - begin) / ratio};
}

function ticks({low, high}, most, least = 0) {
  const rough = (high - low) / most, power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(least, [1, 2, 5, 10].map((factor) => factor * power).find((size) => size >= rough));
  const found = [];
  for (let place = Math.ceil(low / step); place * step <= high + step * 1e-9; place++) found.push(place * step);
  return found;
}

/** At most MOST points: of each stretch the lowest and the highest, so that no peak is lost. */
function thinned(points) {
  if (points.length <= MOST) return points;
  const length = Math.ceil(points.length / (MOST / 2)), found = [];
  for (let begin = 0; begin < points.length; begin += length) {
    const part = points.slice(begin, begin + length);
    const low = part.reduce((a, b) => (b[1] < a[1] ? b : a)), high = part.reduce((a, b) => (b[1] > a[1] ? b : a));
    found.push(...(low[0] <= high[0] ? [low, high] : [high, low]));
  }
  return found;
}

function nearest(points, x) {
  return points.reduce((a, b) => (Math.abs(b[0] - x) < Math.abs(a[0] - x) ? b : a));
}
