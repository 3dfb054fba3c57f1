// The page: state first, then the stream from its position; whatever changes is drawn at most a few times a second.

import * as actions from "./actions.js";
import { byId, h, put } from "./dom.js";
import { tick, toggleLine } from "./figures.js";
import { clockSeconds, language, number, speak, t, whole } from "./format.js";
import { askHistory, renderHistory, renderLeague, renderLearners, showHistory } from "./learners.js";
import { choose, drawMarket, move, renderMarket } from "./market.js";
import { askWhy, renderNow } from "./now.js";
import { renderCheckpoints, renderJobs, renderWorkers } from "./machinery.js";
import { askGates, openAlerts, renderAlerts, renderQuality, renderRecord, renderVerdicts } from "./records.js";
import { askText, listenText, readText, renderText } from "./text.js";
import { listen, marketNow, setLink, store, takeBoard, takeNow, takeState, value } from "./store.js";

const BETWEEN_MS = 400;
let stream = null;
let drawn = 0;
let waiting = false;

// --- the server ---------------------------------------------------------------------------------------------------

async function begin(symbol) {
  stream?.close();
  const wanted = symbol ?? new URLSearchParams(location.search).get("symbol");
  const early = window.early?.state;
  if (early) delete window.early.state;
  let response = await (early ?? fetch(`/hub/state${wanted ? `?symbol=${encodeURIComponent(wanted)}` : ""}`));
  if (response.status === 404 && wanted) response = await fetch("/hub/state");
  if (response.status === 401 || response.status === 403) return setLink(false, true);
  if (!response.ok) throw new Error(String(response.status));
  const state = await response.json();
  Object.assign(store, { learners: state.learners, hosts: state.hosts });
  takeState(state);
  setLink(true);
  store.ready = state.now.ready;
  follow();
}

function follow() {
  stream = new EventSource(`/hub/stream?symbol=${encodeURIComponent(store.chosen)}&after=${store.seq}`);
  stream.addEventListener("open", () => setLink(true));
  stream.addEventListener("board", (event) => takeBoard(JSON.parse(event.data)));
  stream.addEventListener("now", (event) => takeNow(JSON.parse(event.data)));
  stream.addEventListener("error", () => {
    setLink(false);
    // A browser comes back by itself and says where it was; only where it was refused it gives up.
    if (stream.readyState === EventSource.CLOSED) setTimeout(() => start(store.chosen), 2000);
  });
}

async function start(symbol) {
  try {
    await begin(symbol);
  } catch {
    setLink(false);
    setTimeout(() => start(symbol), 1500);
  }
}

// --- drawing ------------------------------------------------------------------------------------------------------

function later(changed) {
  if ([...changed].some((name) => name.startsWith(`${store.chosen}/`))) drawMarket();
  if (waiting) return;
  waiting = true;
  setTimeout(
    () => {
      waiting = false;
      render();
    },
    Math.max(0, drawn + BETWEEN_MS - performance.now()),
  );
}

function render() {
  drawn = performance.now();
  renderTop();
  if (store.now === null) return;
  drawMarket();
  renderMarket();
  renderNow();
  renderLearners();
  renderHistory();
  renderLeague();
  renderCheckpoints();
  renderWorkers();
  renderJobs();
  renderVerdicts(language());
  renderAlerts();
  renderQuality();
  renderRecord();
  renderText();
  document.body.dataset.ready = String(store.seq);
  ask();
}

async function ask() {
  if (!store.linked || !store.ready) return;
  const asked = await Promise.allSettled([askHistory(), askWhy(), askGates()]);
  if (asked[0].value === true) later(new Set());
}

function renderTop() {
  const series = store.now?.series ?? [];
  put(
    byId("markets"),
    series.map((one) =>
      h(
        "button",
        {
          type: "button",
          "data-key": one.key,
          "data-act": "market",
          "data-name": one.key,
          "aria-pressed": String(one.key === store.chosen),
        },
        one.symbol,
        " ",
        h("small", null, one.timeframe),
      ),
    ),
  );
  const trouble = store.now?.problem;
  const state = store.refused ? "refused" : !store.linked ? "lost" : trouble ? "trouble" : "linked";
  put(byId("link"), [
    h("span", { class: `lamp ${state}`, "aria-hidden": "true" }),
    h("span", null, t(`link.${state}`)),
    h("small", null, store.now ? t("position", { seq: number(store.seq, 0) }) : ""),
  ]);
  const theme = document.documentElement.dataset.theme ?? "auto";
  put(byId("theme"), [
    h("span", { "aria-hidden": "true" }, { auto: "◐", light: "☀", dark: "☾" }[theme]),
    h("span", { class: "word" }, t(`theme.${theme}`)),
  ]);
  byId("theme").setAttribute("aria-label", t("theme", { theme: t(`theme.${theme}`) }));
  for (const one of document.querySelectorAll("[data-act=lang]"))
    one.setAttribute("aria-pressed", String(one.dataset.lang === language()));
  put(
    byId("you"),
    store.you.csrf
      ? [
          h(
            "button",
            {
              type: "button",
              class: "quiet",
              "data-act": "logout",
              title: t("until", { time: whole(store.you.until_ms) }),
            },
            t("log_out"),
            h("span", { class: "word" }, store.you.by),
          ),
        ]
      : [h("a", { href: "/login", class: "button" }, t("log_in"))],
  );
  const killed = store.now?.killed === true;
  put(byId("kill"), [
    h(
      "button",
      {
        type: "button",
        class: killed ? "" : "danger",
        "data-act": "ask",
        "data-verb": killed ? "release" : "kill",
        "data-name": "",
      },
      t(killed ? "release_kill" : "kill_switch"),
    ),
  ]);
  const kill = value("kill");
  put(
    byId("banner"),
    [
      killed
        ? h(
            "p",
            { class: "banner critical", "data-key": "kill" },
            h("b", null, t("killed")),
            " ",
            kill?.engaged ? t("killed_by", { by: kill.by, reason: kill.reason || "–" }) : t("killed_file"),
          )
        : null,
      store.refused
        ? h(
            "p",
            { class: "banner warning", "data-key": "refused" },
            t("refused"),
            " ",
            h("a", { href: "/login" }, t("log_in")),
          )
        : null,
      store.now && !store.linked ? h("p", { class: "banner warning", "data-key": "lost" }, t("lost")) : null,
      trouble ? h("p", { class: "banner warning", "data-key": "trouble" }, trouble) : null,
      store.now && openAlerts().length
        ? h(
            "p",
            { class: "banner warning", "data-key": "alerts" },
            t("open_alerts", { n: number(openAlerts().length, 0) }),
            " ",
            h("a", { href: "#alerts" }, openAlerts().at(-1).title),
          )
        : null,
    ].filter(Boolean),
  );
  if (store.now)
    byId("about").textContent = t("about", {
      version: store.version,
      time: clockSeconds(marketNow()),
      zone: "Europe/Istanbul",
      scopes: store.you.scopes.join(", "),
    });
}

// --- hands --------------------------------------------------------------------------------------------------------

const hands = {
  lang: async ({ lang }) => {
    localStorage.setItem("kalibre.lang", lang);
    await speak(lang);
    render();
  },
  theme: () => {
    const next = { auto: "light", light: "dark", dark: "auto" }[document.documentElement.dataset.theme ?? "auto"];
    if (next === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    localStorage.setItem("kalibre.theme", next);
    render();
  },
  market: async ({ name }) => {
    await choose("live");
    history.replaceState(null, "", `?symbol=${encodeURIComponent(name)}`);
    await start(name);
  },
  line: ({ name, area }) => {
    toggleLine(area, name);
    render();
  },
  range: async ({ name }) => {
    const loading = choose(name);
    render();
    await loading;
    render();
  },
  move: ({ name }) => move(name),
  history: async ({ name }) => {
    showHistory(name);
    renderHistory();
    await askHistory(true);
    renderHistory();
  },
  ask: ({ verb, name }) =>
    actions.ask(
      verb,
      name,
      verb === "restore" ? (document.querySelector(`[data-restore="${CSS.escape(name)}"]`)?.value ?? "") : "",
    ),
  read_text: () => readText(),
  ask_text: () => askText(),
  close: () => byId("ask").close(),
  logout: async () => {
    await actions.send("/logout").catch(() => {});
    location.reload();
  },
};

document.addEventListener("click", (event) => {
  const one = event.target.closest("[data-act]");
  if (one) hands[one.dataset.act]?.(one.dataset);
});
for (const id of ["market-table", "history-table"]) byId(id).addEventListener("toggle", render);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", render);

await speak(localStorage.getItem("kalibre.lang") ?? document.documentElement.lang);
actions.listen();
listenText();
listen(later);
renderTop();
await start();
setInterval(() => {
  tick();
  if (store.now) renderTop();
}, 1000);
