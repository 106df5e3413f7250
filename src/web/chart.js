// One small chart: a title, the present value, and a line over the last minutes.

import { add } from './dom.js';

const width = 300;
const height = 44;
const namespace = 'http://www.w3.org/2000/svg';

function path(parent, className) {
  const made = document.createElementNS(namespace, 'path');
  made.setAttribute('class', className);
  parent.append(made);
  return made;
}

// The least of 1, 2, 2.5, 5 times a power of ten that is not below `value`.
export function niceCeiling(value) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((bound) => bound >= value * 0.9999);
}

// Points as an SVG path. A null breaks the line.
function lineOf(points, x, y) {
  let text = '';
  points.forEach(({ time, value }, i) => {
    if (value === null) return;
    const starts = i === 0 || points[i - 1].value === null;
    text += `${starts ? 'M' : 'L'}${x(time).toFixed(1)} ${y(value).toFixed(1)}`;
  });
  return text;
}

// A dot for each value that stands alone between two nulls.
function dotsOf(points, x, y) {
  const missing = (point) => (point?.value ?? null) === null;
  const alone = points.filter((point, i) => !missing(point) && missing(points[i - 1]) && missing(points[i + 1]));
  return alone.map(({ time, value }) => `M${x(time).toFixed(1)} ${y(value).toFixed(1)}h.01`).join('');
}

export class Chart {
  // `show(value)` is the text of a value; `limit`: what the dashed line is called.
  constructor(parent, { title, show, limit = '', least = 0, series = 1 }) {
    this.show = show;
    this.limit = limit;
    this.least = least;
    const figure = add(parent, 'figure', 'chart');
    const caption = add(figure, 'figcaption', '');
    add(caption, 'span', '', title);
    this.value = add(caption, 'strong', '');
    const plot = add(figure, 'div', 'plot');
    const svg = document.createElementNS(namespace, 'svg');
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    svg.setAttribute('preserveAspectRatio', 'none');
    svg.setAttribute('aria-hidden', 'true');
    plot.append(svg);
    this.area = path(svg, 'area');
    this.limitLine = path(svg, 'limit');
    this.dots = path(svg, 'dots');
    this.lines = Array.from({ length: series }, (_, i) => path(svg, `line line${i}`));
    this.top = add(plot, 'span', 'top');
    this.note = add(figure, 'p', 'note');
  }

  // `lists`: points {time, value} of each line, times in seconds up to `now`; `limits`: of the dashed line;
  // `texts`: the present value of each line.
  draw(lists, limits, now, span, texts) {
    const largest = Math.max(...[...lists.flat(), ...limits].map(({ value }) => value ?? 0));
    const top = Math.max(this.least, niceCeiling(largest));
    const x = (time) => width * (1 - (now - time) / span);
    const y = (value) => height - 1 - (height - 2) * (value / top);
    lists.forEach((points, i) => this.lines[i].setAttribute('d', lineOf(points, x, y)));
    this.limitLine.setAttribute('d', lineOf(limits, x, y));
    const [first] = lists;
    this.dots.setAttribute('d', dotsOf(first, x, y));
    const filled = lists.length === 1 && first.length > 1 && first.every(({ value }) => value !== null);
    const edge = filled ? `L${x(first.at(-1).time)} ${height}L${x(first[0].time)} ${height}Z` : '';
    this.area.setAttribute('d', filled ? lineOf(first, x, y) + edge : '');
    this.top.textContent = this.show(top);
    this.value.replaceChildren();
    texts.forEach((text, i) => add(this.value, 'span', `value${i}`, text));
    const limit = limits.findLast(({ value }) => value !== null);
    this.note.textContent = limit ? `${this.limit} ${this.show(limit.value)}` : '';
  }
}
