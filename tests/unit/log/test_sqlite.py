"""What happens to the file: locked, full, read-only, damaged, foreign; and how durable a commit is."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from kalibre.core.errors import LogCorruptError, LogError, LogLockedError
from kalibre.core.events import Event, Kill, Look, Tick, Trial, new_event
from kalibre.log import open_log
from kalibre.log.sqlite import SqliteLog


def tick(time: int) -> Event:
    return new_event("clock", time, Tick(now_ms=time))


def address(path: Path) -> str:
    return f"sqlite:///{path}"


def in_child(work: Callable[[], str]) -> str:
    """Run something in a forked process and return its words: limits and rights die with it."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            said = work()
        except LogError as error:
            said = f"{type(error).__name__}: {error}"
        except BaseException as error:  # noqa: BLE001 - the parent's test fails on it
            said = f"unexpected {error!r}"
        os.write(write_end, said.encode())
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as stream:
        said = stream.read()
    os.waitpid(child, 0)
    return said


def test_another_program_holding_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with open_log(address(path), patience_s=0.05) as log:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogLockedError, match=r"held by another process for more than 0\.05 s: stop"):
            log.append([tick(1)], writer="p")
        assert log.head() == 0  # readers are not held up
        holder.execute("ROLLBACK")
        holder.close()
        assert log.append([tick(1)], writer="p")[0].seq == 1


def test_a_full_disk_loses_nothing_and_half_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"

    def fill() -> str:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        with open_log(address(path)) as log:
            log.append([tick(time) for time in range(100)], writer="p")
            resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))  # no file may grow beyond 256 KiB
            try:
                while True:
                    last = log.head()
                    log.append([tick(last + time) for time in range(500)], writer="p")
            except LogError as error:
                assert log.head() == last
                assert len(log.read()) == last
                return f"{last} {error}"

    stored, _, words = in_child(fill).partition(" ")
    assert "nothing was half-written" in words.lower()
    with open_log(address(path)) as log:
        assert log.check() == []
        assert log.head() == int(stored) >= 100
        assert log.append([tick(-1)], writer="p")[0].seq == int(stored) + 1


def test_sqlites_own_word_for_a_full_disk_is_understood(tmp_path: Path) -> None:
    log = open_log(address(tmp_path / "log.sqlite"))
    assert isinstance(log, SqliteLog)
    connection = log._borrow()
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    log._give_back(connection)
    with pytest.raises(LogError, match=r"the disk is full\. Nothing was half-written; free some space"):
        log.append([tick(time) for time in range(10_000)], writer="p")
    assert log.check() == []
    log.close()


def test_folders_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match=r"absent.*folder that exists and is writable"):
        open_log(address(tmp_path / "absent" / "log.sqlite"))
    with pytest.raises(LogError, match="cannot be written"):
        open_log(address(tmp_path))
    with pytest.raises(LogError, match="folder that exists and is writable"):
        open_log("sqlite:////proc/log.sqlite")


def test_a_read_only_folder_is_refused_and_the_log_left_whole(tmp_path: Path) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    path = folder / "log.sqlite"
    with open_log(address(path)) as log:
        log.append([tick(1)], writer="p")

    def write() -> str:
        if os.geteuid() == 0:  # root may write anywhere: give the rights away
            for parent in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
                parent.chmod(0o755)
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        with open_log(address(path)) as log:
            log.append([tick(2)], writer="p")
        return "it was written"

    folder.chmod(0o555)
    path.chmod(0o444)
    said = in_child(write)
    folder.chmod(0o755)
    path.chmod(0o644)
    assert said.startswith("LogError")
    assert "folder that exists and is writable" in said
    with open_log(address(path)) as log:
        assert log.check() == []
        assert log.head() == 1


def test_a_file_that_is_no_log_is_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("these are notes, long enough to have a header of a hundred bytes, and they stay as they are\n" * 9)
    before = text.read_bytes()
    with pytest.raises(LogCorruptError, match="put it aside"):
        open_log(address(text))
    assert text.read_bytes() == before
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
    connection.close()
    before = other.read_bytes()
    with pytest.raises(LogError, match=r"another program.*customers"):
        open_log(address(other))
    assert other.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "other.sqlite"]
    newer = tmp_path / "newer.sqlite"
    open_log(address(newer)).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(LogError, match="has schema 99"):
        open_log(address(newer))


def test_damaged_pages_are_named(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with open_log(address(path)) as log:
        log.append([tick(time) for time in range(2_000)], writer="p")
    raw = bytearray(path.read_bytes())
    pages = len(raw) // 4096
    for page in range(pages // 4, pages // 2):  # leaves full of events, neither the schema nor the last
        raw[page * 4096 : page * 4096 + 64] = bytes(range(64))
    path.write_bytes(raw)
    with open_log(address(path)) as log:
        with pytest.raises(LogCorruptError, match=r"damaged.*put it aside together with its -wal and -shm"):
            log.read()
        assert log.check()


def test_damaged_content_is_named_by_position(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with open_log(address(path)) as log:
        log.append([tick(1), tick(2)], writer="p")
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER events_are_not_changed")
        connection.execute("UPDATE events SET content = '{\"now_ms\"' WHERE seq = 2")
    connection.close()
    with open_log(address(path)) as log:
        with pytest.raises(LogCorruptError, match="position 2"):
            log.read()
        assert "position 2" in log.check()[0]
        assert log.read(upto=1)


def test_decisions_wait_for_the_disk_and_bars_do_not(tmp_path: Path) -> None:
    seen: list[int] = []

    class Watched(SqliteLog):
        def _commit(self, connection: sqlite3.Connection, session: object) -> None:
            seen.append(connection.execute("PRAGMA synchronous").fetchone()[0])
            super()._commit(connection, session)  # type: ignore[arg-type]

    from kalibre.core.clock import SystemClock

    with Watched(tmp_path / "log.sqlite", url="x", clock=SystemClock(), patience_s=1) as log:
        log.append([tick(1)], writer="p")
        log.append([new_event("kill", 1, Kill(engaged=True, by="test"))], writer="p")
        log.append([tick(2)], writer="p")
        with pytest.raises(ZeroDivisionError), log.transaction(durable=True):
            raise ZeroDivisionError
        log.append([tick(3)], writer="p")
    assert seen == [1, 2, 1, 1]  # NORMAL, FULL, NORMAL, NORMAL
    with open_log(address(tmp_path / "full.sqlite") + "?synchronous=full") as full:
        assert isinstance(full, SqliteLog)
        connection = full._borrow()
        assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2
        full._give_back(connection)


def test_what_is_decided_inside_a_transaction_waits_for_the_disk_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        fsync(descriptor)

    look = Look(start_ms=0, end_ms=1, model="m")
    trial = Trial(config="c", sharpe=0.0, n_returns=1)
    with open_log(address(tmp_path / "log.sqlite")) as log:
        monkeypatch.setattr(os, "fsync", watched)
        for payload, due in ((Tick(now_ms=1), 0), (look, 1), (trial, 2)):
            with log.transaction() as transaction:
                transaction.append([new_event("key", 1, payload)], writer="p")
            assert synced == ["log.sqlite-wal", tmp_path.name] * due
        with log.transaction() as transaction:  # known already: nothing new to bring onto the disk
            transaction.append([new_event("key", 1, look)], writer="p")
        assert len(synced) == 4
        monkeypatch.setattr(os, "fsync", _failing)
        with pytest.raises(LogError, match="power cut may lose it"), log.transaction() as transaction:
            transaction.append([new_event("key", 2, look)], writer="p")


def _failing(descriptor: int) -> None:
    raise OSError(5, "Input/output error")


def _open_and_write(url: str, number: int) -> None:
    with open_log(url) as log:
        log.append([tick(number)], writer=f"w{number}")


def test_several_processes_may_find_the_file_new(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    for attempt in range(5):
        url = address(tmp_path / f"{attempt}.sqlite")
        processes = [context.Process(target=_open_and_write, args=(url, number)) for number in range(6)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0] * 6
        with open_log(url) as log:
            assert log.head() == 6


def test_the_readable_view_reads(tmp_path: Path) -> None:
    path = tmp_path / "log.sqlite"
    with open_log(address(path)) as log:
        log.append([tick(7)], writer="p")
    with sqlite3.connect(path) as connection:
        row = connection.execute("SELECT seq, kind, key, event_time, writer, content FROM readable").fetchone()
    connection.close()
    assert row == (1, "tick", "clock", 7, "p", '{"now_ms":7}')
