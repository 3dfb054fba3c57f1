// What is recorded about the running: checkpoints, workers, jobs, verdicts, alerts, data quality, and who said what.

import { byId, h, put, s, table } from "./dom.js";
import { bytes, moment, named, number, t } from "./format.js";
import { act, chip, drifts, processState } from "./learners.js";
import { age, aged } from "./market.js";
import { ring, store, under, value } from "./store.js";

const empty = (key) => [h("p", { class: "empty" }, t(key))];
const when = (ms) => h("time", { datetime: new Date(ms).toISOString(), title: moment(ms) }, moment(ms));

// --- checkpoints --------------------------------------------------------------------------------------------------------

export function renderCheckpoints() {
  const found = under("checkpoints/", store.rings).filter(([, points]) => points.length);
  if (found.length === 0) return put(byId("checkpoints-body"), empty("no_checkpoints"));
  const times = found.flatMap(([, points]) => points.map((one) => one.at));
  const [from, to] = [Math.min(...times), Math.max(...times)];
  put(byId("checkpoints-body"), [h("ul", { class: "plain" }, found.map(([name, points]) => {
    const newest = points[points.length - 1];
    return h("li", { class: aged("checkpoint", newest.at, "lane"), "data-aged": true, "data-key": name },
      h("div", { class: "who" }, h("b", null, named("learner", name)), h("small", null, `${number(points.length, 0)} · ${bytes(newest.size_bytes)} · `, age("checkpoint", "market", newest.at))),
      s("svg", { viewBox: "0 0 200 14", class: "timeline", preserveAspectRatio: "none", "aria-hidden": "true" },
        s("rect", { x: 0, y: 6.5, width: 200, height: 1, class: "fill--line" }),
        points.map((one) => s("rect", { x: 3 + ((one.at - from) / (to - from || 1)) * 192, y: one.reason === "demand" ? 1 : 3, width: 2.4, height: one.reason === "demand" ? 12 : 8, rx: 1, class: one === newest ? "fill--accent" : "fill--soft" }))),
      h("div", { class: "bar" },
        h("select", { "aria-label": t("choose_checkpoint", { name: named("learner", name) }), "data-restore": name },
          [...points].reverse().slice(0, 60).map((one) => h("option", { value: one.digest, "data-key": one.digest }, `${moment(one.at)} · ${one.digest.slice(0, 8)} · ${figures(one.metrics)}`))),
        act("restore", name)));
  }))]);
}

const figures = (metrics) => Object.entries(metrics).filter(([, one]) => one !== null).slice(0, 3).map(([name, one]) => `${named("metric", name)} ${number(one, 3)}`).join(", ") || "–";

// --- workers ------------------------------------------------------------------------------------------------------------

export function renderWorkers() {
  const beats = store.now?.beats ?? {};
  const names = [...new Set([...under("worker/").map(([name]) => name), ...Object.keys(beats)])].sort();
  if (names.length === 0) return put(byId("workers-body"), empty("no_workers"));
  const rows = names.map((name) => {
    const worker = store.cells.get(`worker/${name}`);
    const beat = beats[name];
    const state = processState(name);
    const lag = beat && beat.position > 0 ? Math.max(0, store.seq - beat.position) : null;
    return h("tr", { "data-key": name }, h("th", { scope: "row" }, named("learner", name)),
      h("td", null, chip(state), worker ? h("small", null, t("for_so_long"), " ", age("record", "wall", worker.at), worker.v.reason ? ` · ${worker.v.reason}` : "") : null),
      h("td", { class: beat ? aged("beat", beat.age_s, "n") : "n none", "data-aged": true }, beat ? age("beat", "beat", beat.age_s) : "–"),
      h("td", { class: worker ? "n" : "n none" }, worker ? number(worker.v.restarts, 0) : "–"), h("td", { class: beat ? "n" : "n none" }, beat ? bytes(beat.rss_bytes) : "–"),
      h("td", { class: lag === null ? "n none" : "n" }, lag === null ? "–" : number(lag, 0)),
      h("td", { class: "acts" }, act("restart", name), ["offline", "error"].includes(state) ? act("start", name) : act("stop", name)));
  });
  put(byId("workers-body"), [table(t("workers"), ["worker", "state", "heartbeat", "restarts", "memory", "behind", "acts"].map((one) => ({ text: t(one), class: ["heartbeat", "restarts", "memory", "behind"].includes(one) ? "n" : "" })), rows, { class: "tall" })]);
}

// --- jobs, verdicts -------------------------------------------------------------------------------------------------------

export function renderJobs() {
  put(byId("jobs-tools"), [act("retrain", store.chosen.split("|")[0], t("act.retrain"))]);
  const jobs = [...ring("jobs")].reverse().slice(0, 12);
  if (jobs.length === 0) return put(byId("jobs-body"), empty("no_jobs"));
  const rows = jobs.map((job) => h("tr", { "data-key": job.key }, h("th", { scope: "row" }, named("job", job.job), h("small", null, job.key)), h("td", null, chip(`job-${job.state}`, t(`job_state.${job.state}`))),
    h("td", { class: "n" }, number(job.attempt, 0)), h("td", null, when(job.at), h("small", null, age("record", "wall", job.rec))), h("td", null, job.detail, h("small", null, Object.entries(job.result).map(([name, text]) => `${name} ${text}`).join(", ")))));
  put(byId("jobs-body"), [table(t("jobs"), ["job", "state", "attempt", "due", "detail"].map((one) => ({ text: t(one), class: one === "attempt" ? "n" : "" })), rows, { class: "tall" })]);
}

let champion = { key: "", gates: [], model: "" };
export async function askGates() {
  const promotion = value(`${store.chosen}/model/champion`);
  const key = `${store.chosen} ${promotion?.digest ?? ""}`;
  if (champion.key === key) return;
  champion = { key, gates: [], model: "" };
  if (!promotion?.model) return;
  const response = await fetch("/ml/model/status");
  if (!response.ok || champion.key !== key) return;
  const role = (await response.json()).symbols[store.chosen.split("|")[0]]?.champion;
  champion = { key, gates: role?.model?.gates ?? [], model: role?.model?.model ?? "" };
}

export function renderVerdicts(lang) {
  const promotion = store.cells.get(`${store.chosen}/model/champion`);
  const head = promotion?.v.model ? h("p", null, t("champion_is", { model: promotion.v.model }), " ", h("small", { class: "note" }, t("since"), " ", age("record", "wall", promotion.at))) : h("p", { class: "empty" }, t("no_champion"));
  const gates = champion.gates.length ? [h("details", { class: "gates" }, h("summary", null, t("gates_of", { passed: number(champion.gates.filter((gate) => gate.passed).length, 0), all: number(champion.gates.length, 0) })),
    h("ul", { class: "plain" }, champion.gates.map((gate, i) => h("li", { "data-key": i, class: gate.passed ? "passed" : "failed" }, h("b", null, t(gate.passed ? "passed" : "failed")), " ", lang === "tr" ? gate.explanation_tr : gate.explanation))))] : [];
  const verdicts = [...ring("verdicts")].reverse().slice(0, 12).map((one) => h("li", { "data-key": one.seq, class: "event" },
    chip(`verdict-${one.what.replaceAll(" ", "-")}`, t(`verdict.${one.what}`)), " ", h("b", null, one.model ?? one.status ?? "–"), h("small", { class: "note" }, `${one.key.replaceAll("|", " ")} · `, when(one.at), one.by ? ` · ${one.by}` : "", " · ", age("record", "wall", one.at)),
    one.failed ? h("ul", { class: "plain why-not" }, Object.entries(one.failed).map(([gate, text]) => h("li", { "data-key": gate }, h("b", null, gate), ": ", text))) : null,
    one.note || one.reason || one.evidence ? h("p", { class: "note" }, one.note || one.reason || one.evidence) : null));
  put(byId("verdicts-body"), [head, ...gates, verdicts.length ? h("ul", { class: "plain" }, verdicts) : h("p", { class: "empty" }, t("no_verdicts"))]);
}

// --- alerts, quality, record ------------------------------------------------------------------------------------------------

export function openAlerts() {
  return ring("alerts").filter((alert) => !alert.recovered && alert.level !== "info");
}

export function renderAlerts() {
  put(byId("alerts-tools"), [act("test_alert", "", t("act.test_alert"), { "aria-label": t("act.test_alert") })]);
  const alerts = [...ring("alerts")].reverse().slice(0, 10);
  if (alerts.length === 0) return put(byId("alerts-body"), empty("no_alerts"));
  put(byId("alerts-body"), [h("ul", { class: "plain" }, alerts.map((alert) => h("li", { "data-key": alert.key, class: `event alert ${alert.recovered ? "recovered" : alert.level}` },
    chip(alert.recovered ? "recovered" : alert.level, t(alert.recovered ? "recovered" : `level.${alert.level}`)), " ", h("b", null, alert.title), h("small", { class: "note" }, when(alert.at), " · ", age("record", "wall", alert.at)),
    h("p", null, alert.cause), h("p", { class: "note" }, alert.consequence), alert.mend && !alert.recovered ? h("p", null, t("mend"), " ", h("code", null, alert.mend)) : null)))]);
}

export function renderQuality() {
  const key = store.chosen;
  const gaps = value(`${key}/gaps`) ?? { open: 0, healed: 0, hole: 0, missing: 0 };
  const quarantined = value(`${key}/quarantine`) ?? 0;
  const count = (name, number_, tone) => h("div", { class: `count ${number_ > 0 ? tone : ""}`, "data-key": name }, h("b", null, number(number_, 0)), h("span", null, t(name)));
  const shownGaps = [...ring(`${key}/gaps`)].reverse().slice(0, 5);
  const aside = [...ring(`${key}/quarantine`)].reverse().slice(0, 5);
  const alarms = drifts().slice(0, 6);
  put(byId("quality-body"), [
    h("div", { class: "counts" }, count("gaps_open", gaps.open, "bad"), count("gaps_hole", gaps.hole, "warn"), count("gaps_healed", gaps.healed, ""), count("quarantined", quarantined, "warn")),
    shownGaps.length ? h("ul", { class: "plain" }, shownGaps.map((gap) => h("li", { class: "event", "data-key": gap.start_ms }, chip(`gap-${gap.status}`, t(`gap.${gap.status}`)), " ", t("bars_missing", { n: number(gap.missing_bars, 0) }), h("small", { class: "note" }, when(gap.start_ms), gap.reason ? ` · ${gap.reason}` : "")))) : h("p", { class: "empty" }, t("no_gaps")),
    aside.length ? h("ul", { class: "plain" }, aside.map((one) => h("li", { class: "event", "data-key": one.seq }, chip("warning", t("aside")), " ", one.reasons.join(", "), h("small", { class: "note" }, when(one.at), one.detail ? ` · ${one.detail}` : "")))) : null,
    h("h3", null, t("drift")),
    alarms.length ? h("ul", { class: "plain" }, alarms.map((one) => h("li", { class: "event", "data-key": `${one.at} ${one.name} ${one.test}` }, chip("warning", named("test", one.test)), " ", h("b", null, named("learner", one.name)), ` ${number(one.statistic, 3)} > ${number(one.threshold, 3)}`,
      h("small", { class: "note" }, when(one.at), ` · ${t("cause")}: ${named("cause", one.cause)} · ${one.action}`), one.detail ? h("p", { class: "note" }, one.detail) : null))) : h("p", { class: "empty" }, t("no_drift")),
  ].filter(Boolean));
}

export function renderRecord() {
  const commands = [...ring("commands")].reverse().slice(0, 12);
  const kill = store.cells.get("kill");
  put(byId("record-body"), [
    kill ? h("p", { class: "event" }, chip(kill.v.engaged ? "critical" : "recovered", t(kill.v.engaged ? "killed" : "released")), " ", kill.v.reason, h("small", { class: "note" }, kill.v.by, " · ", when(kill.at), " · ", age("record", "wall", kill.at))) : null,
    commands.length ? h("ul", { class: "plain" }, commands.map((one) => h("li", { class: "event", "data-key": `${one.learner} ${one.at}` }, chip("word", t(`act.${one.verb}`)), " ", h("b", null, named("learner", one.learner)), one.checkpoint ? h("code", null, ` ${one.checkpoint.slice(0, 8)}`) : "", one.reason ? ` ${one.reason}` : "",
      h("small", { class: "note" }, one.by, " · ", when(one.at), " · ", age("record", "wall", one.at))))) : h("p", { class: "empty" }, t("no_commands")),
  ].filter(Boolean));
}
