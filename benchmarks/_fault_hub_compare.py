"""What a hub under torture is held to: both equalities, and what is promised of jobs, outbox and checkpoints.

*Refold* is held for every projection: what it says when it reads the log again, and every snapshot and checkpoint on
the disk, bit for bit. *Interruption* compares the events with those of a run that nobody disturbed, in which everything
was delivered at once and one part after the other read it. Left out of it are the kinds that tell about the running of
the hub and not about the market (`kalibre.core.hub_events.OPERATIONAL`); what a job gave is compared without the number
of its attempt, and must be there once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks._fault_hub import DELIVERED_KINDS, HubRig, run_undisturbed
from benchmarks._fault_hub_inputs import JOB
from benchmarks._fault_kills import Caught, in_child, orders_after_kill

from kalibre.core.errors import SnapshotError
from kalibre.core.events import CommandApplied, Event, ModelTrained, encode_payload
from kalibre.core.hub_events import OPERATIONAL, Job
from kalibre.hub.checkpoints import Checkpoints
from kalibre.hub.rebuild import rebuild_with
from kalibre.log.jobs import Jobs
from kalibre.log.protocol import EventLog
from kalibre.log.replay import state_digest


def undisturbed_hub(rig: HubRig) -> dict[str, Any]:
    """Run everything once without a fault and return what the log then holds."""

    def run() -> dict[str, Any]:
        with rig.open() as log:
            run_undisturbed(rig, log)
        return contents_of_hub(rig)

    return dict(in_child(run, rig.errors))


def contents_of_hub(rig: HubRig) -> dict[str, Any]:
    """Return what both equalities, jobs, outbox and checkpoints are judged by."""
    with rig.open() as log:
        events = log.read()
        found: dict[str, Any] = {"check": log.check(), "unread": [], "refold": [], "states": {}, "stored": 0}
        for name in rig.trained.names:
            progress = log.progress(name)
            if progress is None or progress.seq < log.last_position(rig.reads[name]):
                found["unread"].append(name)
                continue
            projection = rig.make(name, rig.settings)
            rebuilt = rebuild_with(projection, log, rig.settings)
            found["refold"] += rebuilt.differences
            found["states"][name] = {part: _short(value) for part, value in projection.state().items()}
            found["stored"] += rebuilt.states
        return {
            **found,
            "rows": sorted(row_of(event) for event in events if _counts(event)),
            "orders_after_kill": orders_after_kill(events),
            "jobs": _jobs(log, events),
            "letters": _letters(rig, log),
            "checkpoints": _checkpoints(rig),
        }


def _short(value: Any) -> str:
    """Return a part of a state, or what tells it from any other."""
    text = repr(value)
    return text if isinstance(value, str) and len(text) < 500 else state_digest({"": value})


def _counts(event: Event) -> bool:
    """Say whether interruption compares an event: what tells about the running does not, unless a projection said it.

    Where a kill overtook what alarms had not read yet (a drift that the scorer told just now), or a word of the
    ensemble that paper trading had not, hangs on their speed; what follows from it is compared.
    """
    payload = event.payload
    if isinstance(payload, CommandApplied):
        return event.writer != "alarms" and payload.before[0] != "ensemble"
    return event.kind not in OPERATIONAL or event.writer == "alarms"


def row_of(event: Event) -> list[str]:
    """Return an event without position, provenance and wall time, and a job's result without its attempt."""
    payload = event.payload
    if isinstance(payload, ModelTrained):
        payload = ModelTrained(
            model=payload.model,
            digest=payload.digest,
            metrics={name: value for name, value in payload.metrics.items() if name != "attempt"},
        )
    return [*map(str, event.identity), encode_payload(payload).decode()]


def _jobs(log: EventLog, events: Sequence[Event]) -> dict[str, Any]:
    """Return what is wrong with the jobs, and how many were done in how many attempts."""
    done, results, attempts = dict[str, int](), dict[str, list[int]](), 0
    for event in events:
        payload = event.payload
        if isinstance(payload, Job):
            attempts = attempts + (payload.state == "running")
            if payload.state == "done":
                done[event.key] = done.get(event.key, 0) + 1000 * (event.key in done) + payload.attempt
        elif isinstance(payload, ModelTrained):
            results.setdefault(f"{JOB}|{payload.model}", []).append(int(payload.metrics["attempt"] or 0))
    wrong = [
        f"job {key} is done at attempt {done.get(key)}, its results are of {results.get(key)}"
        for key in sorted({*done, *results})
        if [done.get(key)] != results.get(key) and key.startswith(JOB)  # an export gives a file
    ]
    counts = Jobs(log).counts()
    if counts != {"done": len(done)}:
        wrong.append(f"{len(done)} jobs told that they are done, and there are {counts}")
    return {"wrong": wrong, "done": sorted(done), "attempts": attempts}


def _letters(rig: HubRig, log: EventLog) -> dict[str, Any]:
    """Return what is wrong with what the outbox delivered: at least once, none lost, order kept."""
    lines = rig.letters.read_text().splitlines()
    expected = [f"{event.seq}\t{event.identity}" for event in log.read(kinds=DELIVERED_KINDS)]
    if lines and lines[-1] not in set(expected):
        lines.pop()  # half written as it was killed: it was delivered again
    first = list(dict.fromkeys(lines))
    wrong = ""
    if first != expected:
        lost, more = len(set(expected) - set(first)), len(set(first) - set(expected))
        wrong = f"{lost} of {len(expected)} events were lost, {more} were none" if lost or more else "the order differs"
    return {"wrong": wrong, "delivered": len(expected), "again": len(lines) - len(first)}


def _checkpoints(rig: HubRig) -> list[str]:
    """Return what is wrong with the checkpoints: what is pinned is there, and what is there can be read."""
    wrong = []
    for name, digest in rig.trained.digests.items():
        kept = rig.make_checkpoints(rig.settings, name)
        if digest not in {one.digest for one in kept.all() if one.pinned}:
            wrong.append(f"the pinned checkpoint of {name} is gone")
        folders = kept.snapshots.folders()
        wrong += [f"{folder} of {name} cannot be read" for folder in folders if not _readable(kept, folder)]
    return wrong


def _readable(kept: Checkpoints, folder: Path) -> bool:
    try:
        kept.snapshots.load(folder)
    except SnapshotError:
        return False
    return True


def compare_hub(rig: HubRig, reference: dict[str, Any]) -> dict[str, Any]:
    """Check both equalities of design.md, rule 3, and what is promised of jobs, outbox and checkpoints.

    Returns
    -------
    What was found, for whoever counts it.
    """
    found = in_child(lambda: contents_of_hub(rig), rig.errors)
    if found["check"] or found["unread"]:
        raise Caught(f"log check: {found['check'] or found['unread']}: events were left unread")
    if found["refold"]:
        raise Caught(f"refold: {found['refold'][0]}")
    if found["orders_after_kill"]:
        raise Caught(f"kill switch: orders after the kill: {found['orders_after_kill'][:3]}")
    if found["jobs"]["wrong"]:
        raise Caught(f"jobs: {found['jobs']['wrong'][0]}")
    if found["jobs"]["done"] != reference["jobs"]["done"]:
        raise Caught(f"jobs: done are {found['jobs']['done']} instead of {reference['jobs']['done']}")
    if found["letters"]["wrong"]:
        raise Caught(f"outbox: {found['letters']['wrong']}")
    if found["checkpoints"]:
        raise Caught(f"checkpoints: {found['checkpoints'][0]}")
    if found["rows"] != reference["rows"]:
        ours, theirs = ({tuple(row) for row in side["rows"]} for side in (found, reference))
        first = min(ours - theirs, default=None), min(theirs - ours, default=None)
        raise Caught(
            f"interruption: {len(ours - theirs)} events differ from the undisturbed run, {len(theirs - ours)} are "
            f"missing; first {first[0]} instead of {first[1]}"
        )
    for name, known in reference["states"].items():
        now = found["states"][name]
        for part in known.keys() | now.keys():
            if now.get(part) != known.get(part):
                words = f"{now.get(part)} instead of {known.get(part)}"
                raise Caught(f"interruption: {part} of {name} is at the end not what it is undisturbed: {words}")
    return found
