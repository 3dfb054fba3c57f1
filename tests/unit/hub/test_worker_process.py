"""The child's side: a heartbeat that nothing tears, one worker a name, and an end when nobody cares for it any more."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tests.fakes.hub_supervised import ROOT, wait_for

from kalibre.core.errors import HubError
from kalibre.hub.roster import roster
from kalibre.hub.worker_process import SUPERVISOR, Heart, adopt, mark_ended, read_beat

pytestmark = pytest.mark.timeout(60)


def started(trouble: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Start a worker of the benchmark's with no supervisor over it."""
    path = {"PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    return subprocess.Popen(
        [sys.executable, "-m", "benchmarks._supervision_worker", "a", trouble, *arguments],
        env={**os.environ, **path, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_a_beat_says_what_was_said(tmp_path: Path) -> None:
    heart = Heart("a", tmp_path, restarts=3)
    began = read_beat(tmp_path / "a.beat")
    assert began is not None
    assert (began.phase, began.position, began.restarts, began.pid) == ("starting", 0, 3, os.getpid())
    assert heart.beat(-5, "recovering")
    beat = read_beat(tmp_path / "a.beat")
    assert beat is not None
    assert (beat.phase, beat.position, beat.slow, beat.count) == ("recovering", -5, True, 2)
    assert beat.mark != began.mark
    assert 0 <= beat.age_s() < 5
    assert 1e6 < beat.rss_bytes < 1e11
    assert beat.cpu_s > 0
    heart.close(7)
    (seen,) = roster(tmp_path)
    assert (seen.name, seen.stopped, seen.beat.position) == ("a", True, 7)


def test_of_one_that_died_its_supervisor_says_so_and_of_no_other(tmp_path: Path) -> None:
    heart, path = Heart("a", tmp_path, restarts=3), tmp_path / "a.beat"
    heart.beat(9)
    before = read_beat(path)
    assert before is not None
    mark_ended(path, before.pid + 1)
    assert read_beat(path) == before, "the beat is another process's"
    mark_ended(path, before.pid)
    after = read_beat(path)
    assert after is not None
    assert (after.phase, after.mark, after.position, after.beat_ns) == ("ended", before.mark, 9, before.beat_ns)
    heart.close(9)
    stopped = read_beat(path)
    assert stopped is not None
    mark_ended(path, stopped.pid)
    assert read_beat(path) == stopped, "it had said itself that it stopped"
    mark_ended(tmp_path / "b.beat", 1)
    assert not (tmp_path / "b.beat").exists()


def test_beats_that_come_thick_and_fast_are_not_all_written(tmp_path: Path) -> None:
    heart = Heart("a", tmp_path)
    written = sum(heart.beat(number) for number in range(20_000))
    assert written < 200
    assert heart.beat(1, "recovering"), "a new phase always is"
    heart.close()


def test_a_reader_never_sees_half_a_beat(tmp_path: Path) -> None:
    """A writer in another process writes as fast as it can; each whole reading agrees with itself."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom kalibre.hub.worker_process import Heart\n"
        "heart = Heart('a', Path(sys.argv[1]))\nn = 0\n"
        "while True:\n    n += 1\n    heart._next_ns = 0\n    heart.beat(n, f'p{n}')\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) as writer:
        wait_for(lambda: read_beat(tmp_path / "a.beat"))
        counts: list[int] = []
        until = time.monotonic() + 20
        while len(set(counts)) < 300 and time.monotonic() < until:
            beat = read_beat(tmp_path / "a.beat")
            if beat is not None and beat.position:
                assert beat.phase == f"p{beat.position}"
                counts.append(beat.count)
        writer.kill()
    assert counts == sorted(counts)
    assert len(set(counts)) == 300


def test_what_is_no_beat_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.beat"
    assert read_beat(path) is None
    Heart("a", tmp_path).close()
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert read_beat(path) is None, "a flipped bit"
        path.write_bytes(whole[:at])
        assert read_beat(path) is None, "a short file"
    path.write_bytes(whole)
    assert read_beat(path) is not None


def test_a_beat_from_before_the_machine_was_started_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Heart("a", tmp_path).close()
    later = time.monotonic_ns() - 10**12
    monkeypatch.setattr(time, "monotonic_ns", lambda: later)
    assert read_beat(tmp_path / "a.beat") is None


def test_only_one_worker_has_a_name(tmp_path: Path) -> None:
    heart = Heart("a", tmp_path)
    with pytest.raises(HubError, match=f"worker 'a' already runs as process {os.getpid()} .*stop that one first"):
        Heart("a", tmp_path)
    heart.beat(4, "online")
    assert read_beat(tmp_path / "a.beat").position == 4  # type: ignore[union-attr]
    heart.close()
    Heart("a", tmp_path).close()


def test_a_heart_needs_somewhere_to_beat(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HubError, match="nowhere to beat"):
        Heart("a", tmp_path / "file")
    (tmp_path / "a.beat").symlink_to("/dev/full")
    with pytest.raises(HubError, match=r"cannot beat into .*No space left"):
        Heart("a", tmp_path)


def test_without_a_supervisor_it_beats_into_home_and_stops_when_asked(tmp_path: Path) -> None:
    with started("calm", KALIBRE_HOME=str(tmp_path)) as worker:
        seen = wait_for(lambda: [one for one in roster(tmp_path / "run") if one.beat.phase == "online"])
        assert seen[0].beat.pid == worker.pid
        worker.send_signal(signal.SIGINT)
        assert worker.wait(10) == 0
    assert roster(tmp_path / "run")[0].stopped


def test_without_a_supervisor_it_ends_itself_when_it_hangs_and_says_where(tmp_path: Path) -> None:
    with started("hang", "compiled", "--limit-s", "0.5", KALIBRE_HOME=str(tmp_path)) as worker:
        assert worker.wait(20) == 1
        assert worker.stdout is not None
        said = worker.stdout.read()
    assert "Timeout (0:00:00.500000)!" in said
    assert "in hang" in said


def test_without_a_supervisor_a_second_one_of_the_name_is_refused(tmp_path: Path) -> None:
    with started("calm", KALIBRE_HOME=str(tmp_path)) as first:
        wait_for(lambda: roster(tmp_path / "run"))
        with started("calm", KALIBRE_HOME=str(tmp_path)) as second:
            assert second.wait(20) == 1
            assert second.stdout is not None
            assert f"already runs as process {first.pid}" in second.stdout.read()
        assert first.poll() is None
        first.terminate()


def test_a_worker_whose_supervisor_has_gone_does_not_begin(tmp_path: Path) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    with started("calm", KALIBRE_HOME=str(tmp_path), KALIBRE_HUB_SUPERVISOR=str(gone.pid)) as worker:
        assert worker.wait(20) == 1
        assert worker.stdout is not None
        assert f"was started by supervisor {gone.pid}, which is gone" in worker.stdout.read()
    assert roster(tmp_path / "run") == []


def test_systemd_is_told_that_it_is_ready_and_alive(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(20)
        environment = {"KALIBRE_HOME": str(tmp_path), "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with started("calm", **environment) as worker:
            heard = [listener.recv(200) for _ in range(3)]
            assert heard == [b"WATCHDOG=1", b"READY=1\nSTATUS=online", b"WATCHDOG=1"]
            assert listener.recv(200) == b"WATCHDOG=1", "and again, a second later"
            worker.terminate()
            assert worker.wait(10) == 0
            listener.settimeout(0.2)
            rest = []
            while rest[-1:] != [b"STOPPING=1"]:
                rest.append(listener.recv(200))


def test_nobody_is_told_where_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from kalibre.hub import notify

    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "gone"))
    assert notify.tell("READY=1") is False
    monkeypatch.setenv("NOTIFY_SOCKET", "nonsense")
    assert notify.tell("READY=1") is False


def test_the_flag_ends_a_wait_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SUPERVISOR, raising=False)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        with adopt("a", tmp_path, heartbeat_limit_s=None) as worker:
            assert not worker.supervised
            assert not worker.wait(0.01)
            assert not worker.should_stop()
            threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
            began = time.monotonic()
            assert worker.wait(30)
            assert time.monotonic() - began < 5
            assert worker.should_stop()
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL, "a second one ends it at once"
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
