"""`/hub`: how the hub stands, what its learners said and were worth, its jobs and checkpoints; nothing is changed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, Query, Request, Response

from kalibre.api._hub_actions import Heartbeat
from kalibre.api._hub_fold import step_of
from kalibre.api._hub_ranges import MOST_POINTS, history, read_range
from kalibre.api.hub_view import encode
from kalibre.api.live import HEARTBEAT_LIMIT_S
from kalibre.api.routes.base import by_of, errors, needs, scopes_of, service_of
from kalibre.api.service import Service
from kalibre.core.catalog import part_names
from kalibre.core.errors import ApiError
from kalibre.core.hub_events import League
from kalibre.hub.costs import Cost

router = APIRouter(tags=["hub"])

_TIME = {"ge": 0, "le": 2**62}
Symbol = Annotated[str | None, Query(max_length=80, description="A symbol, or a series as BTCUSDT|15m.")]


class SeriesAbout(msgspec.Struct, frozen=True):
    """A series; `overdue_ms` is when, by its calendar, so many bars should have come that something must be wrong."""

    key: str
    symbol: str
    timeframe: str
    step_ms: int
    overdue_ms: int | None


class You(msgspec.Struct, frozen=True):
    """Who asks; `csrf` is what a session sends along in `X-CSRF-Token` when it changes something."""

    by: str
    scopes: list[str]
    csrf: str | None
    until_ms: int | None


class Now(msgspec.Struct, frozen=True):
    """What is no event: the clocks, signs of life, and the kill switch with its file."""

    now_ms: int
    lead_ms: int
    ready: bool
    problem: str
    killed: bool | None
    beats: dict[str, Heartbeat]
    costs: dict[str, Cost]
    series: list[SeriesAbout]


class State(msgspec.Struct, frozen=True):
    """Everything that the page shows; `board` holds named values and rings of points, up to position `seq`.

    `learners` are those that run, `hosts` says in which worker.
    """

    seq: int
    version: str
    lang: str
    chosen: str
    stale_bars: int
    horizon_bars: int
    learners: tuple[str, ...]
    hosts: dict[str, str]
    now: Now
    you: You
    board: msgspec.Raw


class LeagueTable(msgspec.Struct, frozen=True):
    """The newest league table of a series."""

    series: str
    as_of_ms: int
    table: League


(_LEAGUE,), SCHEMAS = msgspec.json.schema_components((LeagueTable,), ref_template="#/components/schemas/{name}")
_OBJECT = {"type": "object", "additionalProperties": True}


def documented(text: str, schema: dict[str, Any] | None = None) -> dict[str, Any]:
    """Describe an answer of this group: plain JSON."""
    return {"description": text, "content": {"application/json": {"schema": schema or _OBJECT}}}


def json_response(content: Any) -> Response:
    """Answer with JSON that nobody keeps."""
    return Response(encode(content), media_type="application/json", headers={"cache-control": "no-store"})


def series_of(service: Service, symbol: str | None) -> str:
    """Return the key of the series that is meant; the first one if none is named.

    Raises
    ------
    ApiError
        404 if there is no such series; the message lists those that are.
    """
    known = service.hub.series()
    if symbol is None:
        return known[0]
    for key in known:
        if symbol in (key, key.partition("|")[0]):
            return key
    raise ApiError(f"series {symbol[:80]!r} is not in the log: choose one of {', '.join(known)}", status=404)


def now_of(service: Service) -> Now:
    """Return what is no event."""
    hub, picture = service.hub, service.live.picture
    about = []
    for key in hub.series():
        symbol, _, timeframe = key.partition("|")
        view = picture.series.get(symbol) if timeframe == service.settings.market.timeframe else None
        about.append(SeriesAbout(key, symbol, timeframe, step_of(key), None if view is None else view.overdue_ms))
    problem = hub.problem
    if not problem and hub.heartbeat_age_s > HEARTBEAT_LIMIT_S:
        problem = f"the log was last read {hub.heartbeat_age_s:.0f} seconds ago: restart the server"
    return Now(
        now_ms=service.clock.now_ms(),
        lead_ms=hub.market_lead_ms,
        ready=hub.ready,
        problem=problem,
        killed=service.engaged(picture),
        beats=dict(service.heartbeats()),
        costs=service.costs(),
        series=about,
    )


@router.get(
    "/hub/state",
    response_class=Response,
    responses={200: documented("Everything that the page shows."), **errors(404)},
    dependencies=[needs("read")],
)
def state(request: Request, symbol: Symbol = None) -> Response:
    """Show everything at one position: workers, learners, figures, jobs, alerts, and the newest points of a series."""
    from kalibre import __version__

    service = service_of(request)
    series = series_of(service, symbol)
    board = service.hub.since(0, series)
    session = service.sessions.of_cookie(request.headers.get("cookie", "").encode("latin-1"))
    you = You(
        by=by_of(request),
        scopes=sorted(scopes_of(request)),
        csrf=None if session is None else session.csrf,
        until_ms=None if session is None else session.ends_ms,
    )
    return json_response(
        State(
            seq=service.hub.seq,
            version=__version__,
            lang=service.settings.lang,
            chosen=series,
            stale_bars=service.settings.risk.stale_bars,
            horizon_bars=service.settings.model.horizon_bars,
            learners=service.settings.hub.learners or part_names("kalibre.learners"),
            hosts=service.hub.hosts,
            now=now_of(service),
            you=you,
            board=msgspec.Raw(board),
        )
    )


@router.get(
    "/hub/series",
    response_class=Response,
    responses={200: documented("Candles, forecasts, signals, trades."), **errors(404)},
    dependencies=[needs("read")],
)
def series(
    request: Request,
    symbol: Symbol = None,
    from_ms: Annotated[int | None, Query(alias="from", description="Open time, UTC ms, inclusive.", **_TIME)] = None,
    to_ms: Annotated[int | None, Query(alias="to", description="Exclusive; now if left out.", **_TIME)] = None,
    points: Annotated[int, Query(ge=1, le=MOST_POINTS, description="Most points of each line.")] = 500,
) -> Response:
    """Show a stretch of a series; without `from` the newest points."""
    service = service_of(request)
    key = series_of(service, symbol)
    hub = service.hub
    if from_ms is None:
        found: dict[str, Any] = {"bars": hub.points(f"{key}/bars"), "left_out": []}
        names = {"p": "forecasts", "signals": "signals", "fills": "fills", "equity": "equity", "labels": "labels"}
        for name, shown in names.items():
            found[shown] = {one: line[-points:] for one, line in hub.rings(f"{key}/{name}/").items()}
        found["bars"] = found["bars"][-points:]
    else:
        until_ms = to_ms if to_ms is not None else service.clock.now_ms() + max(0, hub.market_lead_ms) + step_of(key)
        with service.reading:
            found = read_range(service.log(), key, from_ms, until_ms, points)
    return json_response({"series": key, "step_ms": step_of(key), "seq": hub.seq, **found})


@router.get(
    "/hub/history",
    response_class=Response,
    responses={200: documented("Lines of `[time, figure]`, by forecaster."), **errors(404)},
    dependencies=[needs("read")],
)
def figures(
    request: Request,
    what: Annotated[Literal["accuracy", "loss", "reward"], Query()] = "accuracy",
    forecaster: Annotated[str | None, Query(max_length=80, description="Leave it out for all.")] = None,
    symbol: Symbol = None,
    points: Annotated[int, Query(ge=1, le=MOST_POINTS)] = 500,
) -> Response:
    """Show how accuracy, log-loss (by the hourly scores) or reward (by the outcomes, added up) went."""
    service = service_of(request)
    key = series_of(service, symbol)
    known = sorted({*service.hub.cells(f"{key}/live/"), *service.hub.cells(f"{key}/score/")})
    if forecaster is not None and forecaster not in known:
        raise ApiError(
            f"forecaster {forecaster!r} has no figures for {key}: choose one of {', '.join(known) or 'none yet'}",
            status=404,
        )
    costs = service.settings.costs
    with service.reading:
        found = history(
            service.log(),
            key,
            known if forecaster is None else [forecaster],
            what,
            fee=(costs.fee_bps + costs.slippage_bps) / 10_000,
            points=points,
        )
    return json_response({"series": key, "seq": service.hub.seq, **found})


@router.get(
    "/hub/league",
    response_class=Response,
    responses={200: documented("The newest table of each series.", {"type": "array", "items": _LEAGUE}), **errors()},
    dependencies=[needs("read")],
)
def league(request: Request) -> Response:
    """Show each forecaster beside the dummies, with intervals."""
    hub = service_of(request).hub
    tables = [
        LeagueTable(key, cell.at_ms, cell.value)
        for key in hub.series()
        if (cell := hub.cell(f"{key}/league")) is not None
    ]
    return json_response(tables)


@router.get(
    "/hub/jobs",
    response_class=Response,
    responses={200: documented("Jobs, newest word last.", {"type": "array", "items": _OBJECT}), **errors()},
    dependencies=[needs("read")],
)
def jobs(request: Request) -> Response:
    """List the jobs of which something was heard last."""
    return json_response(service_of(request).hub.points("jobs"))


@router.get(
    "/hub/checkpoints",
    response_class=Response,
    responses={200: documented("Checkpoints by learner, oldest first."), **errors()},
    dependencies=[needs("read")],
)
def checkpoints(request: Request) -> Response:
    """List the newest checkpoints of each learner."""
    return json_response(service_of(request).hub.rings("checkpoints/"))
