"""`/ml/kill`: the kill switch. Engaging it takes fewer rights than releasing it; both are events."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request
from pydantic import Field

from kalibre.api.auth import may_stop
from kalibre.api.guard import require
from kalibre.api.routes.base import Command, View, by_of, errors, scopes_of, service_of
from kalibre.core.errors import ApiError

router = APIRouter(tags=["kill"])


class KillCommand(Command):
    """Engage the switch, or with `release` let go of it. `flatten` also closes the positions."""

    release: bool = False
    reason: str = Field("", max_length=500)
    flatten: bool = False


class KillView(View):
    """The switch as it stands, and the log's position that says so."""

    engaged: bool
    by: str | None
    reason: str
    flatten: bool
    seq: int


@router.post("/ml/kill", responses=errors(405, 409, 413))
def kill(
    request: Request,
    command: Annotated[KillCommand, Body(default_factory=KillCommand)],
) -> KillView:
    """Engage the kill switch (scope kill, operate or admin), or release it (scope admin)."""
    from contextlib import nullcontext

    from kalibre.trading.kill_switch import KillSwitch, pull

    service = service_of(request)
    scopes = scopes_of(request)
    if command.release:
        require(scopes, "admin")
        if command.flatten:
            raise ApiError(
                "release and flatten are both true: positions are closed when engaging, not after", status=422
            )
    elif not may_stop(scopes):
        require(scopes, "kill")
    file, clock = service.settings.kill_file, service.clock
    by = by_of(request)
    if command.release:
        state = KillSwitch(service.log(), file, clock).release(by)
    else:
        # The log is shared with the other requests: it stays open.
        state = pull(
            lambda: nullcontext(service.log()),
            file,
            clock,
            by=by,
            reason=command.reason or "POST /ml/kill",
            flatten=command.flatten,
        )
    seq = service.log().head()
    # The next predict already knows it: an answer that came after this one never says ENTRY.
    service.live.wait_for(seq, timeout_s=2.0)
    return KillView(engaged=state.engaged, by=state.by, reason=state.reason, flatten=state.flatten, seq=seq)
