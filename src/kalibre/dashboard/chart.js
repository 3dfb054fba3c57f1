// The market on a canvas: regimes, candles with trades and volume, forecasts, equity; one time axis under all of them.

import { clock, day, moment, number, price } from "./format.js";

const AXIS = 62;
const FOOT = 20;
const GAP = 10;
const LEAST = 24;

export const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A canvas as large as its box and as sharp as the screen.
export function sized(canvas) {
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  if (canvas.width !== Math.round(width * scale) || canvas.height !== Math.round(height * scale)) {
    canvas.width = Math.round(width * scale);
    canvas.height = Math.round(height * scale);
  }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  pen.font = "11px system-ui, sans-serif";
  return { pen, width, height };
}

// About as many round numbers between two as there is room for.
export function ticks(low, high, room) {
  const rough = (high - low) / Math.max(1, room);
  const power = 10 ** Math.floor(Math.log10(rough || 1));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough) ?? power;
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(at);
  return found;
}

export class MarketChart {
  constructor(canvas, reading) {
    this.canvas = canvas;
    this.reading = reading;
    this.bars = [];
    this.lines = [];
    this.fills = [];
    this.labels = [];
    this.equity = [];
    this.stepMs = 900_000;
    this.count = 0;
    this.back = 0;
    this.at = null;
    this.waiting = false;
    this.listen();
    new ResizeObserver(() => this.later()).observe(canvas);
  }

  // --- what is shown ----------------------------------------------------------------------------------------------

  show(shown) {
    Object.assign(this, shown);
    this.later();
  }

  later() {
    if (this.waiting) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  zoom(factor) {
    const now = this.count || this.fitting();
    this.count = Math.round(Math.min(Math.max(now * factor, LEAST), Math.max(this.bars.length, LEAST)));
    this.pan(0);
  }

  pan(bars) {
    const shown = this.count || this.fitting();
    this.back = Math.min(Math.max(this.back + bars, 0), Math.max(this.bars.length - shown, 0));
    this.later();
  }

  newest() {
    this.back = 0;
    this.later();
  }

  fitting() {
    return Math.max(LEAST, Math.min(this.bars.length || LEAST, Math.floor((this.canvas.clientWidth - AXIS) / 7)));
  }

  listen() {
    const { canvas } = this;
    let from = null;
    canvas.addEventListener("pointerdown", (event) => {
      from = { x: event.clientX, back: this.back };
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener("pointerup", () => {
      from = null;
    });
    canvas.addEventListener("pointercancel", () => {
      from = null;
    });
    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect();
      if (from !== null) {
        this.back = from.back;
        this.pan(Math.round((event.clientX - from.x) / (this.each || 7)));
      }
      this.at = { x: event.clientX - box.left, y: event.clientY - box.top };
      this.later();
    });
    canvas.addEventListener("pointerleave", () => {
      this.at = null;
      this.later();
    });
    canvas.addEventListener(
      "wheel",
      (event) => {
        const across = event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY);
        if (!event.ctrlKey && !across) return; // the page scrolls
        event.preventDefault();
        if (event.ctrlKey) this.zoom(event.deltaY > 0 ? 1.15 : 1 / 1.15);
        else this.pan(Math.round(-(event.deltaX || event.deltaY) / (this.each || 7)));
      },
      { passive: false },
    );
  }

  // --- drawing ----------------------------------------------------------------------------------------------------

  draw() {
    const { pen, width, height } = sized(this.canvas);
    if (width === 0 || this.bars.length === 0) return;
    const shown = Math.min(this.count || this.fitting(), this.bars.length);
    const last = this.bars.length - Math.min(this.back, this.bars.length - shown);
    const view = this.bars.slice(last - shown, last);
    const right = width - AXIS;
    this.each = right / shown;
    const place = new Map(view.map((bar, i) => [bar[0], (i + 0.5) * this.each]));
    const open = (time) => place.get(time);
    // What is said at a close stands at its bar; between bars put together it stands at the one that holds it.
    const near = (time) => {
      if (time < view[0][0] || time > view[view.length - 1][0] + this.stepMs * 2) return undefined;
      let low = 0,
        high = view.length - 1;
      while (low < high) {
        const middle = (low + high + 1) >> 1;
        if (view[middle][0] <= time) low = middle;
        else high = middle - 1;
      }
      return (low + 0.5) * this.each;
    };
    const x = { open, near, close: (time) => open(time - this.stepMs) ?? near(time - this.stepMs) };
    const area = height - FOOT;
    const rows = [
      ["regime", this.labels.length ? 14 : 0],
      ["price", 0.6],
      ["p", this.lines.length ? 0.24 : 0],
      ["equity", this.equity.length ? 0.16 : 0],
    ].filter(([, size]) => size > 0);
    const fixed = rows.reduce((sum, [, size]) => sum + (size >= 1 ? size : 0), 0) + GAP * (rows.length - 1);
    const parts = rows.reduce((sum, [, size]) => sum + (size < 1 ? size : 0), 0);
    let top = 4;
    for (const [name, size] of rows) {
      const tall = size >= 1 ? size : ((area - fixed - 4) * size) / parts;
      const box = { top, bottom: top + tall, right };
      if (name === "regime") this.drawRegimes(pen, x, box);
      if (name === "price") this.drawPrices(pen, x, box, view);
      if (name === "p") this.drawForecasts(pen, x, box);
      if (name === "equity") this.drawEquity(pen, x, box);
      top += tall + GAP;
    }
    this.drawTimes(pen, view, area, right);
    this.drawReading(pen, view, area, right);
    this.canvas.dataset.last = String(this.bars[this.bars.length - 1][0]);
    this.canvas.dataset.close = String(this.bars[this.bars.length - 1][4]);
  }

  scale(pen, box, low, high, text, room = 48) {
    const y = (value) => box.bottom - ((value - low) / (high - low || 1)) * (box.bottom - box.top);
    pen.strokeStyle = ink("--line");
    pen.fillStyle = ink("--soft");
    pen.lineWidth = 1;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    for (const at of ticks(low, high, (box.bottom - box.top) / room)) {
      const row = Math.round(y(at)) + 0.5;
      pen.beginPath();
      pen.moveTo(0, row);
      pen.lineTo(box.right, row);
      pen.stroke();
      if (row > box.top + 4 && row < box.bottom + 4) pen.fillText(text(at), box.right + 6, row);
    }
    return y;
  }

  drawRegimes(pen, x, box) {
    const wide = Math.max(this.each, 1);
    for (const [time, name] of this.labels) {
      const at = x.close(time);
      if (at === undefined) continue;
      pen.fillStyle = ink(this.colourOf(name));
      pen.fillRect(at - wide / 2, box.top, wide + 0.5, box.bottom - box.top);
    }
  }

  drawPrices(pen, x, box, view) {
    let low = Infinity,
      high = -Infinity,
      most = 0;
    for (const bar of view) {
      low = Math.min(low, bar[3]);
      high = Math.max(high, bar[2]);
      most = Math.max(most, bar[5]);
    }
    const room = (high - low) * 0.06 || high * 1e-4;
    const y = this.scale(pen, box, low - room * 3, high + room, price);
    const body = Math.max(1, Math.min(this.each * 0.7, 13));
    const [up, down, volume] = [ink("--up"), ink("--down"), ink("--volume")];
    view.forEach((bar, i) => {
      const middle = (i + 0.5) * this.each;
      const tall = most > 0 ? (bar[5] / most) * (box.bottom - box.top) * 0.14 : 0;
      pen.fillStyle = volume;
      pen.fillRect(middle - body / 2, box.bottom - tall, body, tall);
      pen.fillStyle = pen.strokeStyle = bar[4] >= bar[1] ? up : down;
      pen.fillRect(Math.round(middle) - 0.5, y(bar[2]), 1, Math.max(1, y(bar[3]) - y(bar[2])));
      const [from, to] = [y(Math.max(bar[1], bar[4])), y(Math.min(bar[1], bar[4]))];
      pen.fillRect(middle - body / 2, from, body, Math.max(1, to - from));
    });
    this.drawTrades(pen, x, y);
    const last = this.bars[this.bars.length - 1];
    const row = Math.min(Math.max(y(last[4]), box.top + 8), box.bottom - 8);
    pen.fillStyle = last[4] >= last[1] ? up : down;
    pen.setLineDash([2, 3]);
    pen.strokeStyle = pen.fillStyle;
    pen.beginPath();
    pen.moveTo(0, Math.round(row) + 0.5);
    pen.lineTo(box.right, Math.round(row) + 0.5);
    pen.stroke();
    pen.setLineDash([]);
    pen.fillRect(box.right + 1, row - 9, AXIS - 1, 18);
    pen.fillStyle = ink("--card");
    pen.fillText(price(last[4]), box.right + 6, row);
  }

  drawTrades(pen, x, y) {
    for (const [time, side, at] of this.fills) {
      const middle = x.open(time) ?? x.near(time);
      if (middle === undefined) continue;
      const buy = side === "buy";
      const row = y(at) + (buy ? 12 : -12);
      pen.fillStyle = ink(buy ? "--buy" : "--sell");
      pen.strokeStyle = ink("--card");
      pen.lineWidth = 1.5;
      pen.beginPath();
      pen.moveTo(middle, row + (buy ? -8 : 8));
      pen.lineTo(middle - 6, row + (buy ? 4 : -4));
      pen.lineTo(middle + 6, row + (buy ? 4 : -4));
      pen.closePath();
      pen.stroke();
      pen.fill();
    }
  }

  drawForecasts(pen, x, box) {
    let reach = 0.03;
    for (const line of this.lines)
      for (const [time, p] of line.points) if (x.close(time) !== undefined) reach = Math.max(reach, Math.abs(p - 0.5));
    const y = this.scale(pen, box, 0.5 - reach, 0.5 + reach, (at) => number(at, 2), 26);
    pen.strokeStyle = ink("--soft");
    pen.setLineDash([4, 4]);
    pen.beginPath();
    pen.moveTo(0, y(0.5));
    pen.lineTo(box.right, y(0.5));
    pen.stroke();
    for (const line of this.lines) {
      this.stroke(pen, x, line.points, y, { colour: ink(line.colour), dash: line.dash, width: line.bold ? 2.2 : 1.3 });
    }
    this.name(pen, box, this.names?.p);
  }

  drawEquity(pen, x, box) {
    const seen = this.equity.filter(([time]) => x.close(time) !== undefined);
    if (seen.length === 0) return;
    let low = Infinity,
      high = -Infinity;
    for (const [, value] of seen) {
      low = Math.min(low, value);
      high = Math.max(high, value);
    }
    const room = (high - low) * 0.1 || high * 1e-4;
    const y = this.scale(pen, box, low - room, high + room, (at) => number(at, 0), 26);
    this.stroke(pen, x, seen, y, { colour: ink("--accent"), dash: [], width: 1.6 });
    this.name(pen, box, this.names?.equity);
  }

  stroke(pen, x, points, y, { colour, dash, width }) {
    pen.strokeStyle = colour;
    pen.lineWidth = width;
    pen.setLineDash(dash ?? []);
    pen.beginPath();
    let before = null;
    for (const [time, value] of points) {
      const at = x.close(time);
      if (at === undefined) {
        before = null;
        continue;
      }
      if (before !== null && at - before < this.each * 3.5) pen.lineTo(at, y(value));
      else pen.moveTo(at, y(value));
      before = at;
    }
    pen.stroke();
    pen.setLineDash([]);
  }

  name(pen, box, text) {
    if (!text) return;
    pen.font = "600 11px system-ui, sans-serif";
    const wide = pen.measureText(text).width;
    pen.fillStyle = ink("--card");
    pen.globalAlpha = 0.8;
    pen.fillRect(0, box.top - 2, wide + 8, 16);
    pen.globalAlpha = 1;
    pen.fillStyle = ink("--soft");
    pen.textAlign = "left";
    pen.fillText(text, 4, box.top + 6);
    pen.font = "11px system-ui, sans-serif";
  }

  drawTimes(pen, view, area, right) {
    pen.fillStyle = ink("--soft");
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    const every = Math.max(1, Math.ceil(84 / this.each));
    const long = view[view.length - 1][0] - view[0][0] > 3 * 86_400_000;
    let before = "";
    for (let i = Math.floor(every / 2); i < view.length; i += every) {
      const time = view[i][0];
      const date = day(time);
      const text = long || date !== before ? date : clock(time);
      before = date;
      const half = pen.measureText(text).width / 2;
      pen.fillText(text, Math.min(Math.max((i + 0.5) * this.each, half + 2), right - half), area + FOOT / 2 + 2);
    }
  }

  drawReading(pen, view, area, right) {
    if (this.at === null || this.at.x > right) {
      this.reading.hidden = true;
      return;
    }
    const i = Math.min(view.length - 1, Math.max(0, Math.floor(this.at.x / this.each)));
    const bar = view[i];
    pen.strokeStyle = ink("--soft");
    pen.setLineDash([3, 3]);
    pen.beginPath();
    pen.moveTo(Math.round((i + 0.5) * this.each) + 0.5, 0);
    pen.lineTo(Math.round((i + 0.5) * this.each) + 0.5, area);
    pen.moveTo(0, Math.round(this.at.y) + 0.5);
    pen.lineTo(right, Math.round(this.at.y) + 0.5);
    pen.stroke();
    pen.setLineDash([]);
    const said = this.lines.flatMap((line) => {
      const found = line.points.find(([time]) => time - this.stepMs === bar[0]);
      return found ? [`${line.name} ${number(found[1], 3)}`] : [];
    });
    const texts = [
      moment(bar[0]),
      `O ${price(bar[1])}  H ${price(bar[2])}`,
      `L ${price(bar[3])}  C ${price(bar[4])}`,
      `V ${number(bar[5], 1)}`,
      ...said,
    ];
    this.reading.replaceChildren(
      ...texts.map((text) => Object.assign(document.createElement("div"), { textContent: text })),
    );
    this.reading.hidden = false;
    this.reading.classList.toggle("left", this.at.x > right / 2);
  }
}
