"""Supervision: each trouble is planted in a worker, and timed until it is detected, reported with a reason, and mended.

No peer: the bars are what a person who watches the page would accept. Times run from the planting. *Detected* is the
supervisor's own change of mind, *reported* the transition handed on with its reason in words, *mended* the worker's
first heartbeat afterwards (or, where the supervisor itself dies, the end of the last process). Silence is allowed for
2 s here (30 s by default), everything else is as it is delivered.

    python -m benchmarks.supervision [--quick] [--json] [--only kill ...]
        [--calm CMD] [--hang CMD] [--hog CMD] [--crash CMD] [--port CMD] [--disk CMD]

Small workers stand in unless commands are given: `{name}`, `{port}` and `{path}` are filled in, and the environment is
passed on, so that the hub's own workers can take their place (`--calm "kalibre hub worker {name}" --name learners`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import psutil
from benchmarks._supervision_rig import (
    COMMANDS,
    HOG_LIMIT_BYTES,
    PATIENCE_S,
    SILENCE_S,
    Cast,
    Timed,
    Watched,
    supervised,
    until,
)

from kalibre.hub.control import Request, ask
from kalibre.hub.worker_process import Heart

ROOT = Path(__file__).resolve().parents[1]


def _planted(watched: Watched, name: str, plant: Callable[[], None], trouble: str, bar: Mapping[str, float]) -> Timed:
    """Plant a trouble in a worker that is online, and follow it to its return."""
    began = time.monotonic()
    plant()
    detected = watched.detected(name)
    reported, state = watched.wait(name, "restarting", "error", after=began)
    mended, _ = watched.wait(name, "online", after=reported)
    return Timed(trouble, detected - began, reported - began, mended - began, bar, state.reason)


def kill(cast: Cast) -> Timed:
    """Kill a worker with -9."""
    with supervised([cast.spec("calm")]) as watched:
        _, state = watched.wait(cast.name, "online")
        bar = {"detected": 0.5, "reported": 0.5, "mended": 3.0}
        return _planted(watched, cast.name, lambda: os.kill(state.pid, signal.SIGKILL), "kill -9", bar)


def hang(cast: Cast) -> Timed:
    """Let a worker hang in compiled code that holds the interpreter."""
    with supervised([cast.spec("hang")]) as watched:
        began, _ = watched.wait(cast.name, "online")
        detected = watched.detected(cast.name)
        reported, state = watched.wait(cast.name, "restarting", "error")
        mended, _ = watched.wait(cast.name, "online", after=reported)
        bar = {"detected": SILENCE_S + 1.5, "reported": SILENCE_S + 2.0, "mended": SILENCE_S + 5.0}
        wrong = "" if "hung in" in state.reason else "nobody says where it hung"
        name = f"hang ({SILENCE_S:.0f} s allowed)"
        return Timed(name, detected - began, reported - began, mended - began, bar, state.reason, wrong)


def freeze(cast: Cast) -> Timed:
    """Stop a worker with SIGSTOP: it can neither beat nor be asked to end."""
    with supervised([cast.spec("calm")]) as watched:
        _, state = watched.wait(cast.name, "online")
        bar = {"detected": SILENCE_S + 1.5, "reported": SILENCE_S + 2.0, "mended": SILENCE_S + 5.0}
        trouble = f"freeze ({SILENCE_S:.0f} s allowed)"
        return _planted(watched, cast.name, lambda: os.kill(state.pid, signal.SIGSTOP), trouble, bar)


def hog(cast: Cast) -> Timed:
    """Let a worker take about 200 MB a second."""
    with supervised([cast.spec("hog", memory_limit_bytes=HOG_LIMIT_BYTES)]) as watched:
        watched.wait(cast.name, "online")
        until(lambda: _rss(watched, cast.name) > HOG_LIMIT_BYTES, "too much memory", 0.002)
        return _planted(
            watched, cast.name, lambda: None, "memory hog", {"detected": 1.5, "reported": 3.0, "mended": 6.0}
        )


def _rss(watched: Watched, name: str) -> int:
    state = watched.reported(name, "online")
    with contextlib.suppress(psutil.Error):
        return int(psutil.Process(state[1].pid).memory_info().rss) if state else 0
    return 0


def crash_loop(cast: Cast) -> Timed:
    """Let a worker fail each time that it is started; afterwards a person asks for another try."""
    with supervised([cast.spec("crash")]) as watched:
        began, _ = watched.wait(cast.name, "starting")
        reported, state = watched.wait(cast.name, "error")
        tries = sum(said.state == "starting" for _, _, said in watched.told)
        time.sleep(0.9)
        wrong = "it was started again in error" if watched.supervisor.workers[cast.name].state != "error" else ""
        wrong = wrong or ("" if tries == 5 else f"given up after {tries} failures instead of 5")
        asked = time.monotonic()
        ask(watched.run_dir, Request(verb="restart", worker=cast.name, by="the benchmark"))
        mended, _ = watched.wait(cast.name, "online", after=asked)
        bar = {"reported": 15.0, "mended": 3.0}
        return Timed("crash loop (5 failures)", None, reported - began, mended - asked, bar, state.reason, wrong)


def port_taken(cast: Cast) -> Timed:
    """Take the port that a worker is to listen on, and give it back."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with supervised([cast.spec("port", port=taken.getsockname()[1])]) as watched:
            began, _ = watched.wait(cast.name, "starting")
            reported, state = watched.wait(cast.name, "error", "restarting")
            wrong = "" if (state.state, "port taken" in state.reason) == ("error", True) else "not told as such"
            taken.close()
            freed = time.monotonic()
            mended, _ = watched.wait(cast.name, "online", after=freed)
            bar = {"reported": 3.0, "mended": 6.0}
            return Timed("port taken, then freed", None, reported - began, mended - freed, bar, state.reason, wrong)


def disk_full(cast: Cast) -> Timed:
    """Fill the disk that a worker writes to, and the one that its words are kept on; then make room."""
    with tempfile.TemporaryDirectory(prefix="kalibre-disk-") as folder:
        path = Path(folder) / "written"
        path.symlink_to("/dev/full")
        with supervised([cast.spec("disk", path=str(path))]) as watched:
            began, _ = watched.wait(cast.name, "starting")
            reported, state = watched.wait(cast.name, "error", "restarting")
            wrong = "" if (state.state, "disk full" in state.reason) == ("error", True) else "not told as such"
            path.unlink()
            freed = time.monotonic()
            mended, _ = watched.wait(cast.name, "online", after=freed)
            until(lambda: path.is_file() and path.stat().st_size > 200, "what the worker writes")
            bar = {"reported": 3.0, "mended": 6.0}
            return Timed("disk full, then room", None, reported - began, mended - freed, bar, state.reason, wrong)


def clock_jump(cast: Cast) -> Timed:
    """Move the supervisor's clocks by an hour, forwards and back; then kill a worker, to see that it still watches."""
    shift = [0.0]
    clocks = {"clock_s": lambda: time.monotonic() + shift[0], "wall_s": lambda: time.time() + shift[0]}
    with supervised([cast.spec("calm", cron_restart="0 0 1 1 *")], **clocks) as watched:
        _, first = watched.wait(cast.name, "online")
        for jump in (3_600.0, 0.0):
            shift[0] = jump
            time.sleep(0.9)
            seen = watched.supervisor.workers[cast.name]
            if (seen.state, len(watched.told)) != ("online", 2):
                return Timed(
                    "clock jumps by an hour", None, None, None, {}, seen.reason, "a healthy worker was touched"
                )
        bar = {"detected": 0.5, "reported": 0.5, "mended": 3.0}
        return _planted(watched, cast.name, lambda: os.kill(first.pid, signal.SIGKILL), "clock jumps by 1 h, kill", bar)


_HOST = """
import json, sys
from pathlib import Path
from kalibre.hub.supervisor import Supervisor
from kalibre.hub.worker_spec import WorkerSpec
specs = [WorkerSpec(**spec) for spec in json.loads(sys.argv[2])]
say = lambda name, state: print(state.state, state.pid, flush=True)
Supervisor(specs, run_dir=Path(sys.argv[1]) / "run", on_state=say).run()
"""


def supervisor_killed(cast: Cast) -> Timed:
    """Kill the supervisor with -9, over a worker that hangs in compiled code: nothing may be left of it."""
    spec = cast.spec("hang", heartbeat_limit_s=600.0)
    told = [{"name": spec.name, "command": list(spec.command), "environment": dict(spec.environment)}]
    with tempfile.TemporaryDirectory(prefix="kalibre-supervision-") as folder:
        command = [sys.executable, "-c", _HOST, folder, json.dumps(told)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, **cast.environment, "KALIBRE_HOME": folder}
        ) as host:
            assert host.stdout is not None
            line = ""
            while not line.startswith("online"):
                line = host.stdout.readline()
            family = psutil.Process(host.pid).children(recursive=True)
            began = time.monotonic()
            host.kill()
            host.wait()
            until(lambda: not any(_alive(one) for one in family), "the end of every process", 0.002)
            mended = time.monotonic()
    wrong = "" if len(family) >= 2 else "there was nothing to leave behind"
    reason = f"{len(family)} processes ended with it"
    return Timed("supervisor killed -9", None, None, mended - began, {"mended": 1.0}, reason, wrong)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def cost(cast: Cast, seconds: float) -> dict[str, float]:
    """Return what watching costs: the share of a core over twelve workers, and a heartbeat in microseconds."""
    with tempfile.TemporaryDirectory() as folder:
        heart = Heart("measured", Path(folder))
        began = time.perf_counter()
        for position in range(200_000):
            heart.beat(position)
        beat_us = (time.perf_counter() - began) / 200_000 * 1e6
        heart.close()
        names = [f"w{number}" for number in range(12)]
        small = Cast("", COMMANDS, cast.environment)
        specs = [small.spec("calm", name=name) for name in names]
        told = [{"name": s.name, "command": list(s.command), "environment": dict(s.environment)} for s in specs]
        command = [sys.executable, "-c", _HOST, folder, json.dumps(told)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, **cast.environment, "KALIBRE_HOME": folder}
        ) as host:
            assert host.stdout is not None
            online = 0
            while online < len(names):
                online += host.stdout.readline().startswith("online")
            process = psutil.Process(host.pid)
            before, began = sum(process.cpu_times()[:2]), time.monotonic()
            time.sleep(seconds)
            share = (sum(process.cpu_times()[:2]) - before) / (time.monotonic() - began)
            began = time.monotonic()
            host.terminate()
            host.wait(PATIENCE_S)
            stop_s = time.monotonic() - began
    return {"beat_us": beat_us, "share": share, "stop_s": stop_s}


TROUBLES: dict[str, Callable[[Cast], Timed]] = {
    one.__name__: one
    for one in (kill, hang, freeze, hog, crash_loop, port_taken, disk_full, clock_jump, supervisor_killed)
}
COST_BARS = {"beat_us": 2.0, "share": 0.03, "stop_s": 3.0}


def _tried(trouble: str, cast: Cast) -> Timed:
    try:
        return TROUBLES[trouble](cast)
    except TimeoutError as error:
        return Timed(trouble, None, None, None, {}, wrong=str(error))


def _told(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="each trouble once instead of three times")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="+", choices=sorted(TROUBLES), default=list(TROUBLES))
    parser.add_argument("--name", default="worker", help="the worker's name, which it beats under")
    for role, command in COMMANDS.items():
        parser.add_argument(f"--{role}", default=command, help="default: a small worker")
    options = parser.parse_args()
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    cast = Cast(options.name, {role: getattr(options, role) for role in COMMANDS}, {"PYTHONPATH": path})
    runs = 1 if options.quick else 3
    results = [[_tried(trouble, cast) for _ in range(runs)] for trouble in options.only]
    worst = [max(rows, key=lambda row: (bool(row.wrong), row.mended_s or PATIENCE_S)) for rows in results]
    costs = cost(cast, 2.0 if options.quick else 10.0)
    passed = all(row.passed for rows in results for row in rows)
    passed = passed and all(costs[key] <= bar for key, bar in COST_BARS.items())
    if options.json:
        told = [{**vars(row), "passed": row.passed} for row in worst]
        print(json.dumps({"worst": told, "costs": costs, "pass": passed}))
        return 0 if passed else 1
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {datetime.now(tz=UTC):%F}"
    )
    print(f"the worst of {runs}, in seconds from the planting; beside it the median of `mended`\n")
    print(f"{'trouble':<26} {'detected':>8} {'reported':>8} {'mended':>7} {'median':>7}  {'bar':<34}")
    for rows, row in zip(results, worst, strict=True):
        median = statistics.median(one.mended_s or PATIENCE_S for one in rows)
        bar = ", ".join(f"{key} <= {value:g}" for key, value in row.bar.items())
        print(
            f"{row.trouble:<26} {_told(row.detected_s):>8} {_told(row.reported_s):>8} {_told(row.mended_s):>7}"
            f" {median:>7.2f}  {bar}"
        )
    print("\nas it was told:")
    for row in worst:
        print(f"  {row.trouble}: {row.reason}"[:240])
    print()
    for rows in results:
        failed = next((row for row in rows if not row.passed), rows[0])
        print(f"{'PASS' if failed.passed else 'FAIL'}  {failed.trouble}{': ' + failed.wrong if failed.wrong else ''}")
    texts = {
        "beat_us": f"a heartbeat after every event costs {costs['beat_us']:.2f} us",
        "share": f"watching twelve workers takes {costs['share']:.1%} of a core",
        "stop_s": f"twelve workers stop cleanly in {costs['stop_s']:.2f} s",
    }
    for key, text in texts.items():
        print(f"{'PASS' if costs[key] <= COST_BARS[key] else 'FAIL'}  {text}, bar {COST_BARS[key]:g}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
