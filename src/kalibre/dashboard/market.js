// The market: candles with forecasts and trades, the tiles above them, and what is thought now and why.

import { MarketChart } from "./chart.js";
import { byId, h, put, s, table } from "./dom.js";
import { language, moment, named, number, percent, price, signed, span, t, whole } from "./format.js";
import { about, ageS, cell, ring, stale, store, under, value } from "./store.js";

const PALETTE = ["--c0", "--c1", "--c2", "--c3", "--c4", "--c5"];
const DASHES = [[], [6, 3], [2, 2], [8, 3, 2, 3], [4, 2], [1, 3]];
const REGIME_COLOURS = ["--r0", "--r1", "--r2", "--r3", "--r4"];

let chart = null;
let range = { name: "live", found: null };
let why = { key: "", words: [] };
const lineChoices = JSON.parse(localStorage.getItem("kalibre.lines") ?? "{}");

// --- figures with their age ---------------------------------------------------------------------------------------------

export function age(kind, clockName, at, series = store.chosen) {
  const old = stale(kind, at, series);
  return h("span", { class: "age", "data-kind": kind, "data-clock": clockName, "data-at": at, "data-series": series },
    span(ageS(clockName, at)), old && kind !== "record" ? ` · ${t("stale")}` : "");
}

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
  [...new Set([...under(`${series}/p/`, store.rings), ...under(`${series}/live/`), ...under(`${series}/score/`)].map(([name]) => name))].sort();

// Over the candles only who acts is drawn at first: more than two lines are a thicket.
export const isHidden = (area, name) => !(lineChoices[`${area} ${name}`] ?? (area !== "chart" || name === "ensemble" || name === "champion"));
export function toggleLine(area, name) {
  lineChoices[`${area} ${name}`] = isHidden(area, name);
  localStorage.setItem("kalibre.lines", JSON.stringify(lineChoices));
}

export function swatch(look) {
  return s("svg", { viewBox: "0 0 20 8", class: "swatch", "aria-hidden": "true" },
    s("line", { x1: 0, y1: 4, x2: 20, y2: 4, class: `stroke${look.colour}`, "stroke-width": look.bold ? 3 : 2, "stroke-dasharray": (look.dash ?? []).join(" ") }));
}

export function legend(area, names) {
  return names.map((name) => h("button", { type: "button", class: "mark", "data-key": name, "data-act": "line", "data-area": area, "data-name": name, "aria-pressed": String(!isHidden(area, name)) },
    swatch(lookOf(name, names)), named("learner", name)));
}

// --- the chart ----------------------------------------------------------------------------------------------------------

const RANGES = { live: 0, day: 1, week: 7, month: 30, year: 365 };

function shownNow() {
  if (range.name !== "live" && range.found !== null) return range.found;
  const key = store.chosen;
  const lines = (kind) => Object.fromEntries(under(`${key}/${kind}/`, store.rings));
  return { bars: ring(`${key}/bars`), forecasts: lines("p"), fills: lines("fills"), equity: lines("equity"), labels: lines("labels"), left_out: [] };
}

export function drawMarket() {
  chart ??= new MarketChart(byId("chart"), byId("reading"));
  const found = shownNow();
  const names = forecasters();
  const regimes = [...new Set((found.labels.regime ?? []).map(([, label]) => label))].sort();
  const step = found.bars.length > 1 ? Math.min(...found.bars.slice(-9).map((bar, i, all) => (i ? bar[0] - all[i - 1][0] : Infinity))) : about()?.step_ms;
  chart.show({
    bars: found.bars,
    lines: Object.entries(found.forecasts).filter(([name]) => !isHidden("chart", name))
      .sort(([a], [b]) => (a === "ensemble") - (b === "ensemble"))
      .map(([name, points]) => ({ name: named("learner", name), points, ...lookOf(name, names) })),
    fills: found.fills.champion ?? [],
    equity: found.equity.champion ?? [],
    labels: found.labels.regime ?? [],
    stepMs: Number.isFinite(step) ? step : about()?.step_ms ?? 900_000,
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
    series: store.chosen.replace("|", " "), n: number(bars.length, 0), from: whole(bars[0][0]), to: whole(last[0]), close: price(last[4]),
    high: price(Math.max(...bars.map((bar) => bar[2]))), low: price(Math.min(...bars.map((bar) => bar[3]))), trades: number((found.fills.champion ?? []).length, 0),
  });
}

export function renderMarket() {
  const found = shownNow();
  const names = Object.keys(found.forecasts).sort();
  const labels = found.labels.regime ?? [];
  const regimes = [...new Set(labels.map(([, label]) => label))].sort();
  put(byId("market-legend"), [
    ...legend("chart", names),
    ...regimes.map((label, i) => h("span", { class: "mark", "data-key": `r ${label}` },
      s("svg", { viewBox: "0 0 10 10", class: "dot", "aria-hidden": "true" }, s("rect", { width: 10, height: 10, rx: 2, class: `fill${REGIME_COLOURS[i % REGIME_COLOURS.length]}` })), named("regime", label))),
    ...["buy", "sell"].map((side) => h("span", { class: "mark", "data-key": side },
      s("svg", { viewBox: "0 0 10 10", class: "dot", "aria-hidden": "true" }, s("path", { d: side === "buy" ? "M5 0 10 10H0Z" : "M5 10 10 0H0Z", class: `fill--${side}` })), t(side))),
    found.left_out.length ? h("span", { class: "note", "data-key": "left" }, t("left_out", { what: found.left_out.map((one) => t(`pane.${one}`)).join(", ") })) : null,
  ].filter(Boolean));
  const ranges = Object.keys(RANGES).map((name) => h("button", { type: "button", "data-key": name, "data-act": "range", "data-name": name, "aria-pressed": String(range.name === name) }, t(`range.${name}`)));
  const moves = [["earlier", "◀"], ["later", "▶"], ["nearer", "+"], ["farther", "−"]].map(([name, sign]) =>
    h("button", { type: "button", class: "sign", "data-key": name, "data-act": "move", "data-name": name, "aria-label": t(name), title: t(name) }, sign));
  put(byId("market-tools"), [h("div", { class: "choice", role: "group", "aria-label": t("range") }, ranges), h("div", { class: "choice", role: "group", "aria-label": t("move") }, moves)]);
  renderTiles();
  const shelf = byId("market-table");
  put(shelf.querySelector("div"), shelf.open ? [barTable(found, names)] : []);
}

function renderTiles() {
  const key = store.chosen;
  const bar = cell(`${key}/bar`);
  const bars = ring(`${key}/bars`);
  const account = cell(`${key}/account/champion`);
  const signal = cell(`${key}/signal/champion`);
  const together = cell(`${key}/ensemble`);
  const regime = cell(`${key}/note/regime`);
  const day0 = bars.find((one) => bar && one[0] >= bar.at - 86_400_000);
  const change = bar && day0 ? bar.v.close / day0[1] - 1 : null;
  const equity = ring(`${key}/equity/champion`);
  const gain = account && equity.length ? account.v.equity / equity[0][1] - 1 : null;
  const tile = (name, text, below, kind, at, tone = "") =>
    h("div", { class: aged(kind, at, `tile ${tone}`), "data-aged": true, "data-key": name }, h("h3", null, t(name)), h("p", { class: "big" }, text), h("p", { class: "note" }, below, below ? " · " : "", age(kind, "market", at)));
  put(byId("market-now"), [
    bar && tile("price", price(bar.v.close), change === null ? "" : `${change > 0 ? "▲" : change < 0 ? "▼" : ""} ${percent(Math.abs(change), 2)} ${t("in_a_day")}`, "bar", bar.at),
    together && tile("ensemble_says", together.v.p_up === null ? "–" : percent(together.v.p_up), together.v.p_up === null ? together.v.abstained ?? "" : t("p_up"), "forecast", together.at),
    signal && tile("signal", t(`action.${signal.v.action}`), t(signal.v.role === "champion" ? "of_champion" : "of_challenger"), "forecast", signal.at),
    account && tile("equity", number(account.v.equity, 2), gain === null ? "" : t("since_shown", { gain: (gain > 0 ? "+" : "") + percent(gain, 2) }), "forecast", account.at),
    regime && tile("regime", regime.v.label ? named("regime", regime.v.label) : "–", regime.v.abstained ?? "", "forecast", regime.at),
  ].filter(Boolean));
}

function barTable(found, names) {
  const said = Object.fromEntries(names.map((name) => [name, new Map(found.forecasts[name])]));
  const trades = new Map((found.fills.champion ?? []).map((fill) => [fill[0], fill]));
  const step = about()?.step_ms ?? 900_000;
  const rows = found.bars.slice(-40).reverse().map((bar) => h("tr", { "data-key": bar[0] },
    h("th", { scope: "row" }, moment(bar[0])), bar.slice(1, 5).map((one) => h("td", { class: "n" }, price(one))), h("td", { class: "n" }, number(bar[5], 1)),
    names.map((name) => h("td", { class: "n" }, number(said[name].get(bar[0] + step), 3))), h("td", null, trades.has(bar[0]) ? `${t(trades.get(bar[0])[1])} ${price(trades.get(bar[0])[2])}` : "")));
  return table(t("market_table"), [t("time"), t("open"), t("high"), t("low"), t("close"), t("volume"), ...names.map((name) => named("learner", name)), t("trade")], rows);
}

export async function choose(name) {
  range = { name, found: null };
  chart?.newest();
  if (name !== "live") {
    const days = RANGES[name];
    const end = cell(`${store.chosen}/bar`)?.at ?? Date.now();
    const response = await fetch(`/hub/series?symbol=${encodeURIComponent(store.chosen)}&from=${Math.max(0, end - days * 86_400_000)}&to=${end}&points=1000`);
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

// --- what is thought now, and why -----------------------------------------------------------------------------------------

export function renderNow() {
  const key = store.chosen;
  const names = forecasters();
  const said = names.filter((name) => name !== "ensemble").map((name) => [name, cell(`${key}/forecast/${name}`)]).filter(([, one]) => one);
  const together = cell(`${key}/ensemble`);
  const rows = [...(together ? [["ensemble", together]] : []), ...said].map(([name, one]) => {
    const weight = together?.v.weights?.[name];
    const silent = one.v.abstained ?? (name === "ensemble" ? null : together?.v.silent?.[name] ?? null);
    return h("li", { class: aged("forecast", one.at, "says"), "data-aged": true, "data-key": name },
      h("span", { class: "who" }, swatch(lookOf(name, names)), named("learner", name)),
      gauge(one.v.p_up), h("b", { class: "n" }, one.v.p_up === null ? "–" : percent(one.v.p_up)),
      h("small", { class: "note" }, silent ? `${silent} · ` : weight === undefined ? "" : `${t("weight", { weight: percent(weight, 0) })} · `, age("forecast", "market", one.at)));
  });
  const signal = cell(`${key}/signal/champion`);
  put(byId("now-body"), [
    rows.length ? h("ul", { class: "plain" }, rows) : h("p", { class: "empty" }, t("no_forecasts")),
    signal ? h("div", { class: aged("forecast", signal.at, "reasons"), "data-aged": true }, h("h3", null, t("decision"), ": ", t(`action.${signal.v.action}`)), signal.v.reasons.map((reason) => h("p", { class: "note" }, reason)), h("p", { class: "note" }, age("forecast", "market", signal.at))) : null,
    ...explanation(key),
  ].filter(Boolean));
}

// From 0 to 1 with the middle marked: to the right of it is up.
function gauge(p) {
  const at = p === null || p === undefined ? null : p * 100;
  return s("svg", { viewBox: "0 0 100 10", class: "gauge", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { x: 0, y: 3, width: 100, height: 4, rx: 2, class: "fill--line" }),
    at === null ? null : s("rect", { x: Math.min(50, at), y: 3, width: Math.abs(at - 50), height: 4, class: at >= 50 ? "fill--up" : "fill--down" }),
    s("rect", { x: 49.6, y: 0, width: 0.8, height: 10, class: "fill--soft" }));
}

function explanation(key) {
  const note = cell(`${key}/note/explain`);
  if (!note) return [];
  const values = Object.entries(note.v.values).filter(([name]) => name !== "bias" && name !== "rest").sort((a, b) => Math.abs(b[1]) - Math.abs(a[1])).slice(0, 6);
  const most = Math.max(...values.map(([, one]) => Math.abs(one)), 1e-12);
  return [h("div", { class: aged("forecast", note.at, "why"), "data-aged": true },
    h("h3", null, t("why")),
    note.v.abstained ? h("p", { class: "note" }, note.v.abstained) : null,
    why.key === `${key} ${note.at} ${language()}` ? h("p", null, why.words[0]) : null,
    h("ul", { class: "plain" }, values.map(([name, one]) => h("li", { class: "adds", "data-key": name }, h("span", { class: "feature" }, name), bar(one / most), h("span", { class: "n" }, signed(one, 3))))),
    h("p", { class: "note" }, note.v.about ? t("of_model", { model: note.v.about }) : "", note.v.about ? " · " : "", age("forecast", "market", note.at)))];
}

function bar(share) {
  return s("svg", { viewBox: "-50 0 100 10", class: "gauge", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { x: share < 0 ? share * 48 : 0, y: 2, width: Math.abs(share) * 48, height: 6, rx: 1, class: share < 0 ? "fill--down" : "fill--up" }), s("rect", { x: -0.4, y: 0, width: 0.8, height: 10, class: "fill--soft" }));
}

// The words of the newest explanation are asked for when it has changed, and not more often than every few seconds.
let asked = 0;
export async function askWhy() {
  const note = cell(`${store.chosen}/note/explain`);
  const key = note && `${store.chosen} ${note.at} ${language()}`;
  if (!note || why.key === key || performance.now() - asked < 3000) return;
  asked = performance.now();
  const response = await fetch(`/ml/explain?symbol=${encodeURIComponent(store.chosen)}&lang=${language()}`);
  if (response.ok) why = { key, words: (await response.json()).words };
}
