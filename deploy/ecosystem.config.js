// Kalibre under PM2: the orchestrator's workers, and one worker per learner.
//
//   npm install --global pm2
//   pm2 start deploy/ecosystem.config.js
//   pm2 restart orchestrator        everything but the learners (a namespace of PM2)
//   pm2 restart learners            the learners alone
//   pm2 stop online                 one worker
//
// Settings are read as everywhere: kalibre.toml in the folder that PM2 is started in, and KALIBRE_* variables. Set
// KALIBRE_HOME to an absolute path. KALIBRE_BIN names another program than `kalibre` on the path.
// Do not run `kalibre hub up` on the same home beside it: a worker of a name runs once, and the second one is refused.

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

function app(namespace, name, memory) {
  const job = {
    name,
    namespace,
    script: program,
    args: ["hub", "worker", name],
    interpreter: "none",
    autorestart: true,
    // 0.25 s after the first failure, then longer and longer, up to 15 s.
    exp_backoff_restart_delay: 250,
    max_memory_restart: memory,
    // SIGINT first; a worker that has not ended by then is killed.
    kill_timeout: 15000,
    // One after the other, so that they do not all read the log again at once.
    cron_restart: `${minute % 60} 4 * * 0`,
    time: true,
    merge_logs: true,
    env: { ...oneThread },
  };
  minute += 3;
  return job;
}

module.exports = {
  apps: [
    ...["ingest", "judges", "jobs", "outbox", "api"].map((name) => app("orchestrator", name, "2G")),
    ...learners().map((name) => app("learners", name, "1500M")),
  ],
};
