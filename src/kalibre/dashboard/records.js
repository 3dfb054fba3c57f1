// What is recorded: verdicts of the gates, alerts, what was wrong with the bars, drift, and who said what.

import { byId, h, put } from "./dom.js";
import { age, empty, when } from "./figures.js";
import { named, number, t } from "./format.js";
import { act, chip, drifts } from "./learners.js";
import { ring, store, value } from "./store.js";

// --- verdicts ----------------------------------------------------------------------------------------------------

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
  const head = promotion?.v.model
    ? h(
        "p",
        null,
        t("champion_is", { model: promotion.v.model }),
        " ",
        h("small", { class: "note" }, t("since"), " ", age("record", "wall", promotion.at)),
      )
    : h("p", { class: "empty" }, t("no_champion"));
  const gates = champion.gates.length
    ? [
        h(
          "details",
          { class: "gates" },
          h(
            "summary",
            null,
            t("gates_of", {
              passed: number(champion.gates.filter((gate) => gate.passed).length, 0),
              all: number(champion.gates.length, 0),
            }),
          ),
          h(
            "ul",
            { class: "plain" },
            champion.gates.map((gate, i) =>
              h(
                "li",
                { "data-key": i, class: gate.passed ? "passed" : "failed" },
                h("b", null, t(gate.passed ? "passed" : "failed")),
                " ",
                lang === "tr" ? gate.explanation_tr : gate.explanation,
              ),
            ),
          ),
        ),
      ]
    : [];
  const verdicts = [...ring("verdicts")]
    .reverse()
    .slice(0, 12)
    .map((one) =>
      h(
        "li",
        { "data-key": one.seq, class: "event" },
        chip(`verdict-${one.what.replaceAll(" ", "-")}`, t(`verdict.${one.what}`)),
        " ",
        h("b", null, one.model ?? one.status ?? "–"),
        h(
          "small",
          { class: "note" },
          `${one.key.replaceAll("|", " ")} · `,
          when(one.at),
          one.by ? ` · ${one.by}` : "",
          " · ",
          age("record", "wall", one.at),
        ),
        one.failed
          ? h(
              "ul",
              { class: "plain why-not" },
              Object.entries(one.failed).map(([gate, text]) =>
                h("li", { "data-key": gate }, h("b", null, gate), ": ", text),
              ),
            )
          : null,
        one.note || one.reason || one.evidence
          ? h("p", { class: "note" }, one.note || one.reason || one.evidence)
          : null,
      ),
    );
  put(byId("verdicts-body"), [
    head,
    ...gates,
    verdicts.length ? h("ul", { class: "plain" }, verdicts) : h("p", { class: "empty" }, t("no_verdicts")),
  ]);
}

// --- alerts, quality, record --------------------------------------------------------------------------------------

export function openAlerts() {
  return ring("alerts").filter((alert) => !alert.recovered && alert.level !== "info");
}

export function renderAlerts() {
  put(byId("alerts-tools"), [act("test_alert", "", t("act.test_alert"), { "aria-label": t("act.test_alert") })]);
  const alerts = [...ring("alerts")].reverse().slice(0, 10);
  if (alerts.length === 0) return put(byId("alerts-body"), empty("no_alerts"));
  put(byId("alerts-body"), [
    h(
      "ul",
      { class: "plain" },
      alerts.map((alert) =>
        h(
          "li",
          { "data-key": alert.key, class: `event alert ${alert.recovered ? "recovered" : alert.level}` },
          chip(alert.recovered ? "recovered" : alert.level, t(alert.recovered ? "recovered" : `level.${alert.level}`)),
          " ",
          h("b", null, alert.title),
          h("small", { class: "note" }, when(alert.at), " · ", age("record", "wall", alert.at)),
          h("p", null, alert.cause),
          h("p", { class: "note" }, alert.consequence),
          alert.mend && !alert.recovered ? h("p", null, t("mend"), " ", h("code", null, alert.mend)) : null,
        ),
      ),
    ),
  ]);
}

export function renderQuality() {
  const key = store.chosen;
  const gaps = value(`${key}/gaps`) ?? { open: 0, healed: 0, hole: 0, missing: 0 };
  const quarantined = value(`${key}/quarantine`) ?? 0;
  const count = (name, number_, tone) =>
    h(
      "div",
      { class: `count ${number_ > 0 ? tone : ""}`, "data-key": name },
      h("b", null, number(number_, 0)),
      h("span", null, t(name)),
    );
  const shownGaps = [...ring(`${key}/gaps`)].reverse().slice(0, 5);
  const aside = [...ring(`${key}/quarantine`)].reverse().slice(0, 5);
  const alarms = drifts().slice(0, 6);
  put(
    byId("quality-body"),
    [
      h(
        "div",
        { class: "counts" },
        count("gaps_open", gaps.open, "bad"),
        count("gaps_hole", gaps.hole, "warn"),
        count("gaps_healed", gaps.healed, ""),
        count("quarantined", quarantined, "warn"),
      ),
      shownGaps.length
        ? h(
            "ul",
            { class: "plain" },
            shownGaps.map((gap) =>
              h(
                "li",
                { class: "event", "data-key": gap.start_ms },
                chip(`gap-${gap.status}`, t(`gap.${gap.status}`)),
                " ",
                t("bars_missing", { n: number(gap.missing_bars, 0) }),
                h("small", { class: "note" }, when(gap.start_ms), gap.reason ? ` · ${gap.reason}` : ""),
              ),
            ),
          )
        : h("p", { class: "empty" }, t("no_gaps")),
      aside.length
        ? h(
            "ul",
            { class: "plain" },
            aside.map((one) =>
              h(
                "li",
                { class: "event", "data-key": one.seq },
                chip("warning", t("aside")),
                " ",
                one.reasons.join(", "),
                h("small", { class: "note" }, when(one.at), one.detail ? ` · ${one.detail}` : ""),
              ),
            ),
          )
        : null,
      h("h3", null, t("drift")),
      alarms.length
        ? h(
            "ul",
            { class: "plain" },
            alarms.map((one) =>
              h(
                "li",
                { class: "event", "data-key": `${one.at} ${one.name} ${one.test}` },
                chip("warning", named("test", one.test)),
                " ",
                h("b", null, named("learner", one.name)),
                ` ${number(one.statistic, 3)} > ${number(one.threshold, 3)}`,
                h(
                  "small",
                  { class: "note" },
                  when(one.at),
                  ` · ${t("cause")}: ${named("cause", one.cause)} · ${one.action}`,
                ),
                one.detail ? h("p", { class: "note" }, one.detail) : null,
              ),
            ),
          )
        : h("p", { class: "empty" }, t("no_drift")),
    ].filter(Boolean),
  );
}

export function renderRecord() {
  const commands = [...ring("commands")].reverse().slice(0, 12);
  const kill = store.cells.get("kill");
  put(
    byId("record-body"),
    [
      kill
        ? h(
            "p",
            { class: "event" },
            chip(kill.v.engaged ? "critical" : "recovered", t(kill.v.engaged ? "killed" : "released")),
            " ",
            kill.v.reason,
            h("small", { class: "note" }, kill.v.by, " · ", when(kill.at), " · ", age("record", "wall", kill.at)),
          )
        : null,
      commands.length
        ? h(
            "ul",
            { class: "plain" },
            commands.map((one) =>
              h(
                "li",
                { class: "event", "data-key": `${one.learner} ${one.at}` },
                chip("word", t(`act.${one.verb}`)),
                " ",
                h("b", null, named("learner", one.learner)),
                one.checkpoint ? h("code", null, ` ${one.checkpoint.slice(0, 8)}`) : "",
                one.reason ? ` ${one.reason}` : "",
                h("small", { class: "note" }, one.by, " · ", when(one.at), " · ", age("record", "wall", one.at)),
              ),
            ),
          )
        : h("p", { class: "empty" }, t("no_commands")),
    ].filter(Boolean),
  );
}
