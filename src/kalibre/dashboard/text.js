// The Text tab: what is pasted is read by the server's models; names are marked, words coloured by what they moved.

import { send } from "./actions.js";
import { byId, h, put } from "./dom.js";
import { percent, signed, t } from "./format.js";
import { may } from "./store.js";

// Below this share of the strongest word a mark would only distract.
const FAINT = 0.15;
let read = null;
let answered = null;
let problem = "";
let busy = false;

export async function readText() {
  const text = byId("text-in").value;
  if (!text.trim()) return say(t("text.empty"));
  await work(async () => {
    const [sentiment, entities, scored] = await Promise.all([
      send("/nlp/sentiment", { text }),
      send("/nlp/entities", { text }),
      send("/news/score", { headlines: [text] }),
    ]);
    read = {
      text,
      sentiment: sentiment.results[0],
      entities: entities.results[0].entities,
      models: [sentiment.model, entities.model],
      score: scored.results[0],
    };
  });
}

export async function askText() {
  const question = byId("text-question").value;
  if (!question.trim()) return say(t("text.no_question"));
  const text = byId("text-in").value;
  const passages = byId("text-here").checked && text.trim() ? [{ text, title: t("text.pasted") }] : null;
  await work(async () => {
    answered = await send("/nlp/answer", passages ? { question, passages } : { question });
  });
}

async function work(what) {
  busy = true;
  problem = "";
  renderText();
  try {
    await what();
  } catch (error) {
    problem = error.message;
  } finally {
    busy = false;
    renderText();
  }
}

function say(text) {
  problem = text;
  renderText();
}

export function renderText() {
  const allowed = may("predict");
  for (const id of ["text-read", "text-ask"]) byId(id).disabled = busy || !allowed;
  byId("text-problem").textContent = problem || (allowed ? "" : t("log_in_first"));
  put(byId("text-out"), [read && h("div", { "data-key": "read" }, verdict(), marked(), assets(), models())].filter(Boolean));
  put(byId("text-answer"), [answered && answerOf(answered)].filter(Boolean));
}

// Offsets count characters as people and Python do; a string of this language counts an emoji twice.
const characters = (text) => Array.from(text);

function verdict() {
  const { sentiment } = read;
  const label = sentiment.label ?? "abstained";
  return h(
    "p",
    { class: "verdict" },
    h("b", { class: `chip mood-${label}` }, t(`mood.${label}`)),
    " ",
    sentiment.probabilities
      ? ["negative", "neutral", "positive"].map((name, place) =>
          h("span", { class: "share" }, t(`mood.${name}`), " ", h("b", null, percent(sentiment.probabilities[place], 0))),
        )
      : null,
    sentiment.abstained ? h("span", { class: "note" }, sentiment.abstained) : null,
  );
}

function marked() {
  const letters = characters(read.text);
  const strongest = Math.max(1e-9, ...read.sentiment.reasons.map((one) => Math.abs(one.weight)));
  const reasons = read.sentiment.reasons.filter((one) => Math.abs(one.weight) > FAINT * strongest);
  const cuts = new Set([0, letters.length]);
  for (const one of [...read.entities, ...reasons]) cuts.add(one.start).add(one.end);
  const places = [...cuts].sort((a, b) => a - b);
  const parts = [];
  let name = null;
  for (let k = 0; k + 1 < places.length; k++) {
    const [start, end] = [places[k], places[k + 1]];
    const entity = read.entities.find((one) => one.start <= start && end <= one.end);
    const reason = reasons.find((one) => one.start <= start && end <= one.end);
    const text = letters.slice(start, end).join("");
    const level = reason ? Math.ceil((3 * Math.abs(reason.weight)) / strongest) : 0;
    const piece = level
      ? h(
          "span",
          { class: `moved ${reason.weight > 0 ? "up" : "down"}${level}`, title: signed(reason.weight, 2) },
          text,
        )
      : document.createTextNode(text);
    if (!entity) {
      parts.push(piece);
      name = null;
    } else if (name?.entity === entity) {
      name.box.insertBefore(piece, name.box.lastChild);
    } else {
      const told = t(`entity.${entity.type}`) + (entity.link ? ` · ${entity.link}` : "");
      name = { entity, box: h("mark", { class: `name name-${entity.type}` }, piece, h("small", null, told)) };
      parts.push(name.box);
    }
  }
  return h("p", { class: "marked", lang: read.sentiment.language === "en" ? "en" : "tr" }, parts);
}

function assets() {
  const { score } = read;
  if (score.impact === null) return h("p", { class: "note" }, t("text.no_score", { why: score.abstained ?? "–" }));
  const rows = score.asset === null ? [] : [{ asset: score.asset, impact: score.impact }, ...score.also];
  if (!rows.length) return h("p", { class: "note" }, t("text.no_asset"));
  return h(
    "ul",
    { class: "plain bar" },
    rows.map((one) =>
      h(
        "li",
        { class: "tile" },
        h("small", null, one.asset),
        h("div", { class: "big" }, signed(one.impact, 2)),
        h("small", null, score.horizon ? t(`horizon.${score.horizon}`) : t("horizon.none")),
      ),
    ),
  );
}

const models = () => h("p", { class: "note" }, t("text.models", { models: read.models.join(", ") }));

function answerOf(found) {
  if (found.text === null) return h("p", { class: "note" }, t("text.abstained", { why: found.abstained ?? "–" }));
  const letters = characters(found.passage.text);
  const before = letters.slice(Math.max(0, found.start - 220), found.start).join("");
  const after = letters.slice(found.end, found.end + 220).join("");
  const from = [found.passage.title, found.passage.source, found.passage.date].filter(Boolean).join(" · ");
  return h(
    "div",
    null,
    h("p", { class: "verdict" }, h("b", null, found.text), " ", h("span", { class: "share" }, percent(found.probability, 0))),
    h(
      "blockquote",
      null,
      found.start > 220 ? "… " : "",
      before,
      h("mark", { class: "name" }, found.text),
      after,
      found.end + 220 < letters.length ? " …" : "",
    ),
    h("p", { class: "note" }, t("text.source", { source: from || "–" }), " ", t("text.models", { models: found.model })),
  );
}

// The tab is the address: #text shows it, any other place shows the hub.
export function showTab() {
  document.body.dataset.view = location.hash === "#text" ? "text" : "hub";
}

export function listenText() {
  addEventListener("hashchange", showTab);
  byId("text-in").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) readText();
  });
  byId("text-question").addEventListener("keydown", (event) => {
    if (event.key === "Enter") askText();
  });
  showTab();
}
