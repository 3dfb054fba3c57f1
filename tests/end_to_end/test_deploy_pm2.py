"""A real PM2 from npm runs ecosystem.config.js: the orchestrator, which is our supervisor, and one job per learner."""

from __future__ import annotations

import json
import os
import signal
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

if sys.argv[1:3] == ["hub", "up"]:
    from dataclasses import replace

    from kalibre.core.settings import load_settings
    from kalibre.hub.supervisor import Supervisor
    from kalibre.hub.up import run_dir, worker_specs

    assert sys.argv[3:] == ["--no-learners"]
    settings = load_settings()
    specs = worker_specs(settings, config=None, environment={{}}, learners=False)
    specs = [replace(one, command=[sys.argv[0], "hub", "worker", one.name]) for one in specs]
    Supervisor(specs, run_dir=run_dir(settings), on_state=print).run()
    sys.exit()
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
    # Where npm reaches nobody it tries for many minutes.
    made = run("timeout", "150", npm, "install", "--no-audit", "--no-fund", "--prefix", folder, "pm2", cwd=folder)
    program = folder / "node_modules" / ".bin" / "pm2"
    if made.returncode != 0 or not program.is_file():
        message = f"npm cannot install pm2 here (exit code {made.returncode}): {made.stderr[-300:]}"
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
    assert set(jobs) == {"orchestrator", *LEARNERS}
    told = {name: (job["pm2_env"]["namespace"], job["pid"]) for name, job in jobs.items()}
    supervisor = told.pop("orchestrator")[1]
    assert told == {name: ("learners", first[name]) for name in LEARNERS}
    assert {parent_of(first[name]) for name in APART} == {supervisor}
    assert all(job["pm2_env"]["max_memory_restart"] > 0 for job in jobs.values())

    def renewed(some: set[str], before: dict[str, int]) -> dict[str, int]:
        def there() -> dict[str, int] | None:
            now = online()
            return now if len(now) == len(names) and not {now[name] for name in some} & set(before.values()) else None

        now = wait_for(there, 60, f"the return of {some}")
        assert {name for name in names if now[name] != before[name]} == some
        return dict(now)

    # What is killed is started again, by PM2 or by the orchestrator; so is what hangs: it ends itself and says where.
    killed, hung, inner = LEARNERS[0], LEARNERS[1], "ingest"
    os.kill(first[killed], signal.SIGKILL)
    os.kill(first[inner], signal.SIGKILL)
    (tmp_path / "home" / f"hang-{hung}").touch()
    again = renewed({killed, hung, inner}, first)
    assert "Timeout" in Path(jobs[hung]["pm2_env"]["pm_err_log_path"]).read_text(encoding="utf-8")
    words = Path(jobs[killed]["pm2_env"]["pm_out_log_path"]).read_text(encoding="utf-8")
    assert "threads {'OMP_NUM_THREADS': '1', 'POLARS_MAX_THREADS': '1'}" in words

    pm2("restart", "learners")
    again = renewed(set(LEARNERS), again)
    pm2("restart", "orchestrator")
    again = renewed(set(APART), again)
    # An orchestrator that is killed leaves none of its workers behind, and comes back with all of them.
    os.kill(jobs_of(pm2)["orchestrator"]["pid"], signal.SIGKILL)
    again = renewed(set(APART), again)

    pm2("stop", "all")
    assert {seen.name for seen in roster(run_dir) if seen.stopped} == names, "each said goodbye"
    assert all(job["pm2_env"]["status"] == "stopped" for job in jobs_of(pm2).values())
    assert not any(Path(f"/proc/{pid}").exists() for pid in again.values())


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[1])


def test_pm2_runs_the_learners_that_the_settings_name(tmp_path: Path) -> None:
    node = needs("node", "nodejs")
    script = f"console.log(JSON.stringify(require({json.dumps(str(DEPLOY / 'ecosystem.config.js'))}).apps))"
    env = {name: value for name, value in os.environ.items() if not name.startswith("KALIBRE_")}
    everything = json.loads(run(node, "-e", script, env=env).stdout)
    assert [app["name"] for app in everything] == ["orchestrator", *sorted(LEARNERS)]
    assert [app["name"] for app in everything if app["namespace"] == "learners"] == sorted(LEARNERS)
    assert {app["script"] for app in everything} == {"kalibre"}
    assert len({app["cron_restart"] for app in everything}) == len(everything), "not all at once"
    for app in everything:
        parses(app["args"])
        assert app["env"] == {**app["env"], "NUMBA_NUM_THREADS": "1"}
        assert {"max_memory_restart", "exp_backoff_restart_delay", "kill_timeout"} <= set(app)
    some = json.loads(run(node, "-e", script, env={**env, "KALIBRE_HUB__LEARNERS": "online, agents"}).stdout)
    assert [app["name"] for app in some if app["namespace"] == "learners"] == ["online", "agents"]
