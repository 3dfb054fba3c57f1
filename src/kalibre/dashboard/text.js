// The Text tab: what is pasted is read by the server's models; names are marked, words coloured by what they moved.

import { send } from "./actions.js";
import { byId, h, put } from "./dom.js";
import { percent, signed, t } from "./format.js";
import { may } from "./store.js";

// Below this share of the strongest word a mark would only distract.
const FAINT = 0.15;
let read = null;
let answered = null;
const problems = { read: "", ask: "" };
let busy = false;

// What a model or the server says of why it says nothing, in the reader's language; what is not known here shows as it came.
const REASONS = [
  [/^empty$/, "empty"],
  [/^no words$/, "no_words"],
  [/^language$/, "language"],
  [/^(binary|not text)/, "not_text"],
  [/^too long/, "too_long"],
  [/^addresses a model/, "instruction"],
  [/^unsure$/, "unsure"],
  [/^unsure: .*?(\d+)%, (\d+)%/, "unsure_answer"],
  [/^no passage/, "no_passage"],
  [/^the question holds no word/, "no_question"],
  [/^there are no passages/, "no_index"],
  [/^endpoint could not tell/, "unsure"],
  [/^endpoint refused/, "refused"],
  [/^budget spent/, "budget"],
  [/^endpoint/, "endpoint"],
];

function reason(why) {
  if (!why) return "–";
  for (const [form, key] of REASONS) {
    const found = form.exec(why);
    if (found) return t(`why.${key}`, { likely: found[1], needed: found[2] });
  }
  return why;
}

export async function readText() {
  const text = byId("text-in").value;
  if (busy) return;
  if (!text.trim()) return say("read", t("text.empty"));
  read = null;
  await work("read", async () => {
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
  if (busy) return;
  if (!question.trim()) return say("ask", t("text.no_question"));
  const text = byId("text-in").value;
  const here = byId("text-here").checked;
  if (here && !text.trim()) return say("ask", t("text.empty"));
  const passages = here ? [{ text, title: t("text.pasted") }] : null;
  answered = null;
  await work("ask", async () => {
    answered = await send("/nlp/answer", passages ? { question, passages } : { question });
  });
}

async function work(part, what) {
  busy = true;
  problems[part] = "";
  renderText();
  try {
    await what();
  } catch (error) {
    problems[part] = reason(error.message);
  } finally {
    busy = false;
    renderText();
  }
}

function say(part, text) {
  problems[part] = text;
  renderText();
}

export function renderText() {
  const allowed = may("predict");
  for (const id of ["text-read", "text-ask"]) byId(id).disabled = busy || !allowed;
  byId("text").setAttribute("aria-busy", String(busy));
  byId("text-problem").textContent = problems.read || (allowed ? "" : t("log_in_first"));
  byId("text-ask-problem").textContent = problems.ask;
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
    sentiment.abstained ? h("span", { class: "note" }, reason(sentiment.abstained)) : null,
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
  const { score, sentiment } = read;
  // An article is no headline and has no score, but the sentiment names assets in it.
  const whole = score.impact === null && sentiment.label !== null ? sentiment.assets : [];
  if (score.impact === null && !whole.length) return h("p", { class: "note" }, t("text.no_score", { why: reason(score.abstained) }));
  const rows = whole.length ? whole : score.asset === null ? [] : [{ asset: score.asset, impact: score.impact }, ...score.also];
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
  if (found.text === null) return h("p", { class: "note" }, t("text.abstained", { why: reason(found.abstained) }));
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
  const shown = location.hash === "#text";
  document.body.dataset.view = shown ? "text" : "hub";
  const link = document.querySelector('.jump a[href="#text"]');
  if (!shown) return link.removeAttribute("aria-current");
  link.setAttribute("aria-current", "page");
  // On a phone the bar is wider than the screen: whoever is here sees where.
  link.parentElement.scrollTo({ left: link.offsetLeft - link.parentElement.clientWidth / 2 });
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
