"""What only a server can do wrong: positions that appear out of order, and a server that dies."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from tests.fakes.postgres import Postgres, binaries_or_skip

from kalibre.core.clock import SystemClock
from kalibre.core.errors import LogError, LogUnavailableError, SettingsError
from kalibre.core.events import Event, Tick, new_event
from kalibre.log import open_log
from kalibre.log.postgres import PostgresLog
from kalibre.log.protocol import EventLog


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    postgres = Postgres(binaries_or_skip())
    try:
        postgres.start()
        yield postgres
    finally:
        postgres.stop()


def tick(time: int) -> Event:
    return new_event("clock", time, Tick(now_ms=time))


class UnlockedLog(PostgresLog):
    """The planted bug: positions are taken without the lock, as a sequence would give them."""

    def _lock(self, connection: Any) -> None:
        connection.execute("SELECT 1")


class Follower:
    """A reader that follows as a projection does: it never looks behind the last position that it has seen."""

    def __init__(self, log: EventLog) -> None:
        self.seen: list[int] = []
        self._log = log

    def look(self) -> None:
        self.seen += [event.seq for event in self._log.read(after=self.seen[-1] if self.seen else 0)]


def race(kind: type[PostgresLog], url: str) -> tuple[list[int], list[int]]:
    """Let a slow writer take position 1 and commit only after a quick one tried to; return what was seen, and is."""
    took_its_position, may_commit = threading.Event(), threading.Event()
    quick_is_done = threading.Event()

    def slow() -> None:
        with kind(url, clock=SystemClock(), patience_s=30) as log, log.transaction() as transaction:
            transaction.append([tick(1)], writer="slow")
            took_its_position.set()
            assert may_commit.wait(60)

    def quick() -> None:
        with kind(url, clock=SystemClock(), patience_s=30) as log, log.transaction() as transaction:
            # Without the lock it gets here at once; as a sequence would, it then takes the position after the slow one.
            if kind is UnlockedLog:
                transaction.run("INSERT INTO streams VALUES (900, 'tick', 'quick', 1, 2)")
                transaction.run("INSERT INTO events VALUES (2, 900, 2, 0, 0, 'quick', '', '{\"now_ms\":2}')")
            else:
                transaction.append([new_event("quick", 2, Tick(now_ms=2))], writer="quick")
        quick_is_done.set()

    with kind(url, clock=SystemClock(), patience_s=30) as log:
        follower = Follower(log)
        threads = [threading.Thread(target=slow), threading.Thread(target=quick)]
        threads[0].start()
        assert took_its_position.wait(60)
        threads[1].start()
        if kind is UnlockedLog:
            assert quick_is_done.wait(60)
        else:
            _wait_until_blocked(url)
            assert not quick_is_done.is_set()
        follower.look()
        may_commit.set()
        for thread in threads:
            thread.join(60)
        follower.look()
        return follower.seen, [event.seq for event in log.read()]


def _wait_until_blocked(url: str) -> None:
    """Wait until PostgreSQL itself says that somebody waits for the advisory lock."""
    sql = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    deadline = time.monotonic() + 60.0
    with psycopg.connect(url, autocommit=True) as connection:
        while connection.execute(sql).fetchone() == (0,):
            assert time.monotonic() < deadline, "nobody waits for the lock: positions are assigned without it"


def test_no_reader_skips_a_position_that_was_taken_early_and_committed_late(server: Postgres) -> None:
    url = server.new_database()
    with open_log(url):
        pass
    seen, stored = race(PostgresLog, url)
    assert seen == stored == [1, 2]


def test_without_the_lock_a_reader_would_skip_one(server: Postgres) -> None:
    url = server.new_database()
    with open_log(url):
        pass
    seen, stored = race(UnlockedLog, url)
    assert stored == [1, 2]
    assert seen == [2]  # position 1 appeared behind it and is never read


def test_a_killed_server_is_met_again_once_it_is_back() -> None:
    server = Postgres(binaries_or_skip())
    try:
        server.start()
        with open_log(server.url(), patience_s=0.2) as log:
            log.append([tick(1)], writer="p")
            assert log.wait(0, 0.01) == 1  # the listener's connection dies too
            server.kill()
            with pytest.raises(LogUnavailableError, match="see whether its server runs"):
                log.append([tick(2)], writer="p")
            with pytest.raises(LogUnavailableError):
                log.read()
            server.start()
            assert [event.event_time for event in log.read()] == [1]
            assert log.append([tick(2)], writer="p")[0].seq == 2
            assert log.wait(1, 0.01) == 2
            with pytest.raises(LogUnavailableError):
                _append_while_the_server_dies(log, server)
            assert [event.event_time for event in log.read()] == [1, 2]  # nothing of the open transaction
            assert log.check() == []
    finally:
        server.stop()


def _append_while_the_server_dies(log: EventLog, server: Postgres) -> None:
    with log.transaction() as transaction:
        transaction.append([tick(3)], writer="p")
        server.kill()
        server.start()
        transaction.append([tick(4)], writer="p")


def test_the_log_waits_for_a_server_that_is_starting() -> None:
    server = Postgres(binaries_or_skip())
    try:
        starter = threading.Thread(target=server.start)
        starter.start()
        with open_log(server.url(), patience_s=60) as log:
            assert log.head() == 0
        starter.join()
    finally:
        server.stop()


def test_a_forked_child_leaves_its_parents_connections_alone(server: Postgres) -> None:
    with open_log(server.new_database()) as log:
        assert log.wait(0, 0.01) == 0  # a connection listens from now on
        child = os.fork()
        if child == 0:
            log.close()
            os._exit(0)
        os.waitpid(child, 0)
        log.append([tick(1)], writer="p")
        assert log.wait(0, 5.0) == 1
        assert log.wait(1, 0.2) == 1


def test_positions_do_not_depend_on_the_databases_own_isolation(server: Postgres) -> None:
    url = server.new_database()
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")  # type: ignore[arg-type]
    with open_log(url):
        pass
    seen, stored = race(PostgresLog, url)
    assert seen == stored == [1, 2]


def _pass_over_an_error(log: EventLog) -> None:
    with log.transaction() as transaction:
        transaction.set_offset("p", 7)
        with contextlib.suppress(psycopg.Error):
            transaction.run("SELECT 1 / 0")  # type: ignore[attr-defined]


def test_a_failed_statement_that_was_passed_over_is_no_silent_loss(server: Postgres) -> None:
    with open_log(server.new_database()) as log:
        with pytest.raises(LogError, match="nothing is kept"):
            _pass_over_an_error(log)
        assert log.progress("p") is None
        log.append([tick(1)], writer="p")
        assert log.head() == 1


def test_addresses_that_lead_nowhere_are_told_apart(server: Postgres) -> None:
    with pytest.raises(LogError, match=r"nowhere.*create the database or mend the address"):
        open_log(server.url("nowhere"))
    with pytest.raises(LogUnavailableError, match="cannot be reached"):
        open_log(f"postgresql://postgres@/x?host={server.folder / 'absent'}", patience_s=0.01)
    with pytest.raises(SettingsError, match="log address"):
        open_log("postgresql:/half")


def test_passwords_stay_out_of_messages(server: Postgres) -> None:
    with pytest.raises(LogError) as caught:
        open_log(f"postgresql://postgres:secret@/nowhere?host={server.folder}")
    assert "secret" not in str(caught.value)


def test_foreign_tables_of_an_older_schema_are_refused(server: Postgres) -> None:
    url = server.new_database()
    with open_log(url):
        pass
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE kalibre_schema SET version = 99")
    with pytest.raises(LogError, match="has schema 99"):
        open_log(url)
