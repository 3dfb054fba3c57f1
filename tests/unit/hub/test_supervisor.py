"""The supervisor over real processes: each trouble is planted, found, told in words, and mended."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from tests.fakes.hub_supervised import ROOT, SHORT, Told, gone, hosted, running, wait_for, worker

from kalibre.core.errors import HubError
from kalibre.core.hub_events import WorkerState
from kalibre.hub.child import Words
from kalibre.hub.control import SOCKET, Request, ask
from kalibre.hub.roster import roster
from kalibre.hub.worker_spec import WorkerSpec

pytestmark = pytest.mark.timeout(90)


def test_a_killed_worker_is_online_again_and_takes_its_children_along(tmp_path: Path) -> None:
    note = tmp_path / "child"
    with running([worker("a", "parent", note)], tmp_path / "run") as (_, told):
        first = told.wait("a", "online")
        child = int(wait_for(lambda: note.exists() and note.read_text()))
        assert not gone(child)
        os.kill(first.pid, signal.SIGKILL)
        assert "killed by SIGKILL" in told.wait("a", "restarting").reason
        again = told.wait("a", "online", count=2)
        assert (again.restarts, again.pid != first.pid) == (1, True)
        wait_for(lambda: gone(child), what="the end of the worker's child")
        second = int(wait_for(lambda: note.read_text() != str(child) and note.read_text()))
    assert gone(again.pid)
    assert gone(second)
    assert told.states("a") == ["starting", "online", "restarting", "starting", "online", "stopped"]


@pytest.mark.parametrize("where", ["python", "compiled"])
def test_a_hang_is_found_and_told_with_its_place(tmp_path: Path, where: str) -> None:
    with running([worker("a", "hang", where, times=1, heartbeat_limit_s=0.9)], tmp_path) as (_, told):
        reason = told.wait("a", "restarting").reason
        assert re.match(
            r"no heartbeat for \d\.\d s \(phase online, position \d\), the limit is 0\.9 s; hung in F", reason
        )
        assert "in hang" in reason
        told.wait("a", "online", count=2)
        assert roster(tmp_path)[0].beat.restarts == 1


def test_a_frozen_worker_and_one_that_never_gets_started_are_found(tmp_path: Path) -> None:
    frozen = worker("frozen", heartbeat_limit_s=0.9)
    mute = worker("mute", "mute", starting_limit_s=1.5)
    silent = WorkerSpec(name="silent", command=["sleep", "100"], starting_limit_s=0.4)
    with running([frozen, mute, silent], tmp_path) as (supervisor, told):
        os.kill(told.wait("frozen", "online").pid, signal.SIGSTOP)
        assert "no heartbeat for" in told.wait("frozen", "restarting").reason
        told.wait("frozen", "online", count=2)
        assert "no heartbeat for" in told.wait("silent", "restarting").reason
        # One that beats while it starts is given the time it needs.
        wait_for(lambda: supervisor.workers["mute"].looked_s > supervisor.workers["mute"].spawned_s + 2.0)
        assert told.states("mute") == ["starting"]


def test_a_worker_that_takes_too_much_memory_is_started_again(tmp_path: Path) -> None:
    spec = worker("a", "hog", 500, times=1, memory_limit_bytes=80_000_000)
    with running([spec], tmp_path) as (_, told):
        reason = told.wait("a", "restarting").reason
        assert "MB of memory, the limit is 80 MB" in reason
        told.wait("a", "online", count=2)


def test_a_crash_loop_ends_in_error_until_somebody_asks(tmp_path: Path) -> None:
    with running([worker("a", "crash", "the lamp is broken", times=4)], tmp_path) as (supervisor, told):
        reason = told.wait("a", "error").reason
        assert told.states("a").count("starting") == SHORT.failures
        assert "failed 4 times within 60 seconds" in reason
        assert "RuntimeError: the lamp is broken" in reason
        assert supervisor.workers["a"].state == "error"
        assert ask(tmp_path, Request(verb="restart", worker="a", by="ada")).ok
        assert told.wait("a", "starting", count=5).reason == "restarted by ada"
        told.wait("a", "online", count=5)


def test_a_taken_port_is_an_error_at_once_and_mends_itself(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with running([worker("api", "port", taken.getsockname()[1])], tmp_path) as (_, told):
            reason = told.wait("api", "error").reason
            assert reason.startswith("port taken: ended with exit code 1; last words: ")
            assert "Address already in use" in reason
            taken.close()
            told.wait("api", "online")


def test_a_full_disk_is_told_by_the_last_words_that_the_disk_has_no_room_for(tmp_path: Path) -> None:
    run, disk = tmp_path / "run", tmp_path / "disk"
    run.mkdir()
    disk.symlink_to("/dev/full")
    (run / "a.log").symlink_to("/dev/full")
    with running([worker("a", "disk", disk)], run) as (_, told):
        reason = told.wait("a", "error").reason
        assert reason.startswith("disk full: ")
        assert "No space left on device" in reason
        disk.unlink()
        disk.touch()
        told.wait("a", "online", count=len([s for s in told.states("a") if s == "online"]) + 1)
        wait_for(lambda: disk.stat().st_size > 300)


@pytest.mark.parametrize("jump_s", [3_600.0, -3_600.0])
def test_a_clock_that_jumps_by_an_hour_harms_nobody(tmp_path: Path, jump_s: float) -> None:
    jumped = 0.0
    specs = [worker(name, heartbeat_limit_s=0.9, cron_restart="0 3 1 1 *") for name in ("a", "b")]
    clocks = {"clock_s": lambda: time.monotonic() + jumped, "wall_s": lambda: time.time() + jumped}
    with running(specs, tmp_path, **clocks) as (supervisor, told):
        pids = [told.wait(name, "online").pid for name in ("a", "b")]
        jumped = jump_s
        os.kill(pids[0], signal.SIGKILL)
        # The watch goes on as before: what dies after the jump is found and mended.
        told.wait("a", "online", count=2, timeout_s=10)
        assert told.states("b") == ["starting", "online"]
        assert supervisor.workers["b"].state == "online"


def test_the_timetable_goes_by_the_wall_clock(tmp_path: Path) -> None:
    wall_s, day_s = 1_000_000.0, 86_400
    with running([worker("a", cron_restart="0 3 * * *")], tmp_path, wall_s=lambda: wall_s) as (supervisor, told):
        told.wait("a", "online")
        # Set back, it fires by the new time; a clock that jumps over several times fires once.
        wall_s -= 10 * day_s
        seen_s = supervisor.workers["a"].looked_s
        wait_for(lambda: supervisor.workers["a"].looked_s > seen_s + 0.1)
        assert told.states("a") == ["starting", "online"]
        wall_s += 3 * day_s
        assert told.wait("a", "restarting").reason == "restarted by its timetable (0 3 * * *)"
        told.wait("a", "online", count=2)
        assert told.states("a").count("starting") == 2


def test_workers_start_in_order_and_stop_in_reverse_and_the_deaf_are_killed(tmp_path: Path) -> None:
    specs = [
        worker("c", start_after=("b",)),
        worker("b", "deaf", start_after=("a",), grace_s=0.3),
        worker("a"),
    ]
    with running(specs, tmp_path) as (_, told):
        told.wait("c", "online")
    order = [(name, state.state) for name, state in told.all]
    assert order == [
        *(("a", "starting"), ("a", "online"), ("b", "starting"), ("b", "online"), ("c", "starting"), ("c", "online")),
        *(("c", "stopped"), ("b", "stopped"), ("a", "stopped")),
    ]
    assert all(gone(state.pid) for _, state in told.all)
    assert [seen.stopped for seen in roster(tmp_path)] == [True, False, True], "the deaf one could not say so"
    assert [seen.beat.phase for seen in roster(tmp_path)] == ["stopped", "ended", "stopped"], "its supervisor did"


def test_what_a_worker_is_given(tmp_path: Path) -> None:
    ask_all = (
        "import os; print({k: os.environ.get(k) for k in os.environ if k.endswith('_THREADS')}, os.getpriority(0, 0))"
    )
    spec = WorkerSpec(
        name="a",
        command=[sys.executable, "-c", ask_all],
        nice=7,
        cpu_threads=1,
        restart="on_failure",
        environment={"X_THREADS": "9"},
    )
    lines: list[tuple[str, str]] = []
    with running([spec], tmp_path, on_line=lambda *line: lines.append(line)) as (_, told):
        assert told.wait("a", "stopped").reason == "ended: all is done"
    ((name, line),) = lines
    assert name == "a"
    for variable in ("OMP", "OPENBLAS", "MKL", "NUMBA"):
        assert f"'{variable}_NUM_THREADS': '1'" in line
    assert "'POLARS_MAX_THREADS': '1'" in line
    assert line.endswith("} 7")
    assert line in (tmp_path / "a.log").read_text()


def test_it_ends_by_itself_once_all_that_may_end_have_ended(tmp_path: Path) -> None:
    specs = [worker(name, "end", restart="on_failure", times=2) for name in ("a", "b")]
    with hosted(specs, tmp_path) as (process, _):
        assert process.wait(20) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_systemd_hears_of_the_supervisor_and_not_of_its_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with hosted([worker("a"), worker("b", start_after=("a",))], tmp_path / "run") as (process, next_told):
            heard, online = [], set()
            while b"READY=1" not in heard:
                heard.append(listener.recv(200))
            while len(online) < 2:
                name, state, _, _ = next_told()
                online |= {name} if state == "online" else set()
            process.terminate()
            assert process.wait(10) == 0
            while b"STOPPING=1" not in heard:
                heard.append(listener.recv(200))
        assert (heard.count(b"READY=1"), set(heard)) == (1, {b"READY=1", b"WATCHDOG=1", b"STOPPING=1"})


def test_a_terminal_that_was_closed_ends_nothing(tmp_path: Path) -> None:
    def on_line(name: str, line: str) -> None:
        raise BrokenPipeError

    with running([worker("a", "crash", "said aloud", times=1)], tmp_path, on_line=on_line) as (_, told):
        assert "said aloud" in told.wait("a", "restarting").reason
        told.wait("a", "online", count=2)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_cleanly_and_a_second_one_at_once(tmp_path: Path, number: signal.Signals) -> None:
    with hosted([worker("a"), worker("b", "deaf", grace_s=60.0)], tmp_path) as (process, next_told):
        pids = {}
        while len(pids) < 2:
            name, state, pid, _ = next_told()
            pids |= {name: pid} if state == "online" else {}
        process.send_signal(number)
        name, state, _, reason = next_told()
        assert (name, state) == ("a", "stopped")
        assert number.name in reason
        assert not gone(pids["b"]), "it has been given its grace"
        process.send_signal(number)
        assert process.wait(10) == 0
        assert all(gone(pid) for pid in pids.values())
        assert not (tmp_path / SOCKET).exists()


def test_nothing_is_left_when_the_supervisor_itself_is_killed(tmp_path: Path) -> None:
    note = tmp_path / "child"
    specs = [
        worker("parent", "parent", note),
        worker("deaf", "deaf"),
        worker("hung", "hang", "compiled", heartbeat_limit_s=60.0),
    ]
    with hosted(specs, tmp_path / "run") as (process, next_told):
        pids = set()
        while len(pids) < 3:
            _, state, pid, _ = next_told()
            pids |= {pid} if state == "online" else set()
        pids.add(int(wait_for(lambda: note.exists() and note.read_text())))
        assert not any(gone(pid) for pid in pids)
        process.kill()
        wait_for(lambda: all(gone(pid) for pid in pids), 5, "the end of every worker and of what it had started")


def keeper_of(pid: int) -> int:
    """Return the process id of a supervisor's keeper, 0 while there is none."""
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            if any("keeper.py" in word for word in child.cmdline()):
                return child.pid
    return 0


def test_the_keeper_is_kept_too(tmp_path: Path) -> None:
    note = tmp_path / "child"
    with hosted([worker("a", "parent", note)], tmp_path / "run") as (process, next_told):
        while next_told()[1] != "online":
            pass
        child = int(wait_for(lambda: note.exists() and note.read_text()))
        first = keeper_of(process.pid)
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: keeper_of(process.pid) not in (0, first), what="another keeper")
        assert not gone(child)
        process.kill()
        wait_for(lambda: gone(child), 5, "the end of what the worker had started")


def test_a_second_supervisor_is_refused_by_the_first_ones_process_id(tmp_path: Path) -> None:
    with running([worker("a")], tmp_path) as (_, told):
        told.wait("a", "online")
        refused = pytest.raises(HubError, match=f"already runs on .* as process {os.getpid()}: stop it")
        with refused, running([worker("b")], tmp_path):
            pass
        assert told.states("a") == ["starting", "online"]
    with running([worker("a")], tmp_path) as (_, told):
        told.wait("a", "online")


def test_a_log_that_cannot_be_written_holds_nothing_up(tmp_path: Path) -> None:
    told = Told()
    broken = threading.Event()
    broken.set()

    def on_state(name: str, state: WorkerState) -> None:
        if broken.is_set():
            raise OSError(28, "No space left on device")
        told(name, state)

    with running([worker("a")], tmp_path, on_state=on_state) as (supervisor, _):
        wait_for(lambda: supervisor.workers["a"].state == "online")
        os.kill(roster(tmp_path)[0].beat.pid, signal.SIGKILL)
        wait_for(lambda: supervisor.workers["a"].restarts == 1 and supervisor.workers["a"].state == "online")
        assert told.all == []
        broken.clear()
        told.wait("a", "online", count=2)
    assert told.states("a") == ["starting", "online", "restarting", "starting", "online", "stopped"]


def test_it_does_what_it_is_asked_over_its_socket(tmp_path: Path) -> None:
    deep = tmp_path / ("deep" * 30)
    with running([worker("a"), worker("b")], deep) as (_, told):
        told.wait("a", "online")
        told.wait("b", "online")
        assert (deep / SOCKET).stat().st_mode & 0o777 == 0o600
        stopped = ask(deep, Request(verb="stop", worker="a", by="ada"))
        assert (stopped.ok, stopped.detail) == (True, "a was online, is stopping")
        assert told.wait("a", "stopped").reason == "stopped by ada"
        status = {row["worker"]: row for row in ask(deep, Request(verb="status")).workers}
        assert (status["a"]["state"], status["b"]["state"]) == ("stopped", "online")
        assert status["b"]["heartbeat_age_s"] < 5
        assert status["b"]["position"] > 0
        assert ask(deep, Request(verb="start", worker="a")).ok
        told.wait("a", "online", count=2)
        assert ask(deep, Request(verb="restart", worker="b", by="ada")).ok
        assert told.wait("b", "restarting").reason == "restarted by ada"
        told.wait("b", "online", count=2)
        unknown = ask(deep, Request(verb="stop", worker="c"))
        assert (unknown.ok, unknown.detail) == (False, "no worker is called 'c': choose one of a, b")
    with pytest.raises(HubError, match="no supervisor listens"):
        ask(deep, Request(verb="status"))


def test_nonsense_on_the_socket_is_answered_and_silence_holds_nothing_up(tmp_path: Path) -> None:
    with running([worker("a")], tmp_path) as (_, told):
        told.wait("a", "online")
        with socket.socket(socket.AF_UNIX) as silent, socket.socket(socket.AF_UNIX) as fool:
            silent.connect(str(tmp_path / SOCKET))
            fool.connect(str(tmp_path / SOCKET))
            fool.sendall(b'{"verb": "explode"}\n')
            fool.settimeout(5)
            assert b"is no request" in fool.recv(4096)
            assert ask(tmp_path, Request(verb="status")).ok


def test_what_a_worker_says_is_kept_within_bounds(tmp_path: Path) -> None:
    words = Words(tmp_path / "a.log", limit_bytes=10_000)
    words.begin("first")
    for number in range(3_000):
        words.write(f"line {number} {'x' * 20}\n".encode())
    words.write(b"y" * 1_000_000)
    assert words.last()[-2] == f"line 2999 {'x' * 20}"
    assert len(words.last()[-1]) == 1_000
    assert len(words.last()) <= 61
    words.begin("second")
    assert words.last() == ()
    words.close()
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert set(sizes) == {"a.log", "a.log.1"}
    assert max(sizes.values()) <= 10_000
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


def test_a_worker_under_somebody_elses_care_is_not_run_twice(tmp_path: Path) -> None:
    """The one that PM2 runs keeps its name; the supervisor says who it is, and takes over once it has gone."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}", "KALIBRE_HUB_RUN": str(tmp_path)}
    command = [sys.executable, "-m", "benchmarks._supervision_worker", "a", "calm"]
    with subprocess.Popen(command, env=environment) as other:
        wait_for(lambda: roster(tmp_path) and roster(tmp_path)[0].beat.phase == "online")
        with running([worker("a")], tmp_path) as (_, told):
            reason = told.wait("a", "error").reason
            assert reason.startswith("already running: ")
            assert f"already runs as process {other.pid}" in reason
            assert "online" not in told.states("a"), "another's heartbeat is no sign of life"
            other.terminate()
            assert other.wait(10) == 0
            told.wait("a", "online")
