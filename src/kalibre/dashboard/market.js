// The market: candles with forecasts and trades, how far back they go, and the same as a table.

import { MarketChart } from "./chart.js";
import { byId, h, put, s, table } from "./dom.js";
import { forecasters, isHidden, legend, lookOf } from "./figures.js";
import { moment, named, number, price, t, whole } from "./format.js";
import { renderTiles } from "./now.js";
import { about, cell, ring, store, under } from "./store.js";

const REGIME_COLOURS = ["--r0", "--r1", "--r2", "--r3", "--r4"];

let chart = null;
let range = { name: "live", found: null };

// --- the chart ----------------------------------------------------------------------------------------------------

const RANGES = { live: 0, day: 1, week: 7, month: 30, year: 365 };

function shownNow() {
  if (range.name !== "live" && range.found !== null) return range.found;
  const key = store.chosen;
  const lines = (kind) => Object.fromEntries(under(`${key}/${kind}/`, store.rings));
  return {
    bars: ring(`${key}/bars`),
    forecasts: lines("p"),
    fills: lines("fills"),
    equity: lines("equity"),
    labels: lines("labels"),
    left_out: [],
  };
}

export function drawMarket() {
  chart ??= new MarketChart(byId("chart"), byId("reading"));
  const found = shownNow();
  const names = forecasters();
  const regimes = [...new Set((found.labels.regime ?? []).map(([, label]) => label))].sort();
  const step =
    found.bars.length > 1
      ? Math.min(...found.bars.slice(-9).map((bar, i, all) => (i ? bar[0] - all[i - 1][0] : Infinity)))
      : about()?.step_ms;
  chart.show({
    bars: found.bars,
    lines: Object.entries(found.forecasts)
      .filter(([name]) => !isHidden("chart", name))
      .sort(([a], [b]) => (a === "ensemble") - (b === "ensemble"))
      .map(([name, points]) => ({ name: named("learner", name), points, ...lookOf(name, names) })),
    fills: found.fills.champion ?? [],
    equity: found.equity.champion ?? [],
    labels: found.labels.regime ?? [],
    stepMs: Number.isFinite(step) ? step : (about()?.step_ms ?? 900_000),
    colourOf: (label) => REGIME_COLOURS[Math.max(0, regimes.indexOf(label)) % REGIME_COLOURS.length],
    names: { p: t("p_up_pane"), equity: t("equity_pane") },
  });
  byId("chart").setAttribute("aria-label", spoken(found));
}

// What the picture shows, in a sentence for those who do not see it.
function spoken(found) {
  const { bars } = found;
  if (bars.length === 0) return t("no_bars");
  const last = bars[bars.length - 1];
  return t("chart_spoken", {
    series: store.chosen.replace("|", " "),
    n: number(bars.length, 0),
    from: whole(bars[0][0]),
    to: whole(last[0]),
    close: price(last[4]),
    high: price(Math.max(...bars.map((bar) => bar[2]))),
    low: price(Math.min(...bars.map((bar) => bar[3]))),
    trades: number((found.fills.champion ?? []).length, 0),
  });
}

export function renderMarket() {
  const found = shownNow();
  const names = Object.keys(found.forecasts).sort();
  const labels = found.labels.regime ?? [];
  const regimes = [...new Set(labels.map(([, label]) => label))].sort();
  put(
    byId("market-legend"),
    [
      ...legend("chart", names),
      ...regimes.map((label, i) =>
        h(
          "span",
          { class: "mark", "data-key": `r ${label}` },
          s(
            "svg",
            { viewBox: "0 0 10 10", class: "dot", "aria-hidden": "true" },
            s("rect", { width: 10, height: 10, rx: 2, class: `fill${REGIME_COLOURS[i % REGIME_COLOURS.length]}` }),
          ),
          named("regime", label),
        ),
      ),
      ...["buy", "sell"].map((side) =>
        h(
          "span",
          { class: "mark", "data-key": side },
          s(
            "svg",
            { viewBox: "0 0 10 10", class: "dot", "aria-hidden": "true" },
            s("path", { d: side === "buy" ? "M5 0 10 10H0Z" : "M5 10 10 0H0Z", class: `fill--${side}` }),
          ),
          t(side),
        ),
      ),
      found.left_out.length
        ? h(
            "span",
            { class: "note", "data-key": "left" },
            t("left_out", { what: found.left_out.map((one) => t(`pane.${one}`)).join(", ") }),
          )
        : null,
    ].filter(Boolean),
  );
  const ranges = Object.keys(RANGES).map((name) =>
    h(
      "button",
      {
        type: "button",
        "data-key": name,
        "data-act": "range",
        "data-name": name,
        "aria-pressed": String(range.name === name),
      },
      t(`range.${name}`),
    ),
  );
  const moves = [
    ["earlier", "◀"],
    ["later", "▶"],
    ["nearer", "+"],
    ["farther", "−"],
  ].map(([name, sign]) =>
    h(
      "button",
      {
        type: "button",
        class: "sign",
        "data-key": name,
        "data-act": "move",
        "data-name": name,
        "aria-label": t(name),
        title: t(name),
      },
      sign,
    ),
  );
  put(byId("market-tools"), [
    h("div", { class: "choice", role: "group", "aria-label": t("range") }, ranges),
    h("div", { class: "choice", role: "group", "aria-label": t("move") }, moves),
  ]);
  renderTiles();
  const shelf = byId("market-table");
  put(shelf.querySelector("div"), shelf.open ? [barTable(found, names)] : []);
}

function barTable(found, names) {
  const said = Object.fromEntries(names.map((name) => [name, new Map(found.forecasts[name])]));
  const trades = new Map((found.fills.champion ?? []).map((fill) => [fill[0], fill]));
  const step = about()?.step_ms ?? 900_000;
  const rows = found.bars
    .slice(-40)
    .reverse()
    .map((bar) =>
      h(
        "tr",
        { "data-key": bar[0] },
        h("th", { scope: "row" }, moment(bar[0])),
        bar.slice(1, 5).map((one) => h("td", { class: "n" }, price(one))),
        h("td", { class: "n" }, number(bar[5], 1)),
        names.map((name) => h("td", { class: "n" }, number(said[name].get(bar[0] + step), 3))),
        h("td", null, trades.has(bar[0]) ? `${t(trades.get(bar[0])[1])} ${price(trades.get(bar[0])[2])}` : ""),
      ),
    );
  return table(
    t("market_table"),
    [
      t("time"),
      t("open"),
      t("high"),
      t("low"),
      t("close"),
      t("volume"),
      ...names.map((name) => named("learner", name)),
      t("trade"),
    ],
    rows,
  );
}

export async function choose(name) {
  range = { name, found: null };
  chart?.newest();
  if (name !== "live") {
    const days = RANGES[name];
    const end = cell(`${store.chosen}/bar`)?.at ?? Date.now();
    const start = Math.max(0, end - days * 86_400_000);
    const response = await fetch(
      `/hub/series?symbol=${encodeURIComponent(store.chosen)}&from=${start}&to=${end}&points=1000`,
    );
    if (response.ok && range.name === name) range.found = await response.json();
    if (chart) chart.count = range.found?.bars.length ?? 0;
  } else if (chart) chart.count = 0;
}

export function move(name) {
  const each = Math.max(4, Math.round((chart?.count || chart?.fitting() || 40) / 4));
  if (name === "earlier") chart?.pan(each);
  if (name === "later") chart?.pan(-each);
  if (name === "nearer") chart?.zoom(1 / 1.4);
  if (name === "farther") chart?.zoom(1.4);
}
