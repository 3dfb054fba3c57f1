// Figures with their age, greyed when they are too old, and how a forecaster is drawn, the same everywhere.

import { h, s } from "./dom.js";
import { moment, named, span, t } from "./format.js";
import { ageS, stale, store, under } from "./store.js";

const PALETTE = ["--c0", "--c1", "--c2", "--c3", "--c4", "--c5"];
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3], [4, 2], [1, 3]];
const lineChoices = JSON.parse(localStorage.getItem("kalibre.lines") ?? "{}");

// --- figures with their age ---------------------------------------------------------------------------------------

export function age(kind, clockName, at, series = store.chosen) {
  const old = stale(kind, at, series);
  return h(
    "span",
    { class: "age", "data-kind": kind, "data-clock": clockName, "data-at": at, "data-series": series },
    span(ageS(clockName, at)),
    old && kind !== "record" ? ` · ${t("stale")}` : "",
  );
}

export const when = (ms) => h("time", { datetime: new Date(ms).toISOString() }, moment(ms));
export const empty = (key) => [h("p", { class: "empty" }, t(key))];

// What is to be greyed together with its age.
export const aged = (kind, at, base = "", series = store.chosen) => `${base}${stale(kind, at, series) ? " stale" : ""}`;

export function tick() {
  for (const one of document.querySelectorAll(".age")) {
    const { kind, clock: clockName, series } = one.dataset;
    const at = Number(one.dataset.at);
    const old = stale(kind, at, series);
    const text = span(ageS(clockName, at)) + (old && kind !== "record" ? ` · ${t("stale")}` : "");
    if (one.textContent !== text) one.textContent = text;
    one.closest("[data-aged]")?.classList.toggle("stale", old);
  }
}

// How a forecaster is drawn, the same everywhere.
export function lookOf(name, names) {
  if (name === "ensemble") return { colour: "--ink", dash: [], bold: true };
  const at = names.filter((one) => one !== "ensemble").indexOf(name);
  return { colour: PALETTE[at % PALETTE.length], dash: DASHES[Math.floor(at / PALETTE.length) % DASHES.length] };
}

export const forecasters = (series = store.chosen) =>
  [
    ...new Set(
      [...under(`${series}/p/`, store.rings), ...under(`${series}/live/`), ...under(`${series}/score/`)].map(
        ([name]) => name,
      ),
    ),
  ].sort();

// Over the candles only who acts is drawn at first: more than two lines are a thicket.
export const isHidden = (area, name) =>
  !(lineChoices[`${area} ${name}`] ?? (area !== "chart" || name === "ensemble" || name === "champion"));
export function toggleLine(area, name) {
  lineChoices[`${area} ${name}`] = isHidden(area, name);
  localStorage.setItem("kalibre.lines", JSON.stringify(lineChoices));
}

export function swatch(look) {
  return s(
    "svg",
    { viewBox: "0 0 20 8", class: "swatch", "aria-hidden": "true" },
    s("line", {
      x1: 0,
      y1: 4,
      x2: 20,
      y2: 4,
      class: `stroke${look.colour}`,
      "stroke-width": look.bold ? 3 : 2,
      "stroke-dasharray": (look.dash ?? []).join(" "),
    }),
  );
}

export function legend(area, names) {
  return names.map((name) =>
    h(
      "button",
      {
        type: "button",
        class: "mark",
        "data-key": name,
        "data-act": "line",
        "data-area": area,
        "data-name": name,
        "aria-pressed": String(!isHidden(area, name)),
      },
      swatch(lookOf(name, names)),
      named("learner", name),
    ),
  );
}
