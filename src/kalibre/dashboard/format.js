// Words, numbers and times as the reader writes them; times are shown in Istanbul's.

let words = {};
let lang = "en";
const cache = new Map();

export async function speak(chosen) {
  const early = window.early?.lang === chosen ? window.early.words : undefined;
  const response = await (early ?? fetch(`/page/words.${chosen}.json`));
  if (early) delete window.early.words;
  words = await response.json();
  lang = chosen;
  cache.clear();
  document.documentElement.lang = chosen;
  document.title = t("title");
  for (const one of document.querySelectorAll("[data-t]")) one.textContent = t(one.dataset.t);
  for (const one of document.querySelectorAll("[data-l]")) one.setAttribute("aria-label", t(one.dataset.l));
}

export const language = () => lang;

// The word for a key, with {name} filled in; an unknown key shows itself, so that it is noticed.
export function t(key, values) {
  let text = words[key] ?? key;
  for (const [name, value] of Object.entries(values ?? {})) text = text.replaceAll(`{${name}}`, value);
  return text;
}

// A word if there is one for it, else what came (names of regimes, tests, causes are open sets).
export const named = (prefix, text) => words[`${prefix}.${text}`] ?? text;

function made(kind, key, make) {
  const name = `${kind} ${key}`;
  if (!cache.has(name)) cache.set(name, make());
  return cache.get(name);
}

export function number(value, digits = 2) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  return made(
    "n",
    digits,
    () => new Intl.NumberFormat(lang, { minimumFractionDigits: digits, maximumFractionDigits: digits }),
  ).format(value);
}
export const percent = (value, digits = 1) =>
  value === null || value === undefined
    ? "–"
    : made(
        "p",
        digits,
        () =>
          new Intl.NumberFormat(lang, {
            style: "percent",
            minimumFractionDigits: digits,
            maximumFractionDigits: digits,
          }),
      ).format(value);
export const signed = (value, digits) => (value > 0 ? "+" : "") + number(value, digits);
export const price = (value) => number(value, value >= 1000 ? 2 : value >= 1 ? 4 : 6);

export function bytes(value) {
  if (value === null || value === undefined) return "–";
  return value >= 1e9
    ? `${number(value / 1e9, 1)} GB`
    : value >= 1e6
      ? `${number(value / 1e6, 1)} MB`
      : `${number(value / 1e3, 0)} kB`;
}

const ZONE = { timeZone: "Europe/Istanbul", hourCycle: "h23" };
const time = (key, options) => made("t", key, () => new Intl.DateTimeFormat(lang, { ...ZONE, ...options }));
export const clock = (ms) => time("c", { hour: "2-digit", minute: "2-digit" }).format(ms);
export const clockSeconds = (ms) => time("s", { hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(ms);
export const day = (ms) => time("d", { day: "numeric", month: "short" }).format(ms);
export const moment = (ms) =>
  time("m", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" }).format(ms);
export const whole = (ms) =>
  time("w", { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" }).format(ms);

const UNITS = [
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
];
// How long something lasted or is ago: in the largest unit of which there are two.
export function span(seconds) {
  const size = Math.max(0, seconds);
  const [unit, length] = UNITS.find(([, one]) => size >= 2 * one) ?? UNITS[3];
  return made(
    "u",
    unit,
    () => new Intl.NumberFormat(lang, { style: "unit", unit, unitDisplay: "short", maximumFractionDigits: 0 }),
  ).format(Math.floor(size / length));
}
