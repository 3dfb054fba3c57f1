"""`/automation`: starting and stopping paper trading, and what it has decided."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request

from kalibre.api.answers import utc_text
from kalibre.api.live import Picture
from kalibre.api.routes.base import View, errors, needs, service_of
from kalibre.core.errors import ApiError
from kalibre.core.events import Account, Automation, Signal, new_event, series_key

router = APIRouter(tags=["automation"])

Role = Literal["champion", "challenger"]


class AccountView(View):
    """A paper ledger at a close."""

    symbol: str
    role: Role
    as_of: str
    cash: float
    quantity: float
    equity: float


class AutomationStatus(View):
    """Whether paper trading runs, what stops it (null while the log is not read), and where its ledgers stand."""

    running: bool | None
    by: str | None
    killed: bool | None
    accounts: list[AccountView]
    seq: int


class Prediction(View):
    """One recorded decision of the paper engine."""

    symbol: str
    role: Role
    as_of: str
    model: str
    signal: Literal["ENTRY", "EXIT", "HOLD"]
    p_up: float | None
    confidence: float | None
    reasons: list[str]
    seq: int


class Predictions(View):
    """Recorded decisions, newest first."""

    predictions: list[Prediction]


@router.post("/automation/start", responses=errors(405, 409), dependencies=[needs("operate")])
def start(request: Request) -> AutomationStatus:
    """Start paper trading: from the next bar on, signals become orders."""
    service = service_of(request)
    if service.killed(service.live.picture):
        raise ApiError(
            "the kill switch is engaged: release it first (POST /ml/kill with release, scope admin)", status=409
        )
    return _switch(request, running=True)


@router.post("/automation/stop", responses=errors(405), dependencies=[needs("operate")])
def stop(request: Request) -> AutomationStatus:
    """Stop paper trading: signals go on, orders end."""
    return _switch(request, running=False)


@router.get("/automation/status", responses=errors(), dependencies=[needs("read")])
def status(request: Request) -> AutomationStatus:
    """Show whether paper trading runs, and its ledgers."""
    return _status(request, service_of(request).live.picture)


@router.get("/automation/predictions", responses=errors(404), dependencies=[needs("read")])
def predictions(
    request: Request,
    symbol: Annotated[str | None, Query(description="Leave it out for all symbols.")] = None,
    role: Annotated[Role, Query()] = "champion",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Predictions:
    """List what the paper engine decided, newest first."""
    service = service_of(request)
    if symbol is not None and symbol not in service.live.symbols:
        raise service.unknown_symbol(symbol)
    timeframe = service.settings.market.timeframe
    found = [
        (event.event_time, event.seq, name, event.payload)
        for name in (service.live.symbols if symbol is None else (symbol,))
        for event in service.log().read(
            kinds={"signal"}, key=f"{series_key(name, timeframe)}|{role}", limit=limit, descending=True
        )
        if isinstance(event.payload, Signal)
    ]
    found.sort(key=lambda row: row[:2], reverse=True)
    return Predictions(
        predictions=[
            Prediction(
                symbol=name,
                role=role,
                as_of=utc_text(time_ms),
                model=signal.model,
                signal=signal.action,
                p_up=signal.p_up,
                confidence=signal.confidence,
                reasons=list(signal.reasons),
                seq=seq,
            )
            for time_ms, seq, name, signal in found[:limit]
        ]
    )


def _switch(request: Request, *, running: bool) -> AutomationStatus:
    service = service_of(request)
    event = new_event("automation", service.clock.now_ms(), Automation(running=running, by="api"))
    seq = service.log().append([event], writer="api")[-1].seq
    service.live.wait_for(seq, timeout_s=2.0)
    return _status(request, service.live.picture)


def _status(request: Request, picture: Picture) -> AutomationStatus:
    service = service_of(request)
    accounts = []
    roles: tuple[Role, ...] = ("champion", "challenger")
    for symbol, role in ((symbol, role) for symbol in service.live.symbols for role in roles):
        event = service.log().latest("account", key=f"{series_key(symbol, service.settings.market.timeframe)}|{role}")
        if event is not None and isinstance(event.payload, Account):
            ledger = event.payload
            accounts.append(
                AccountView(
                    symbol=symbol,
                    role=role,
                    as_of=utc_text(event.event_time),
                    cash=ledger.cash,
                    quantity=ledger.quantity,
                    equity=ledger.equity,
                )
            )
    return AutomationStatus(
        running=picture.running if picture.ready else None,
        by=None if picture.automation is None else picture.automation.by,
        killed=service.engaged(picture),
        accounts=accounts,
        seq=picture.seq,
    )
