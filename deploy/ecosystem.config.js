// Kalibre under PM2: the orchestrator, and one job per learner beside it.
//
//   npm install --global pm2
//   pm2 start deploy/ecosystem.config.js
//   pm2 restart orchestrator        everything but the learners: ingest, judges, jobs, outbox, api
//   pm2 restart learners            all learners (a namespace of PM2)
//   pm2 stop online                 one learner
//   kalibre hub restart api         one worker of the orchestrator, which watches over its own
//
// Settings are read as everywhere: kalibre.toml in the folder that PM2 is started in, and KALIBRE_* variables. Set
// KALIBRE_HOME to an absolute path. KALIBRE_BIN names another program than `kalibre` on the path.
// Do not run `kalibre hub up` on the same home beside it: the orchestrator is one, and the second one is refused.

"use strict";

const fs = require("fs");
const path = require("path");

const program = process.env.KALIBRE_BIN || "kalibre";

// A learner is a file in src/kalibre/learners: what lies there runs, unless the settings name some.
function learners() {
  if (process.env.KALIBRE_HUB__LEARNERS) {
    return process.env.KALIBRE_HUB__LEARNERS.split(",").map((name) => name.trim()).filter(Boolean);
  }
  const folder = path.join(__dirname, "..", "src", "kalibre", "learners");
  const shared = ["app", "base", "engine", "kernels", "protocol"];
  return fs
    .readdirSync(folder, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() || entry.name.endsWith(".py"))
    .map((entry) => entry.name.replace(/\.py$/, ""))
    .filter((name) => !name.startsWith("_") && !shared.includes(name))
    .sort();
}

// One thread in every numeric library of every worker: they share the processors as processes, not as threads.
const oneThread = {
  OMP_NUM_THREADS: "1",
  OPENBLAS_NUM_THREADS: "1",
  MKL_NUM_THREADS: "1",
  NUMBA_NUM_THREADS: "1",
  POLARS_MAX_THREADS: "1",
};

let minute = 0;

function app(namespace, name, args, own) {
  const job = {
    name,
    namespace,
    script: program,
    args,
    interpreter: "none",
    autorestart: true,
    // 0.25 s after the first failure, then longer and longer, up to 15 s.
    exp_backoff_restart_delay: 250,
    // One after the other, so that they do not all read the log again at once.
    cron_restart: `${minute % 60} 4 * * 0`,
    time: true,
    merge_logs: true,
    env: { ...oneThread },
    ...own,
  };
  minute += 3;
  return job;
}

// The supervisor holds its workers to `hub.memory_limit_mb`; here only its own memory counts. SIGINT goes to it alone: it
// stops its workers in order, and is given the time for that.
const orchestrator = app("kalibre", "orchestrator", ["hub", "up", "--no-learners"], {
  max_memory_restart: "1G",
  kill_timeout: 45000,
  treekill: false,
});

module.exports = {
  apps: [
    orchestrator,
    // SIGINT first; a learner that has not ended by then is killed.
    ...learners().map((name) =>
      app("learners", name, ["hub", "worker", name], { max_memory_restart: "1500M", kill_timeout: 15000 }),
    ),
  ],
};
