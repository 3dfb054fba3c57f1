"""A real PM2 from npm runs ecosystem.config.js: it starts, restarts and stops every job of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.deployment import APART, DEPLOY, LEARNERS, ROOT, needs, parses, run
from tests.fakes.hub_supervised import wait_for

from kalibre.hub.roster import roster

pytestmark = pytest.mark.timeout(240)

# --- PM2 --------------------------------------------------------------------------------------------------------------

_STAND_IN = """#!{python}
import os, sys, threading
sys.path.insert(0, {source!r})
from kalibre.hub.worker_process import adopt

assert sys.argv[1:3] == ["hub", "worker"]
with adopt(sys.argv[3], heartbeat_limit_s=1.5) as worker:
    threads = {{name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS")}}
    print(f"threads {{threads}}", flush=True)
    beats = 0
    while not worker.wait(0.02):
        beats += 1
        worker.beat(beats)
        if os.path.exists(os.path.join(os.environ["KALIBRE_HOME"], "hang-" + worker.name)):
            os.unlink(os.path.join(os.environ["KALIBRE_HOME"], "hang-" + worker.name))
            threading.Event().wait()
"""


@pytest.fixture(scope="module")
def pm2_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install PM2 from npm into a folder of its own."""
    npm = needs("npm", "npm")
    folder = tmp_path_factory.mktemp("pm2")
    made = run(npm, "install", "--no-audit", "--no-fund", "--prefix", folder, "pm2", cwd=folder)
    program = folder / "node_modules" / ".bin" / "pm2"
    if made.returncode != 0 or not program.is_file():
        message = f"npm cannot install pm2 here: {made.stderr[-300:]}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return program


Pm2 = Callable[..., str]


@pytest.fixture
def pm2(pm2_program: Path, tmp_path: Path) -> Iterator[Pm2]:
    """Return a function that speaks to a PM2 of this test's own, with a stand-in for `kalibre`."""
    program = tmp_path / "kalibre"
    program.write_text(_STAND_IN.format(python=sys.executable, source=str(ROOT / "src")), encoding="utf-8")
    program.chmod(0o755)
    with tempfile.TemporaryDirectory(prefix="pm2-") as home:  # its sockets want a short path
        env = {name: value for name, value in os.environ.items() if not name.startswith(("KALIBRE_", "PM2_"))}
        env |= {"PM2_HOME": home, "KALIBRE_BIN": str(program), "KALIBRE_HOME": str(tmp_path / "home"), "NO_COLOR": "1"}

        def speak(*words: str) -> str:
            said = run(pm2_program, *words, env=env, cwd=tmp_path)
            assert said.returncode == 0, said.stdout + said.stderr
            return said.stdout

        try:
            yield speak
        finally:
            speak("kill")


def jobs_of(pm2: Pm2) -> dict[str, dict[str, Any]]:
    # PM2 greets on its first call; the list is the last line.
    return {job["name"]: job for job in json.loads(pm2("jlist").strip().splitlines()[-1])}


def test_pm2_runs_the_orchestrator_and_one_job_per_learner(pm2: Pm2, tmp_path: Path) -> None:
    run_dir = tmp_path / "home" / "run"

    def online() -> dict[str, int]:
        return {seen.name: seen.beat.pid for seen in roster(run_dir) if seen.beat.phase == "online" and seen.age_s < 2}

    (tmp_path / "home").mkdir()
    pm2("start", str(DEPLOY / "ecosystem.config.js"))
    names = {*APART, *LEARNERS}
    first = wait_for(lambda: len(online()) == len(names) and online(), 60, "every worker's heartbeat")
    assert set(first) == names
    jobs = jobs_of(pm2)
    told = {name: (job["pm2_env"]["namespace"], job["pid"]) for name, job in jobs.items()}
    expected = {name: ("orchestrator" if name in APART else "learners", first[name]) for name in names}
    assert told == expected
    assert all(job["pm2_env"]["max_memory_restart"] > 0 for job in jobs.values())

    # What is killed is started again; so is what hangs, which ends itself and says where.
    os.kill(first["online"] if "online" in first else first["ingest"], signal.SIGKILL)
    (tmp_path / "home" / "hang-judges").touch()
    killed = "online" if "online" in first else "ingest"
    again = wait_for(
        lambda: (
            (now := online())
            and len(now) == len(names)
            and {now[killed], now["judges"]} - set(first.values()) == {now[killed], now["judges"]}
            and now
        ),
        60,
        "the return of both",
    )
    assert {name for name in names if again[name] != first[name]} == {killed, "judges"}
    with contextlib.suppress(subprocess.TimeoutExpired):
        assert "Timeout" in Path(jobs["judges"]["pm2_env"]["pm_err_log_path"]).read_text(encoding="utf-8")
    words = Path(jobs["api"]["pm2_env"]["pm_out_log_path"]).read_text(encoding="utf-8")
    assert "threads {'OMP_NUM_THREADS': '1', 'POLARS_MAX_THREADS': '1'}" in words

    pm2("restart", "learners")
    renewed = wait_for(
        lambda: (
            (now := online())
            and len(now) == len(names)
            and not {now[n] for n in LEARNERS} & set(again.values())
            and now
        ),
        60,
        "learners that were started again",
    )
    assert {name: renewed[name] for name in APART} == {name: again[name] for name in APART}

    pm2("stop", "all")
    assert {seen.name for seen in roster(run_dir) if seen.stopped} == names, "each said goodbye"
    assert all(job["pm2_env"]["status"] == "stopped" for job in jobs_of(pm2).values())
    assert not any(Path(f"/proc/{pid}").exists() for pid in renewed.values())


def test_pm2_runs_the_learners_that_the_settings_name(tmp_path: Path) -> None:
    node = needs("node", "nodejs")
    script = f"console.log(JSON.stringify(require({json.dumps(str(DEPLOY / 'ecosystem.config.js'))}).apps))"
    env = {name: value for name, value in os.environ.items() if not name.startswith("KALIBRE_")}
    everything = json.loads(run(node, "-e", script, env=env).stdout)
    assert [app["name"] for app in everything if app["namespace"] == "learners"] == sorted(LEARNERS)
    assert {app["script"] for app in everything} == {"kalibre"}
    assert len({app["cron_restart"] for app in everything}) == len(everything), "not all at once"
    for app in everything:
        parses(app["args"])
        assert app["env"] == {**app["env"], "NUMBA_NUM_THREADS": "1"}
        assert {"max_memory_restart", "exp_backoff_restart_delay", "kill_timeout"} <= set(app)
    some = json.loads(run(node, "-e", script, env={**env, "KALIBRE_HUB__LEARNERS": "online, agents"}).stdout)
    assert [app["name"] for app in some if app["namespace"] == "learners"] == ["online", "agents"]
