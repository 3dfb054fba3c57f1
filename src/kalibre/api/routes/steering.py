"""Steering the hub: words to a learner, a worker, the jobs, the alerts. Each is a POST, recorded with its author."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from kalibre.api.routes.base import Command, View, by_of, errors, needs, service_of
from kalibre.api.service import Service
from kalibre.core.catalog import part_names
from kalibre.core.errors import ApiError, HubError, SnapshotError
from kalibre.core.hub_events import Command as Word

router = APIRouter(tags=["hub"])

Verb = Literal["pause", "resume", "reset", "restore", "checkpoint"]
Reason = Annotated[str, Field(max_length=500)]
Name = Annotated[str, Field(min_length=1, max_length=80)]


class LearnerCommand(Command):
    """A word to a learner; `restore` names the checkpoint to go on from by its digest."""

    learner: Name
    verb: Literal["pause", "resume", "reset", "restore"]
    checkpoint: Annotated[str, Field(max_length=64)] = ""
    reason: Reason = ""


class CheckpointCommand(Command):
    """Have a learner's worker lay down its state."""

    learner: Name
    reason: Reason = ""


class RetrainCommand(Command):
    """Queue a retrain of a symbol's model."""

    symbol: Name
    reason: Reason = ""


class WorkerCommand(Command):
    """Restart, stop or start a worker."""

    name: Name
    action: Literal["restart", "stop", "start"]
    reason: Reason = ""


class CommandView(View):
    """A command as it is recorded."""

    learner: str
    verb: Verb
    checkpoint: str
    by: str
    event_time: int
    seq: int


class JobView(View):
    """The job that was queued."""

    job: str


class DoneView(View):
    """What became of it, in words."""

    detail: str


class TestedView(View):
    """For each target whether it took the test."""

    results: list[dict[str, Any]]


@router.post("/hub/command", responses=errors(404, 405, 409, 413), dependencies=[needs("operate")])
def command(request: Request, command: LearnerCommand) -> CommandView:
    """Pause, resume or reset a learner, or have it go on from a checkpoint; it obeys at its next bar."""
    service = service_of(request)
    if (command.verb == "restore") != bool(command.checkpoint):
        raise ApiError(
            f"verb {command.verb!r} with checkpoint {command.checkpoint!r}: `restore` names one by its digest, the "
            "other verbs name none",
            status=422,
        )
    _check_learner(service, command.learner)
    return _say(request, command.learner, command.verb, command.reason, command.checkpoint)


@router.post("/hub/checkpoint", responses=errors(404, 405, 409, 413), dependencies=[needs("operate")])
def checkpoint(request: Request, command: CheckpointCommand) -> CommandView:
    """Ask a learner's worker for a checkpoint now."""
    _check_learner(service_of(request), command.learner)
    return _say(request, command.learner, "checkpoint", command.reason, "")


@router.post("/hub/retrain", responses=errors(404, 405, 413), dependencies=[needs("operate")])
def retrain(request: Request, command: RetrainCommand) -> JobView:
    """Queue a retrain; the gates judge what comes of it."""
    service = service_of(request)
    if command.symbol not in service.live.symbols:
        raise service.unknown_symbol(command.symbol)
    return JobView(job=service.hub_actions.retrain(command.symbol, by_of(request), command.reason))


@router.post("/hub/worker", responses=errors(405, 409, 413), dependencies=[needs("operate")])
def worker(request: Request, command: WorkerCommand) -> DoneView:
    """Ask the supervisor to restart, stop or start a worker."""
    by = by_of(request) + (f": {command.reason}" if command.reason else "")
    return DoneView(detail=service_of(request).hub_actions.worker(command.name, command.action, by))


@router.post("/alerts/test", responses=errors(405, 409), dependencies=[needs("operate")])
def test_alert(request: Request) -> TestedView:
    """Send a test alert to every target."""
    return TestedView(results=service_of(request).hub_actions.test_alert(by_of(request)))


def _check_learner(service: Service, learner: str) -> None:
    known = part_names("kalibre.learners")
    if learner not in known:
        raise ApiError(f"learner {learner[:80]!r} is unknown: choose one of {', '.join(known)}", status=404)


def _say(request: Request, learner: str, verb: Verb, reason: str, digest: str) -> CommandView:
    from kalibre.hub.commands import record_command

    service, by = service_of(request), by_of(request)
    try:
        stored = record_command(
            *(service.log(), service.settings, learner, verb),
            by=by,
            reason=reason,
            checkpoint=digest,
            clock=service.clock,
        )
    except (HubError, SnapshotError) as error:
        raise ApiError(str(error), status=404 if isinstance(error, HubError) else 409) from error
    assert isinstance(stored.payload, Word)
    return CommandView(
        learner=learner,
        verb=verb,
        checkpoint=stored.payload.checkpoint,
        by=by,
        event_time=stored.event_time,
        seq=stored.seq,
    )
