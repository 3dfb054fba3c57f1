# ruff: noqa: S608  (only constants are put together here; every value travels as a parameter)
"""The rows of the table of jobs, and the one way in which a row changes: together with the event that tells of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

import msgspec

from kalibre.core.errors import LeaseLostError, UsageError
from kalibre.core.events import Event, new_event
from kalibre.core.hub_events import Job
from kalibre.log.base import Session

WRITER = "jobs"
JobState = Literal["queued", "running", "done", "failed", "skipped"]

TABLES = (
    """CREATE TABLE IF NOT EXISTS jobs (
        id BIGINT PRIMARY KEY, name TEXT NOT NULL, idempotency_key TEXT NOT NULL, payload TEXT NOT NULL,
        due_ms BIGINT NOT NULL, schedule TEXT NOT NULL, state TEXT NOT NULL, attempt BIGINT NOT NULL,
        max_attempts BIGINT NOT NULL, ready_ms BIGINT NOT NULL, owner TEXT NOT NULL, lease_until_ms BIGINT NOT NULL,
        began_ms BIGINT NOT NULL, error TEXT NOT NULL, UNIQUE (name, idempotency_key))""",
    "CREATE INDEX IF NOT EXISTS jobs_waiting ON jobs (state, ready_ms)",
    "CREATE TABLE IF NOT EXISTS schedules (name TEXT PRIMARY KEY, seen_ms BIGINT NOT NULL)",
)
COLUMNS = (
    "id, name, idempotency_key, payload, due_ms, schedule, state, attempt, max_attempts, ready_ms, owner, "
    "lease_until_ms, began_ms, error"
)
CLAIMABLE = "((state = 'queued' AND ready_ms <= ?) OR (state = 'running' AND lease_until_ms <= ?))"
_LONGEST_ERROR = 2_000


class JobRow(msgspec.Struct, frozen=True, kw_only=True):
    """A job as its row says; `attempt` is the token by which a worker is told from those before and after it.

    `due_ms` is when it was due and never moves, `ready_ms` from when on it may be taken (again). `began_ms` is the wall
    time at which the log recorded that it was first taken: whatever was recorded before it is the same for every
    attempt. Of queued jobs of one `schedule` only the newest runs; the empty schedule stands for none.
    """

    id: int
    name: str
    key: str
    payload: dict[str, Any]
    due_ms: int
    schedule: str = ""
    state: JobState = "queued"
    attempt: int = 0
    max_attempts: int = 3
    ready_ms: int = 0
    owner: str = ""
    lease_until_ms: int = 0
    began_ms: int = 0
    error: str = ""


def checked(name: str, key: str, payload: Mapping[str, Any] | None, due_ms: int, max_attempts: int) -> str:
    """Return the payload as JSON, or refuse what cannot be stored."""
    for what, text in (("name", name), ("key", key)):
        if not text.strip() or not text.isprintable() or (what == "name" and "|" in text):
            raise UsageError(
                f"{what} {text!r} of a job cannot be used: write it in printable characters, names without |"
            )
    if not -(2**62) < due_ms < 2**62 or max_attempts < 1:
        raise UsageError(
            f"job {name!r} cannot be due at {due_ms!r} with {max_attempts!r} attempts: write UTC milliseconds, and "
            "at least one attempt"
        )
    try:
        return msgspec.json.encode(dict(payload or {}), order="deterministic").decode()
    except (TypeError, ValueError) as error:
        raise UsageError(f"payload {payload!r} of job {name!r} is no JSON ({error}): use plain values") from error


def told_words(text: str) -> str:
    r"""Return words that every storage can keep: not endless, valid Unicode, without the sign that PostgreSQL refuses.

    Examples
    --------
    >>> told_words("half a sign \ud83d and a \x00")
    'half a sign ? and a ?'
    """
    return text[:_LONGEST_ERROR].encode("utf-8", "replace").decode().replace("\0", "?")


def named(names: Collection[str] | None) -> tuple[str, list[Any]]:
    """Return the condition that a job is of one of these names, and its parameters; None takes every name."""
    if names is None:
        return "1 = 1", []
    chosen = sorted(names)
    return (f"name IN ({', '.join('?' * len(chosen))})", list(chosen)) if chosen else ("1 = 0", [])


def row_of(values: Sequence[Any]) -> JobRow:
    """Make a row of the values of its columns."""
    found = dict(zip(JobRow.__struct_fields__, values, strict=True))
    return JobRow(**{**found, "payload": msgspec.json.decode(found["payload"])})


def select(session: Session, where: str, parameters: Sequence[Any], order: str = "") -> list[JobRow]:
    """Return the rows of a condition."""
    return [row_of(row) for row in session.rows(f"SELECT {COLUMNS} FROM jobs WHERE {where} {order}", parameters)]


def superseded(session: Session, job: JobRow, now_ms: int) -> bool:
    """Say whether a later run of the job's schedule waits and is due too."""
    sql = "SELECT 1 FROM jobs WHERE schedule = ? AND state = 'queued' AND due_ms > ? AND ready_ms <= ? LIMIT 1"
    return bool(job.schedule) and bool(session.rows(sql, (job.schedule, job.due_ms, now_ms)))


def own(session: Session, job: JobRow, *, finished: bool = False) -> JobRow:
    """Return the row as it is now, if it still is the worker's that was given this attempt."""
    now = select(session, "id = ?", (job.id,))
    states = ("running", "done") if finished else ("running",)
    if not now or now[0].state not in states or (now[0].owner, now[0].attempt) != (job.owner, job.attempt):
        found = f"{now[0].state}, attempt {now[0].attempt} by {now[0].owner or 'nobody'}" if now else "gone"
        raise LeaseLostError(
            f"job {job.name!r} {job.key!r}, attempt {job.attempt} by {job.owner}, is {found}: what this worker made of "
            "it is not stored"
        )
    return now[0]


def move(
    session: Session, job: JobRow, *, detail: str = "", result: dict[str, str] | None = None, **fields: Any
) -> JobRow:
    """Change a job's row and tell it in the log."""
    moved = msgspec.structs.replace(job, **fields)
    told = tell(session, moved, detail, result)
    if moved.state == "running" and not moved.began_ms:
        moved = msgspec.structs.replace(moved, began_ms=told.recorded_at)
    sql = (
        "UPDATE jobs SET state = ?, attempt = ?, max_attempts = ?, ready_ms = ?, owner = ?, lease_until_ms = ?, "
        "began_ms = ?, error = ? WHERE id = ?"
    )
    values = (moved.state, moved.attempt, moved.max_attempts, moved.ready_ms, moved.owner, moved.lease_until_ms)
    session.run(sql, (*values, moved.began_ms, moved.error, moved.id))
    return moved


def tell(session: Session, job: JobRow, detail: str, result: dict[str, str] | None = None) -> Event:
    """Tell in the log where a job stands."""
    payload = Job(job=job.name, state=job.state, attempt=job.attempt, detail=detail, result=result or {})
    # `current`: a job that waits again in the same words as before has moved all the same.
    event = new_event(f"{job.name}|{job.key}", job.due_ms, payload)
    return session.append([event], writer=WRITER, conflict="current")[0]
