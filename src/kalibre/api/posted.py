"""`POST /ml/predict`: reading what was posted, judging it, and answering it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from kalibre.api.answers import Answer, Standing, answer
from kalibre.api.served import ServedEnsemble
from kalibre.core.bars import Bar, Bars
from kalibre.core.errors import ApiError, BarError, KalibreError

if TYPE_CHECKING:
    from kalibre.api.live import Picture
    from kalibre.api.served import ServedModel
    from kalibre.api.service import Service

MAX_BARS = 50_000
"""Most bars in one request: more belongs into the log."""

_FEATURE_LIMIT = 1e100
"""No sound feature is larger; a value beyond is a broken client, not a market."""


class Posted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be posted: a symbol and either one row of `features` or `bars`, oldest first, the last one just closed.

    `features` are the numbers of the model's columns in the model's order (`GET /ml/model/status` lists them); `bars`
    must be enough for the features' warm-up. They are read as they are, in the caller's own scale: the corporate
    actions that the server knows are not applied to them, so where a split lies among them, send adjusted ones.
    """

    symbol: str
    features: list[float] | None = None
    bars: list[Bar] | None = None
    timeframe: str | None = None


_decoder = msgspec.json.Decoder(Posted)


def read(body: bytes) -> Posted:
    """Read a posted body.

    Raises
    ------
    ApiError
        400 if it is no JSON, 422 if it is not of the form; the message quotes the value and where it stands.
    """
    if not body.strip():
        raise ApiError('the body is empty: send {"symbol": ..., "features": [...]}; see /docs for the form', status=400)
    try:
        posted = _decoder.decode(body)
    except msgspec.ValidationError as error:
        raise ApiError(f"{error}{_quoted(body, str(error))}; see /docs for the form", status=422) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        start = body[:40].decode("utf-8", "replace")
        raise ApiError(
            f"the body is no JSON ({error}), it begins {start!r}: NaN and infinity are not JSON either; send "
            '{"symbol": ..., "features": [...]}',
            status=400,
        ) from error
    if (posted.features is None) == (posted.bars is None):
        both = "both are" if posted.features is not None else "neither is"
        raise ApiError(f"send either `features` or `bars`: {both} there", status=422)
    return posted


def answer_features(service: Service, posted: Posted) -> Answer:
    """Answer for one posted row of features with the champion.

    Raises
    ------
    ApiError
        404 for an unknown symbol, 422 for a wrong length or a value that no feature has.
    """
    picture = service.live.picture
    view = picture.series.get(posted.symbol)
    if view is None:
        raise service.unknown_symbol(posted.symbol)
    features = posted.features or []
    standing = view.roles["champion"]
    model = standing.model
    holds = service.holds(picture, None)
    if isinstance(model, ServedEnsemble):
        standing = Standing(model=model, problem=model.unasked)
    elif model is not None:
        if len(features) != model.n_columns:
            raise ApiError(
                f"{len(features)} features posted, model {model.model_id} has {model.n_columns} columns: send one "
                "number for each, in the order of GET /ml/model/status",
                status=422,
            )
        if features and not (max(features) < _FEATURE_LIMIT and min(features) > -_FEATURE_LIMIT):
            worst = next(i for i, value in enumerate(features) if not abs(value) < _FEATURE_LIMIT)
            raise ApiError(
                f"features[{worst}] = {features[worst]!r} is no value of {model.columns[worst]!r}: compute the "
                "features as Kalibre does",
                status=422,
            )
        standing = Standing(model=model, p_up=model.p_up(features))
    return _answered(service, picture, posted.symbol, standing, holds, None)


def answer_bars(service: Service, posted: Posted) -> Answer:
    """Answer for posted bars with the champion; takes milliseconds, so call it outside the event loop.

    Raises
    ------
    ApiError
        404 for an unknown symbol, 422 for bars that are none, too few or of another timeframe.
    """
    picture = service.live.picture
    view = picture.series.get(posted.symbol)
    if view is None:
        raise service.unknown_symbol(posted.symbol)
    bars = _series(service, posted)
    standing = view.roles["champion"]
    as_of_ms = int(bars.close_time[-1])
    holds = service.holds(picture, service.staleness_seconds(picture, as_of_ms))
    if isinstance(standing.model, ServedEnsemble):
        standing = Standing(model=standing.model, problem=standing.model.unasked)
    elif standing.model is not None:
        standing = Standing(model=standing.model, p_up=_ask(standing.model, bars))
    return _answered(service, picture, posted.symbol, standing, holds, as_of_ms)


def _series(service: Service, posted: Posted) -> Bars:
    rows = posted.bars or []
    timeframe = service.settings.market.timeframe
    if posted.timeframe is not None and posted.timeframe != timeframe:
        raise ApiError(f"timeframe {posted.timeframe!r} was posted, models here read {timeframe!r} bars", status=422)
    if not rows or len(rows) > MAX_BARS:
        raise ApiError(f"{len(rows)} bars posted: send between 1 and {MAX_BARS}", status=422)
    try:
        bars = Bars.from_rows(posted.symbol, timeframe, rows)
        bars.check()
        _check(service, posted.symbol, rows)
    except (KalibreError, OverflowError) as error:
        raise ApiError(f"the bars cannot be used: {error}", status=422) from error
    return bars


def _check(service: Service, symbol: str, rows: list[Bar]) -> None:
    """Hold posted bars to the checks that ingested ones pass: what would be quarantined is not forecast on."""
    from kalibre.bars.calendars import get_calendar
    from kalibre.bars.checks import BarChecker

    market = service.settings.market
    checker = BarChecker(symbol, market.timeframe, get_calendar(market.calendar))
    now_ms = service.clock.now_ms() + max(0, service.live.picture.market_lead_ms)
    for index, row in enumerate(rows):
        for verdict in checker.judge(row, now_ms=now_ms):
            if verdict.action in ("quarantine", "verify"):
                raise BarError(
                    f"bars[{index}]: {verdict.detail or ', '.join(verdict.reasons)}; leave it out or mend it"
                )
    checker.finish()
    if checker.held:
        raise BarError(
            f"{checker.held[0]} is far from the bars before it and no later bar confirms it: mend it, or wait for "
            "the next bars"
        )


def _ask(model: ServedModel, bars: Bars) -> float:
    from kalibre.bars.news import COLUMNS
    from kalibre.features.engine import FeatureEngine

    engine = FeatureEngine(model.bundle.spec)
    if engine.fingerprint != model.bundle.feature_fingerprint:
        raise ApiError(
            f"model {model.model_id} was trained on another version of the features: train and promote again",
            status=503,
        )
    if bars.news_conf is None and (read := sorted({*COLUMNS} & set(engine.columns))):
        raise ApiError(
            f"model {model.model_id} reads {', '.join(read)}, the bars posted tell no news: send news_impact and "
            "news_conf with each, 0 where there was none, or ask for the newest stored bar",
            status=422,
        )
    if len(bars) <= engine.warmup:
        raise ApiError(
            f"{len(bars)} bars posted, the features of {model.model_id} need {engine.warmup + 1}: send "
            f"{engine.warmup + 1 - len(bars)} earlier ones too",
            status=422,
        )
    row = np.ascontiguousarray(engine.batch(bars)[-1])
    return model.p_up(row)


def _answered(
    service: Service,
    picture: Picture,
    symbol: str,
    standing: Standing,
    holds: list[str],
    as_of_ms: int | None,
) -> Answer:
    result = answer(
        symbol,
        standing,
        holds=holds,
        as_of_ms=as_of_ms,
        staleness_seconds=service.staleness_seconds(picture, as_of_ms),
        seq=picture.seq,
    )
    service.counters.prediction(symbol, result.signal)
    return result


def _quoted(body: bytes, message: str) -> str:
    """Return ` (it reads ...)` with the offending value that msgspec names by its path, if it names one."""
    found = re.search(r"`\$((?:\.\w+|\[\d+\])*)`", message)
    if found is None:
        return ""
    # The standard parser also reads what msgspec does not: numbers beyond a double.
    try:
        value: Any = json.loads(body)
        for name, index in re.findall(r"\.(\w+)|\[(\d+)\]", found.group(1)):
            value = value[int(index)] if index else value[name]
    except (ValueError, RecursionError):
        return ""
    return f" (it reads {str(value)[:60]!r})"
