// Lines over time on a canvas: how accuracy, loss and reward went.

import { ink, sized, ticks } from "./chart.js";
import { clock, day } from "./format.js";

const AXIS = 56;
const FOOT = 20;

export class Lines {
  constructor(canvas) {
    this.canvas = canvas;
    this.lines = [];
    this.level = null;
    this.text = String;
    this.waiting = false;
    new ResizeObserver(() => this.later()).observe(canvas);
  }

  // lines: {name, colour, dash, bold, points: [[time, value], ...]}; level: a line that means "knows nothing".
  show(lines, level, text) {
    Object.assign(this, { lines, level, text });
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

  draw() {
    const { pen, width, height } = sized(this.canvas);
    const points = this.lines.flatMap((line) => line.points);
    this.canvas.dataset.points = String(points.length);
    if (width === 0 || points.length === 0) return;
    let [low, high, from, to] = [Infinity, -Infinity, Infinity, -Infinity];
    for (const [time, value] of points) {
      low = Math.min(low, value);
      high = Math.max(high, value);
      from = Math.min(from, time);
      to = Math.max(to, time);
    }
    if (this.level !== null) {
      low = Math.min(low, this.level);
      high = Math.max(high, this.level);
    }
    const room = (high - low) * 0.08 || Math.abs(high) * 0.01 || 1e-6;
    [low, high] = [low - room, high + room];
    const [right, bottom] = [width - AXIS, height - FOOT];
    const x = (time) => 4 + ((time - from) / (to - from || 1)) * (right - 8);
    const y = (value) => bottom - ((value - low) / (high - low)) * (bottom - 6);
    pen.textBaseline = "middle";
    pen.lineWidth = 1;
    for (const at of ticks(low, high, bottom / 46)) {
      pen.strokeStyle = ink("--line");
      pen.beginPath();
      pen.moveTo(0, Math.round(y(at)) + 0.5);
      pen.lineTo(right, Math.round(y(at)) + 0.5);
      pen.stroke();
      pen.fillStyle = ink("--soft");
      pen.textAlign = "left";
      pen.fillText(this.text(at), right + 6, y(at));
    }
    if (this.level !== null) {
      pen.strokeStyle = ink("--soft");
      pen.setLineDash([4, 4]);
      pen.beginPath();
      pen.moveTo(0, y(this.level));
      pen.lineTo(right, y(this.level));
      pen.stroke();
      pen.setLineDash([]);
    }
    for (const line of this.lines) {
      pen.strokeStyle = ink(line.colour);
      pen.lineWidth = line.bold ? 2.2 : 1.4;
      pen.setLineDash(line.dash ?? []);
      pen.beginPath();
      line.points.forEach(([time, value], i) => (i ? pen.lineTo(x(time), y(value)) : pen.moveTo(x(time), y(value))));
      pen.stroke();
    }
    pen.setLineDash([]);
    pen.fillStyle = ink("--soft");
    pen.textAlign = "center";
    const n = Math.max(2, Math.floor(right / 110));
    for (let i = 0; i < n; i += 1) {
      const time = from + ((i + 0.5) / n) * (to - from);
      pen.fillText(to - from > 2 * 86_400_000 ? day(time) : clock(time), x(time), bottom + FOOT / 2 + 2);
    }
  }
}
