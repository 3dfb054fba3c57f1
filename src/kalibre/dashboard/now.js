// What is thought of the market now: the tiles above the chart, each forecaster's word, the decision, and why.

import { byId, h, put, s } from "./dom.js";
import { age, aged, forecasters, lookOf, swatch } from "./figures.js";
import { language, named, number, percent, price, signed, t } from "./format.js";
import { cell, ring, store } from "./store.js";

let why = { key: "", words: [] };

export function renderTiles() {
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
    h(
      "div",
      { class: aged(kind, at, `tile ${tone}`), "data-aged": true, "data-key": name },
      h("h3", null, t(name)),
      h("p", { class: "big" }, text),
      h("p", { class: "note" }, below, below ? " · " : "", age(kind, "market", at)),
    );
  put(
    byId("market-now"),
    [
      bar &&
        tile(
          "price",
          price(bar.v.close),
          change === null
            ? ""
            : `${change > 0 ? "▲" : change < 0 ? "▼" : ""} ${percent(Math.abs(change), 2)} ${t("in_a_day")}`,
          "bar",
          bar.at,
        ),
      together &&
        tile(
          "ensemble_says",
          together.v.p_up === null ? "–" : percent(together.v.p_up),
          together.v.p_up === null ? (together.v.abstained ?? "") : t("p_up"),
          "forecast",
          together.at,
        ),
      signal &&
        tile(
          "signal",
          t(`action.${signal.v.action}`),
          t(signal.v.role === "champion" ? "of_champion" : "of_challenger"),
          "forecast",
          signal.at,
        ),
      account &&
        tile(
          "equity",
          number(account.v.equity, 2),
          gain === null ? "" : t("since_shown", { gain: (gain > 0 ? "+" : "") + percent(gain, 2) }),
          "forecast",
          account.at,
        ),
      regime &&
        tile(
          "regime",
          regime.v.label ? named("regime", regime.v.label) : "–",
          regime.v.abstained ?? "",
          "forecast",
          regime.at,
        ),
    ].filter(Boolean),
  );
}

// --- what is thought now, and why ---------------------------------------------------------------------------------

export function renderNow() {
  const key = store.chosen;
  const names = forecasters();
  const said = names
    .filter((name) => name !== "ensemble")
    .map((name) => [name, cell(`${key}/forecast/${name}`)])
    .filter(([, one]) => one);
  const together = cell(`${key}/ensemble`);
  const rows = [...(together ? [["ensemble", together]] : []), ...said].map(([name, one]) => {
    const weight = together?.v.weights?.[name];
    const silent = one.v.abstained ?? (name === "ensemble" ? null : (together?.v.silent?.[name] ?? null));
    return h(
      "li",
      { class: aged("forecast", one.at, "says"), "data-aged": true, "data-key": name },
      h("span", { class: "who" }, swatch(lookOf(name, names)), named("learner", name)),
      gauge(one.v.p_up),
      h("b", { class: "n" }, one.v.p_up === null ? "–" : percent(one.v.p_up)),
      h(
        "small",
        { class: "note" },
        silent ? `${silent} · ` : weight === undefined ? "" : `${t("weight", { weight: percent(weight, 0) })} · `,
        age("forecast", "market", one.at),
      ),
    );
  });
  const signal = cell(`${key}/signal/champion`);
  put(
    byId("now-body"),
    [
      rows.length ? h("ul", { class: "plain" }, rows) : h("p", { class: "empty" }, t("no_forecasts")),
      signal
        ? h(
            "div",
            { class: aged("forecast", signal.at, "reasons"), "data-aged": true },
            h("h3", null, t("decision"), ": ", t(`action.${signal.v.action}`)),
            signal.v.reasons.map((reason) => h("p", { class: "note" }, reason)),
            h("p", { class: "note" }, age("forecast", "market", signal.at)),
          )
        : null,
      ...explanation(key),
    ].filter(Boolean),
  );
}

// From 0 to 1 with the middle marked: to the right of it is up.
function gauge(p) {
  const at = p === null || p === undefined ? null : p * 100;
  return s(
    "svg",
    { viewBox: "0 0 100 10", class: "gauge", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", { x: 0, y: 3, width: 100, height: 4, rx: 2, class: "fill--line" }),
    at === null
      ? null
      : s("rect", {
          x: Math.min(50, at),
          y: 3,
          width: Math.abs(at - 50),
          height: 4,
          class: at >= 50 ? "fill--up" : "fill--down",
        }),
    s("rect", { x: 49.6, y: 0, width: 0.8, height: 10, class: "fill--soft" }),
  );
}

function explanation(key) {
  const note = cell(`${key}/note/explain`);
  if (!note) return [];
  const values = Object.entries(note.v.values)
    .filter(([name]) => name !== "bias" && name !== "rest")
    .sort((a, b) => Math.abs(b[1]) - Math.abs(a[1]))
    .slice(0, 6);
  const most = Math.max(...values.map(([, one]) => Math.abs(one)), 1e-12);
  return [
    h(
      "div",
      { class: aged("forecast", note.at, "why"), "data-aged": true },
      h("h3", null, t("why")),
      note.v.abstained ? h("p", { class: "note" }, note.v.abstained) : null,
      why.key === `${key} ${note.at} ${language()}` ? h("p", null, why.words[0]) : null,
      h(
        "ul",
        { class: "plain" },
        values.map(([name, one]) =>
          h(
            "li",
            { class: "adds", "data-key": name },
            h("span", { class: "feature" }, name),
            bar(one / most),
            h("span", { class: "n" }, signed(one, 3)),
          ),
        ),
      ),
      h(
        "p",
        { class: "note" },
        note.v.about ? t("of_model", { model: note.v.about }) : "",
        note.v.about ? " · " : "",
        age("forecast", "market", note.at),
      ),
    ),
  ];
}

function bar(share) {
  return s(
    "svg",
    { viewBox: "-50 0 100 10", class: "gauge", preserveAspectRatio: "none", "aria-hidden": "true" },
    s("rect", {
      x: share < 0 ? share * 48 : 0,
      y: 2,
      width: Math.abs(share) * 48,
      height: 6,
      rx: 1,
      class: share < 0 ? "fill--down" : "fill--up",
    }),
    s("rect", { x: -0.4, y: 0, width: 0.8, height: 10, class: "fill--soft" }),
  );
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
