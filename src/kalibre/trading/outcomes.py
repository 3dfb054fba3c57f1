"""What became of forecasts: by the definition of what the model learnt to foresee."""

from __future__ import annotations

import math
from dataclasses import fields, is_dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from kalibre.bars.timeline import Timeline
from kalibre.core.bars import Bar
from kalibre.core.catalog import part
from kalibre.core.events import Outcome
from kalibre.core.protocols import Label
from kalibre.trading.book import OpenForecast

DIRECTION = "direction"


class ExpectedOpens(Protocol):
    """The part of a calendar that tells a hole from a night."""

    def expected_opens(self, timeframe: str, start_ms: int, end_ms: int) -> NDArray[np.int64]:
        """Return the expected open times with `start_ms <= open_time < end_ms`, UTC milliseconds."""
        ...


def check_label(name: str, horizon_bars: int) -> None:
    """Refuse a label that this version does not have.

    Raises
    ------
    KalibreError
        Quoting it.
    """
    if name != DIRECTION:
        _label(name, horizon_bars, None)


def _label(name: str, horizon_bars: int, calendar: ExpectedOpens | None) -> Label:
    label: Label = part("kalibre.labels", name).LABEL(horizon_bars=horizon_bars)
    if is_dataclass(label) and any(field.name == "calendar" for field in fields(label)):
        return replace(label, calendar=calendar)
    return label


def outcome(
    forecast: OpenForecast, line: Timeline, newest: Bar, *, late: bool, calendar: ExpectedOpens | None, step_ms: int
) -> Outcome | None:
    """Return what became of a forecast whose horizon has passed; None if nobody can tell.

    `went_up` is what the model learnt to foresee: that the close after the horizon is above the forecast's close or,
    for another label than the direction, that label over the bars kept (for a triple barrier: that the upper one was
    touched first). `log_return` is from close to close in any case.

    Parameters
    ----------
    newest
        The newest bar, in the series' scale; it closes the horizon unless `late`.
    late
        Whether bars have come since that one: the horizon's end is then looked up.
    calendar
        Tells a hole from a night: an outcome whose horizon spans a hole is none, nor one across a corporate action
        that nobody has decided on. None counts bars.
    """
    start_ms, horizon = forecast.open_time, forecast.horizon_bars
    told_ms = newest.open_time + step_ms
    if late:
        ahead = line.since(start_ms)
        if len(ahead) < horizon:
            return None
        newest = ahead[horizon - 1]
    if not _whole(calendar, line.timeframe, start_ms, newest.open_time, horizon, step_ms):
        return None
    if line.spans_doubt(start_ms, newest.open_time):
        return None
    went_up: bool | None = newest.close > forecast.close
    if forecast.label != DIRECTION:
        went_up = _labelled(forecast, line, newest, calendar)
    if went_up is None:
        return None
    return Outcome(
        model=forecast.model,
        p_up=forecast.p_up,
        went_up=went_up,
        log_return=math.log(newest.close / forecast.close),
        told_ms=told_ms,
    )


def _whole(
    calendar: ExpectedOpens | None, timeframe: str, start_ms: int, end_ms: int, horizon: int, step_ms: int
) -> bool:
    """Say whether no bar is missing between two bars that came `horizon` bars apart."""
    if calendar is None or end_ms - start_ms == horizon * step_ms:
        return True
    return len(calendar.expected_opens(timeframe, start_ms, end_ms)) <= horizon


def _labelled(forecast: OpenForecast, line: Timeline, end: Bar, calendar: ExpectedOpens | None) -> bool | None:
    """Return a label of the bars from before the forecast to the end of its horizon; None if it is unknown."""
    label = _label(forecast.label, forecast.horizon_bars, calendar)
    bars = line.history()
    row, stop = np.searchsorted(bars.open_time, [forecast.open_time, end.open_time + 1]).tolist()
    # What a label looks back on is a few bars; without saying how many, it gets all.
    start = max(0, row - getattr(label, "volatility_window", row))
    y = float(label.compute(bars[start:stop])[0][row - start])
    return None if math.isnan(y) else y == 1.0
