"""`/ml/model/status`: which models act, what they proved, and what they read."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from kalibre.api.answers import Standing, utc_text
from kalibre.api.routes.base import View, errors, needs, service_of
from kalibre.core.settings import Settings
from kalibre.registry.standing import drifted

router = APIRouter(tags=["model"])


class ModelStatus(View):
    """One model: its thresholds, what it proved at its gates, and the columns that it reads, in order.

    `label` is what it learnt to foresee; `funded` says whether its study charged funding rates to positions held;
    `warnings` names each cost and limit of the settings that is no longer what it was judged with.
    """

    model: str
    digest: str
    created_at: str
    horizon_bars: int
    label: str
    funded: bool
    entry_threshold: float
    exit_threshold: float
    calibration: dict[str, Any]
    metrics: dict[str, Any]
    gates: list[dict[str, Any]]
    columns: list[str]
    warnings: list[str]


class RoleStatus(View):
    """Who holds a role; `problem` says why nobody does or why the holder cannot answer."""

    model: ModelStatus | None
    problem: str | None


class SymbolStatus(View):
    """The roles of one symbol."""

    champion: RoleStatus
    challenger: RoleStatus


class Status(View):
    """Every symbol that is followed."""

    timeframe: str
    symbols: dict[str, SymbolStatus]
    seq: int


@router.get("/ml/model/status", responses=errors(), dependencies=[needs("read")])
def status(request: Request) -> Status:
    """Show champion and challenger of every symbol, with their gates and figures."""
    service = service_of(request)
    picture = service.live.picture
    return Status(
        timeframe=service.settings.market.timeframe,
        symbols={
            symbol: SymbolStatus(
                champion=_role(view.roles["champion"], service.settings),
                challenger=_role(view.roles["challenger"], service.settings),
            )
            for symbol, view in picture.series.items()
        },
        seq=picture.seq,
    )


def _role(standing: Standing, settings: Settings) -> RoleStatus:
    model = standing.model
    shown = None
    if model is not None:
        bundle = model.bundle
        shown = ModelStatus(
            model=model.model_id,
            digest=bundle.digest,
            created_at=utc_text(bundle.created_at_ms),
            horizon_bars=model.horizon_bars,
            label=bundle.label,
            funded=bundle.funded,
            entry_threshold=model.entry_threshold,
            exit_threshold=model.exit_threshold,
            calibration=dict(bundle.calibration),
            metrics=dict(bundle.metrics),
            gates=[dict(gate) for gate in bundle.gates],
            columns=list(model.columns),
            warnings=drifted(bundle, settings),
        )
    return RoleStatus(model=shown, problem=standing.problem or None)
