// The learners: how each stands and what it is worth, how that went, and the league.

import { byId, h, put, s, table } from "./dom.js";
import { bytes, moment, named, number, percent, signed, t } from "./format.js";
import { Lines } from "./lines.js";
import { age, aged, forecasters, isHidden, legend, lookOf, swatch } from "./figures.js";
import { cell, may, ring, stale, store, under, value } from "./store.js";

let what = "accuracy";
let past = { key: "", lines: {} };
let lines = null;

export const chip = (state, text = t(`state.${state}`)) => h("span", { class: `chip ${state}` }, text);

function pausedBy(name) {
  return value(`paused/${name}`) === true;
}

const benchOf = (name) => [value(`bench/${name}`), value(`bench/${store.chosen}|${name}`)].find((one) => one?.benched);
const outOfForm = (name) =>
  value(`${store.chosen}/benched`)?.names.includes(name) ||
  value(`${store.chosen}/league`)?.rows.find((row) => row.name === name)?.benched;

// In which worker something runs: learners share one unless each was given its own.
export const hostOf = (name) => store.hosts?.[name] ?? name;

// Whether the process lives, by its worker's word and its heartbeat; a learner in a group goes by what it last said.
export function processState(name) {
  const host = hostOf(name);
  const worker = value(`worker/${host}`);
  const beat = store.now?.beats[host];
  if (worker?.state === "error") return "error";
  if (worker?.state === "stopped") return "offline";
  if (worker && worker.state !== "online") return worker.state;
  // Its last heartbeat says that it has ended, or its supervisor wrote it there; a log that is full says it later.
  if (["ended", "stopped"].includes(beat?.phase)) return "offline";
  if (beat) return stale("beat", beat.age_s) ? "offline" : "online";
  const said =
    cell(`${store.chosen}/forecast/${name}`) ??
    cell(`${store.chosen}/note/${name}`) ??
    (name === "ensemble" ? cell(`${store.chosen}/ensemble`) : undefined);
  if (worker && !said) return store.linked ? "online" : "offline";
  return said && !stale("forecast", said.at) ? "online" : "offline";
}

export function learnerNames() {
  const key = store.chosen;
  const found = [
    ...under(`${key}/forecast/`),
    ...under(`${key}/note/`),
    ...under(`${key}/live/`),
    ...under("paused/"),
  ].map(([name]) => name);
  return [...new Set([...store.learners, ...found.filter((name) => name !== "challenger")])].sort(
    (a, b) => (a === "ensemble") - (b === "ensemble") || (a < b ? -1 : 1),
  );
}

export function renderLearners() {
  const key = store.chosen;
  const names = forecasters();
  const rows = learnerNames().map((name) => {
    const live = cell(`${key}/live/${name}`);
    const score = cell(`${key}/score/${name}`);
    const note = cell(`${key}/note/${name}`);
    const said = name === "ensemble" ? cell(`${key}/ensemble`) : cell(`${key}/forecast/${name}`);
    const known = store.learners.includes(name);
    const states = [processState(name)];
    const benched = benchOf(name);
    if (benched || outOfForm(name)) states.push("benched");
    if (pausedBy(name)) states.push("paused");
    const now = said
      ? said.v.p_up === null
        ? "–"
        : percent(said.v.p_up)
      : note
        ? note.v.label && !note.v.about
          ? named("regime", note.v.label)
          : t("annotates")
        : "–";
    const at = said ?? note;
    const beat = store.now?.beats[hostOf(name)];
    const silent = said?.v.p_up === null ? said.v.abstained : note?.v.abstained;
    const figure = (text, from, kind) =>
      h(
        "td",
        { class: from ? aged(kind, from.at, "n") : "n none", "data-aged": true },
        h("b", null, from ? text : "–"),
        from ? h("small", null, age(kind, "market", from.at)) : null,
      );
    return h(
      "tr",
      { "data-key": name },
      h(
        "th",
        { scope: "row" },
        h("span", { class: "who" }, names.includes(name) ? swatch(lookOf(name, names)) : null, named("learner", name)),
        h("small", null, note && !said ? t("annotator") : known || said ? t("forecaster") : ""),
      ),
      h(
        "td",
        null,
        states.map((state) => chip(state)),
        benched ? h("small", null, benched.reason) : null,
        beat
          ? h(
              "small",
              { class: aged("beat", beat.age_s, "beat"), "data-aged": true },
              t("heartbeat"),
              " ",
              age("beat", "beat", beat.age_s),
            )
          : null,
      ),
      h(
        "td",
        { class: at ? aged("forecast", at.at, "n") : "n", "data-aged": true },
        h("b", null, now),
        at ? h("small", { class: "long" }, silent ? `${silent} · ` : "", age("forecast", "market", at.at)) : null,
      ),
      figure(live && percent(live.v.accuracy), live, "live"),
      figure(live && number(live.v.loss, 4), live, "live"),
      figure(live && `${signed(live.v.reward * 1e4, 2)} ${t("bp")}`, live, "live"),
      figure(score && number(score.v.brier, 4), score, "hourly"),
      figure(score && (score.v.sharpe === null ? "–" : number(score.v.sharpe, 2)), score, "hourly"),
      h("td", { class: "acts" }, known ? acts(name) : null),
    );
  });
  const heads = ["learner", "state", "says_now", "accuracy", "loss", "reward", "brier", "sharpe", "acts"].map(
    (one) => ({ text: t(one), class: ["learner", "state", "acts"].includes(one) ? "" : "n" }),
  );
  put(
    byId("learners-body"),
    rows.length
      ? [table(t("learners"), heads, rows, { class: "tall" })]
      : [h("p", { class: "empty" }, t("no_learners"))],
  );
  put(byId("learner-tools"), [act("retrain", store.chosen.split("|")[0], t("retrain_model"))]);
}

export function act(verb, name, text = t(`act.${verb}`), extra = {}) {
  return h(
    "button",
    {
      type: "button",
      "data-act": "ask",
      "data-verb": verb,
      "data-name": name,
      "data-key": `${verb} ${name}`,
      "aria-label": `${text}: ${named("learner", name)}`,
      class: may("operate") ? "" : "locked",
      ...extra,
    },
    text,
  );
}

function acts(name) {
  return [pausedBy(name) ? act("resume", name) : act("pause", name), act("checkpoint", name), act("reset", name)];
}

// --- how it went --------------------------------------------------------------------------------------------------

const LEVEL = { accuracy: 0.5, loss: Math.LN2, reward: 0 };
const TEXT = { accuracy: (one) => percent(one, 0), loss: (one) => number(one, 3), reward: (one) => percent(one, 1) };

export async function askHistory(anew = false) {
  const newest = under(`${store.chosen}/score/`).reduce((most, [, one]) => Math.max(most, one.at), 0);
  const key = `${store.chosen} ${what} ${newest}`;
  if (past.key === key && !anew) return false;
  const before = past.key;
  past = { ...past, key };
  const response = await fetch(`/hub/history?what=${what}&symbol=${encodeURIComponent(store.chosen)}&points=400`);
  if (response.ok && past.key === key) past.lines = (await response.json()).lines;
  else if (!response.ok) past.key = before;
  return true;
}

export function showHistory(name) {
  what = name;
}

export function renderHistory() {
  const names = Object.keys(past.lines).sort();
  put(byId("history-tools"), [
    h(
      "div",
      { class: "choice", role: "group", "aria-label": t("figure") },
      ["accuracy", "loss", "reward"].map((one) =>
        h(
          "button",
          {
            type: "button",
            "data-key": one,
            "data-act": "history",
            "data-name": one,
            "aria-pressed": String(what === one),
          },
          t(one),
        ),
      ),
    ),
  ]);
  byId("history-note").textContent = t(`history_note.${what}`);
  lines ??= new Lines(byId("lines"));
  const shown = names
    .filter((name) => !isHidden("history", name) && past.lines[name].length)
    .map((name) => ({ name, points: past.lines[name], ...lookOf(name, forecasters()) }));
  lines.show(shown, LEVEL[what], TEXT[what]);
  byId("lines").setAttribute(
    "aria-label",
    t("history_spoken", {
      what: t(what),
      lines:
        shown
          .map((line) => `${named("learner", line.name)} ${TEXT[what](line.points[line.points.length - 1][1])}`)
          .join(", ") || t("nothing_yet"),
    }),
  );
  put(
    byId("history-legend"),
    names.length ? legend("history", names) : [h("span", { class: "empty" }, t("no_scores"))],
  );
  const shelf = byId("history-table");
  if (!shelf.open) return put(shelf.querySelector("div"), []);
  const times = [...new Set(shown.flatMap((line) => line.points.map(([time]) => time)))]
    .sort((a, b) => b - a)
    .slice(0, 24);
  const maps = shown.map((line) => new Map(line.points));
  put(shelf.querySelector("div"), [
    table(
      t(what),
      [t("time"), ...shown.map((line) => named("learner", line.name))],
      times.map((time) =>
        h(
          "tr",
          { "data-key": time },
          h("th", { scope: "row" }, moment(time)),
          maps.map((map) => h("td", { class: "n" }, map.has(time) ? TEXT[what](map.get(time)) : "–")),
        ),
      ),
    ),
  ]);
}

// --- the league ---------------------------------------------------------------------------------------------------

export function renderLeague() {
  const found = cell(`${store.chosen}/league`);
  if (!found) return put(byId("league-body"), [h("p", { class: "empty" }, t("no_league"))]);
  const rows = [...found.v.rows].sort((a, b) => (b.edge ?? -Infinity) - (a.edge ?? -Infinity));
  // The dummies may lie far out: who competes sets the scale, and the others end at its edge.
  const ends = rows
    .filter((row) => !row.dummy)
    .flatMap((row) => [row.edge_low, row.edge_high])
    .filter((one) => one !== null);
  const [low, high] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  const at = (one) => Math.min(99, Math.max(1, 5 + ((one - low) / (high - low || 1)) * 90));
  const body = rows.map((row, i) => {
    // The champion's model is asked by the paper engine.
    const cost = store.now?.costs?.[row.name === "champion" ? "paper" : row.name];
    return h(
      "tr",
      { class: row.dummy ? "dummy" : "", "data-key": row.name },
      h(
        "td",
        { class: row.dummy ? "n none" : "n" },
        row.dummy ? "" : rows.slice(0, i + 1).filter((one) => !one.dummy).length,
      ),
      h(
        "th",
        { scope: "row" },
        named(row.dummy ? "dummy" : "learner", row.name),
        row.dummy ? h("small", null, t("dummy")) : null,
        row.benched ? h("small", null, chip("benched")) : null,
      ),
      h("td", { class: "n" }, row.edge === null ? "–" : signed(row.edge, 4)),
      h(
        "td",
        null,
        row.edge === null || row.edge_low === null
          ? null
          : s(
              "svg",
              { viewBox: "0 0 100 12", class: "whisker", preserveAspectRatio: "none", "aria-hidden": "true" },
              s("rect", { x: at(0) - 0.35, y: 0, width: 0.7, height: 12, class: "fill--soft" }),
              s("rect", {
                x: at(row.edge_low),
                y: 5.2,
                width: at(row.edge_high) - at(row.edge_low),
                height: 1.6,
                class: row.edge_low > 0 ? "fill--good" : row.edge_high < 0 ? "fill--bad" : "fill--soft",
              }),
              s("rect", {
                x: at(row.edge) - 1.2,
                y: 2.5,
                width: 2.4,
                height: 7,
                rx: 1,
                class: row.edge_low > 0 ? "fill--good" : row.edge_high < 0 ? "fill--bad" : "fill--soft",
              }),
            ),
        h(
          "small",
          { class: "n" },
          row.edge_low === null ? "" : `${signed(row.edge_low, 3)} … ${signed(row.edge_high, 3)}`,
        ),
      ),
      h("td", { class: "n" }, number(row.log_loss, 4)),
      h("td", { class: "n" }, percent(row.accuracy)),
      h("td", { class: "n" }, number(row.ece, 3)),
      h("td", { class: row.marginal === null ? "n none" : "n" }, row.marginal === null ? "–" : signed(row.marginal, 4)),
      h("td", { class: "n" }, number(row.n, 0)),
      h(
        "td",
        { class: cost ? "n" : "n none" },
        cost ? bytes(cost.state_bytes) : "–",
        cost ? h("small", null, `${number(cost.cpu_s, cost.cpu_s < 10 ? 1 : 0)} s`) : null,
      ),
    );
  });
  const heads = ["rank", "forecaster", "edge", "interval", "loss", "accuracy", "ece", "marginal", "n", "cost"].map(
    (one) => ({ text: t(one), class: ["forecaster", "interval"].includes(one) ? "" : "n" }),
  );
  put(byId("league-body"), [
    h(
      "p",
      { class: aged("hourly", found.at, "note"), "data-aged": true },
      t("league_window", { n: number(found.v.window, 0) }),
      " · ",
      age("hourly", "market", found.at),
    ),
    table(t("league"), heads, body, { class: "tall" }),
  ]);
}

// --- drift and regimes --------------------------------------------------------------------------------------------

export function drifts() {
  return [...ring(`${store.chosen}/drift`)].reverse();
}
