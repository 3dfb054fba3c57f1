// The machinery: checkpoints with a way back to each, workers with their heartbeats, and the queue of jobs.

import { byId, h, put, s, table } from "./dom.js";
import { age, aged, empty, when } from "./figures.js";
import { bytes, moment, named, number, t } from "./format.js";
import { act, chip, processState } from "./learners.js";
import { ring, store, under } from "./store.js";

// --- checkpoints --------------------------------------------------------------------------------------------------

export function renderCheckpoints() {
  const found = under("checkpoints/", store.rings).filter(([, points]) => points.length);
  if (found.length === 0) return put(byId("checkpoints-body"), empty("no_checkpoints"));
  const times = found.flatMap(([, points]) => points.map((one) => one.at));
  const [from, to] = [Math.min(...times), Math.max(...times)];
  put(byId("checkpoints-body"), [
    h(
      "ul",
      { class: "plain" },
      found.map(([name, points]) => {
        const newest = points[points.length - 1];
        return h(
          "li",
          { class: aged("checkpoint", newest.at, "lane"), "data-aged": true, "data-key": name },
          h(
            "div",
            { class: "who" },
            h("b", null, named("learner", name)),
            h(
              "small",
              null,
              `${number(points.length, 0)} · ${bytes(newest.size_bytes)} · `,
              age("checkpoint", "market", newest.at),
            ),
          ),
          s(
            "svg",
            { viewBox: "0 0 200 14", class: "timeline", preserveAspectRatio: "none", "aria-hidden": "true" },
            s("rect", { x: 0, y: 6.5, width: 200, height: 1, class: "fill--line" }),
            points.map((one) =>
              s("rect", {
                x: 3 + ((one.at - from) / (to - from || 1)) * 192,
                y: one.reason === "demand" ? 1 : 3,
                width: 2.4,
                height: one.reason === "demand" ? 12 : 8,
                rx: 1,
                class: one === newest ? "fill--accent" : "fill--soft",
              }),
            ),
          ),
          h(
            "div",
            { class: "bar" },
            h(
              "select",
              { "aria-label": t("choose_checkpoint", { name: named("learner", name) }), "data-restore": name },
              [...points]
                .reverse()
                .slice(0, 60)
                .map((one) =>
                  h(
                    "option",
                    { value: one.digest, "data-key": one.digest },
                    `${moment(one.at)} · ${one.digest.slice(0, 8)} · ${figures(one.metrics)}`,
                  ),
                ),
            ),
            act("restore", name),
          ),
        );
      }),
    ),
  ]);
}

const figures = (metrics) =>
  Object.entries(metrics)
    .filter(([, one]) => one !== null)
    .slice(0, 3)
    .map(([name, one]) => `${named("metric", name)} ${number(one, 3)}`)
    .join(", ") || "–";

// --- workers ------------------------------------------------------------------------------------------------------

export function renderWorkers() {
  const beats = store.now?.beats ?? {};
  const names = [...new Set([...under("worker/").map(([name]) => name), ...Object.keys(beats)])].sort();
  if (names.length === 0) return put(byId("workers-body"), empty("no_workers"));
  const rows = names.map((name) => {
    const worker = store.cells.get(`worker/${name}`);
    const beat = beats[name];
    const state = processState(name);
    const lag = beat && beat.position > 0 && name !== "jobs" ? Math.max(0, store.seq - beat.position) : null;
    return h(
      "tr",
      { "data-key": name },
      h("th", { scope: "row" }, named("learner", name)),
      h(
        "td",
        null,
        chip(state),
        worker
          ? h(
              "small",
              null,
              t("for_so_long"),
              " ",
              age("record", "wall", worker.at),
              worker.v.reason ? ` · ${worker.v.reason}` : "",
            )
          : null,
      ),
      h(
        "td",
        { class: beat ? aged("beat", beat.age_s, "n") : "n none", "data-aged": true },
        beat ? age("beat", "beat", beat.age_s) : "–",
      ),
      h("td", { class: worker ? "n" : "n none" }, worker ? number(worker.v.restarts, 0) : "–"),
      h("td", { class: beat ? "n" : "n none" }, beat ? bytes(beat.rss_bytes) : "–"),
      h("td", { class: lag === null ? "n none" : "n" }, lag === null ? "–" : number(lag, 0)),
      h(
        "td",
        { class: "acts" },
        act("restart", name),
        ["offline", "error"].includes(state) ? act("start", name) : act("stop", name),
      ),
    );
  });
  put(byId("workers-body"), [
    table(
      t("workers"),
      ["worker", "state", "heartbeat", "restarts", "memory", "behind", "acts"].map((one) => ({
        text: t(one),
        class: ["heartbeat", "restarts", "memory", "behind"].includes(one) ? "n" : "",
      })),
      rows,
      { class: "tall" },
    ),
  ]);
}

// --- jobs ---------------------------------------------------------------------------------------------------------

export function renderJobs() {
  put(byId("jobs-tools"), [act("retrain", store.chosen.split("|")[0], t("act.retrain"))]);
  const jobs = [...ring("jobs")].reverse().slice(0, 12);
  if (jobs.length === 0) return put(byId("jobs-body"), empty("no_jobs"));
  const rows = jobs.map((job) =>
    h(
      "tr",
      { "data-key": job.key },
      h("th", { scope: "row" }, named("job", job.job), h("small", null, job.key)),
      h("td", null, chip(`job-${job.state}`, t(`job_state.${job.state}`))),
      h("td", { class: "n" }, number(job.attempt, 0)),
      h("td", null, when(job.at), h("small", null, age("record", "wall", job.rec))),
      h(
        "td",
        null,
        job.detail,
        h(
          "small",
          null,
          Object.entries(job.result)
            .map(([name, text]) => `${name} ${text}`)
            .join(", "),
        ),
      ),
    ),
  );
  put(byId("jobs-body"), [
    table(
      t("jobs"),
      ["job", "state", "attempt", "due", "detail"].map((one) => ({
        text: t(one),
        class: one === "attempt" ? "n" : "",
      })),
      rows,
      { class: "tall" },
    ),
  ]);
}
