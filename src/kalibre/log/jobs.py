# ruff: noqa: S608  (only constants are put together here; every value travels as a parameter)
"""Jobs: a durable table in the log's own database, so that what a job gives and that it is done are one commit.

A worker takes a job for a while (a *lease*) and renews that as long as it lives. A lease that ran out says that the
worker was killed half way, or hangs: the job is taken again, with the next attempt. Who comes back after that, a
*zombie*, commits nothing: every act of a worker names the attempt that it was given, under the write lock.

Each step of a job's way is a `job` event of the log, committed together with the row. Lease times are wall times of the
workers: a clock that jumps may let a second worker begin early, which costs time and changes no result.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar
from weakref import WeakSet

from kalibre.core.errors import LogError
from kalibre.core.events import Event
from kalibre.log.base import Session
from kalibre.log.failpoints import failpoint
from kalibre.log.job_rows import (
    CLAIMABLE,
    COLUMNS,
    TABLES,
    JobRow,
    JobState,
    checked,
    move,
    named,
    own,
    row_of,
    select,
    superseded,
    tell,
    told_words,
)
from kalibre.log.pool import PooledLog
from kalibre.log.protocol import EventLog, Transaction

__all__ = ["JobRow", "JobState", "Jobs"]

T = TypeVar("T")
_MADE: WeakSet[PooledLog] = WeakSet()
"""Logs whose tables are known to be there: who only asks how jobs stand takes no write lock but the first time."""


class Jobs:
    """The jobs of a log.

    Parameters
    ----------
    log
        SQLite or PostgreSQL; the tables are made in it at the first use. Safe to share between threads.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from kalibre.log import open_log
    >>> with TemporaryDirectory() as folder, open_log(f"sqlite:///{folder}/log.sqlite") as log:
    ...     jobs = Jobs(log)
    ...     first = jobs.enqueue("export", "2024-06", {"what": "predictions"}, due_ms=1_000)
    ...     again = jobs.enqueue("export", "2024-06", {"what": "predictions"}, due_ms=2_000)
    ...     _ = jobs.complete(jobs.claim(5_000, "worker", 30_000), [])
    ...     first == again, jobs.counts(), [event.payload.state for event in log.read(kinds={"job"})]
    (True, {'done': 1}, ['queued', 'running', 'done'])
    """

    def __init__(self, log: EventLog) -> None:
        if not isinstance(log, PooledLog):
            raise LogError(f"a log of kind {type(log).__name__} keeps no jobs: open one with `open_log`")
        self._log = log

    # --- asking -------------------------------------------------------------------------------------------------------

    def get(self, name: str, key: str) -> JobRow | None:
        """Return a job; None if nobody enqueued it."""
        found = self._ask(lambda session: select(session, "name = ? AND idempotency_key = ?", (name, key)))
        return found[0] if found else None

    def rows(self, *, states: Collection[JobState] | None = None, limit: int = 100) -> list[JobRow]:
        """Return the jobs enqueued last, newest first; of all states unless some are named."""
        where, parameters = "1 = 1", []
        if states is not None:
            parameters = sorted(states)
            where = f"state IN ({', '.join('?' * len(parameters))})" if parameters else "1 = 0"
        order = "ORDER BY id DESC LIMIT ?"
        return self._ask(lambda session: select(session, where, (*parameters, limit), order))

    def counts(self) -> dict[str, int]:
        """Return how many jobs there are in each state that occurs."""
        rows = self._ask(lambda session: session.rows("SELECT state, count(*) FROM jobs GROUP BY state ORDER BY state"))
        return {state: int(count) for state, count in rows}

    def next_ready_ms(self, names: Collection[str] | None = None) -> int | None:
        """Return when the next job may be taken, or taken over; None if none waits."""
        where, parameters = named(names)
        sql = f"SELECT min(CASE state WHEN 'queued' THEN ready_ms ELSE lease_until_ms END) FROM jobs WHERE {where}"
        sql += " AND state IN ('queued', 'running')"
        (found,) = self._ask(lambda session: session.rows(sql, parameters))[0]
        return None if found is None else int(found)

    # --- enqueuing ----------------------------------------------------------------------------------------------------

    def enqueue(
        self,
        name: str,
        key: str,
        payload: Mapping[str, Any] | None = None,
        *,
        due_ms: int,
        max_attempts: int = 3,
        schedule: str = "",
        transaction: Transaction | None = None,
    ) -> JobRow:
        """Enqueue a job, once: what is known under this name and key stays as it is, and is returned.

        Parameters
        ----------
        name, key
            What is to be done, and the idempotency key: one job for each pair, for ever.
        payload
            What the handler is told; plain JSON.
        due_ms
            When it is due, UTC ms; the event time of all its events.
        max_attempts
            How often it may be begun before it counts as failed.
        schedule
            Of queued jobs of one schedule only the newest runs, the others are skipped.
        transaction
            An open transaction of this log to do it in, so that it is committed with whatever asks for it.

        Raises
        ------
        UsageError
            If a value cannot be used; the message quotes it.
        """
        body = checked(name, key, payload, due_ms, max_attempts)
        return self._add(name, key, body, due_ms, max_attempts, schedule, "queued", "", transaction)

    def skip(self, name: str, key: str, reason: str, *, due_ms: int, transaction: Transaction | None = None) -> JobRow:
        """Record a job that was due and is not going to run, once; a job that is known stays as it is."""
        body = checked(name, key, None, due_ms, 1)
        return self._add(name, key, body, due_ms, 1, "", "skipped", reason, transaction)

    def _add(
        self,
        name: str,
        key: str,
        body: str,
        due_ms: int,
        max_attempts: int,
        schedule: str,
        state: JobState,
        detail: str,
        transaction: Transaction | None,
    ) -> JobRow:
        def add(session: Session) -> JobRow:
            known = select(session, "name = ? AND idempotency_key = ?", (name, key))
            if known:
                return known[0]
            number = int(session.rows("SELECT coalesce(max(id), 0) + 1 FROM jobs")[0][0])
            values = (number, name, key, body, due_ms, schedule, state, 0, max_attempts, due_ms, "", 0, 0, detail)
            session.run(f"INSERT INTO jobs ({COLUMNS}) VALUES ({', '.join('?' * len(values))})", values)
            row = row_of(values)
            tell(session, row, detail)
            failpoint("jobs.enqueue")
            return row

        return self._change(add, transaction)

    # --- a worker's acts ----------------------------------------------------------------------------------------------

    def claim(self, now_ms: int, owner: str, lease_ms: int, *, names: Collection[str] | None = None) -> JobRow | None:
        """Take the oldest job that is due, for `lease_ms`; None if there is none.

        A lease that ran out counts as killed half way: the job's next attempt begins, or it has failed if that was the
        last. Of queued jobs of one schedule all but the newest are skipped.

        Parameters
        ----------
        now_ms
            Wall time of the worker.
        owner
            Who takes it; names the process.
        names
            Only jobs of these names.
        """
        where, parameters = named(names)
        where = f"{where} AND {CLAIMABLE}"
        parameters += [now_ms, now_ms]
        # A worker that only looks whether there is work takes no write lock.
        if not self._ask(lambda session: session.rows(f"SELECT 1 FROM jobs WHERE {where} LIMIT 1", parameters)):
            return None

        def take(session: Session) -> JobRow | None:
            while found := select(session, where, parameters, "ORDER BY due_ms, id LIMIT 1"):
                job = found[0]
                killed = f"attempt {job.attempt} was killed half way ({job.owner} let its lease run out)"
                if job.state == "queued" and superseded(session, job, now_ms):
                    move(session, job, state="skipped", detail=f"a later run of {job.schedule} is due")
                elif job.state == "running" and job.attempt >= job.max_attempts:
                    move(session, job, state="failed", error=killed, detail=killed, owner="", lease_until_ms=0)
                else:
                    taken = move(
                        session,
                        job,
                        state="running",
                        attempt=job.attempt + 1,
                        owner=owner,
                        lease_until_ms=now_ms + lease_ms,
                        detail=killed if job.state == "running" else "",
                        error=killed if job.state == "running" else job.error,
                    )
                    failpoint("jobs.claim")
                    return taken
            return None

        taken = self._change(take)
        failpoint("jobs.claimed")
        return taken

    def renew(self, job: JobRow, lease_until_ms: int) -> None:
        """Keep a job for longer.

        Raises
        ------
        LeaseLostError
            If it was taken over meanwhile, or is over.
        """

        def renew(session: Session) -> None:
            own(session, job)
            session.run("UPDATE jobs SET lease_until_ms = ? WHERE id = ?", (lease_until_ms, job.id))

        self._change(renew)

    def complete(self, job: JobRow, events: Iterable[Event], *, result: Mapping[str, str] | None = None) -> list[Event]:
        """Store what a job gave and that it is done, in one transaction; return the events as stored.

        Doing it again for the same attempt, as after a commit whose outcome is unknown, changes nothing.

        Parameters
        ----------
        events
            The job's outcome; their writer is its name.
        result
            A few words for whoever looks at the job.

        Raises
        ------
        LeaseLostError
            If the job was taken over meanwhile: nothing is stored.
        """
        given = list(events)

        def finish(session: Session) -> list[Event]:
            if own(session, job, finished=True).state == "done":
                return session.append(given, writer=job.name)  # known, every one: returned as they are stored
            stored = session.append(given, writer=job.name) if given else []
            move(session, job, state="done", owner=job.owner, result=dict(result or {}))
            failpoint("jobs.complete")
            return stored

        stored = self._change(finish)
        failpoint("jobs.completed")
        return stored

    def fail(self, job: JobRow, error: str, retry_at_ms: int | None) -> JobRow:
        """Say that an attempt failed; the job waits for the next, or has failed if there is none left.

        Parameters
        ----------
        error
            What went wrong, in words.
        retry_at_ms
            From when on it may be begun again, UTC ms; None if trying again cannot help.

        Raises
        ------
        LeaseLostError
            If the job was taken over meanwhile: nothing is stored.
        """
        words = told_words(error)
        over = retry_at_ms is None or job.attempt >= job.max_attempts

        def fail(session: Session) -> JobRow:
            own(session, job)
            moved = move(
                session,
                job,
                state="failed" if over else "queued",
                detail=words,
                error=words,
                owner="",
                lease_until_ms=0,
                ready_ms=job.ready_ms if retry_at_ms is None else retry_at_ms,
            )
            failpoint("jobs.fail")
            return moved

        return self._change(fail)

    def release(self, job: JobRow, reason: str = "handed back by a worker that stops") -> JobRow:
        """Hand a job back that was not finished through no fault of its own: the attempt does not count.

        Raises
        ------
        LeaseLostError
            If the job was taken over meanwhile: nothing is stored.
        """

        def release(session: Session) -> JobRow:
            own(session, job)
            # The attempt's number stays used: it is what tells this worker from the next one.
            return move(
                session,
                job,
                state="queued",
                detail=reason,
                owner="",
                lease_until_ms=0,
                max_attempts=job.max_attempts + 1,
            )

        return self._change(release)

    # --- how far schedules have been looked at ------------------------------------------------------------------------

    def seen_ms(self, schedule: str, transaction: Transaction) -> int | None:
        """Return up to which recorded time a schedule's runs were enqueued; None if it is new."""
        session = self._session(transaction)
        found = session.rows("SELECT seen_ms FROM schedules WHERE name = ?", (schedule,))
        return int(found[0][0]) if found else None

    def set_seen_ms(self, schedule: str, seen_ms: int, transaction: Transaction) -> None:
        """Note up to which recorded time a schedule's runs were enqueued."""
        sql = "INSERT INTO schedules (name, seen_ms) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET seen_ms = ?"
        self._session(transaction).run(sql, (schedule, seen_ms, seen_ms))

    def keep_schedules(self, names: Collection[str], transaction: Transaction) -> None:
        """Forget how far every other schedule was looked at: one that comes back later begins anew."""
        where, parameters = named(names)
        self._session(transaction).run(f"DELETE FROM schedules WHERE NOT ({where})", parameters)

    # --- the database -------------------------------------------------------------------------------------------------

    def _ask(self, question: Callable[[Session], T]) -> T:
        if self._log not in _MADE:
            with self._log.transaction() as transaction:
                self._session(transaction)
            _MADE.add(self._log)
        return self._log._ask(question)

    def _change(self, change: Callable[[Session], T], transaction: Transaction | None = None) -> T:
        if transaction is not None:
            return change(self._session(transaction))
        with self._log.transaction() as opened:
            done = change(self._session(opened))
        _MADE.add(self._log)
        return done

    def _session(self, transaction: Transaction) -> Session:
        """Return a transaction's way to speak SQL, with the tables there; they are only kept if it commits."""
        assert isinstance(transaction, Session)
        if self._log not in _MADE:
            for statement in TABLES:
                transaction.run(statement)
        return transaction
