"""Older stretches of time, read from the log on request: bounded in what is read and in what is sent."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

from kalibre.api._hub_fold import reward_of, step_of
from kalibre.core.errors import ApiError
from kalibre.core.events import Account, BarClosed, Event, Fill, Forecast, Outcome, Signal
from kalibre.core.hub_events import Annotation, EnsembleForecast, Score

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog

MOST_POINTS = 2_000
"""Most that is sent of any line."""
MOST_BARS = 40_000
"""Most bars that are read for one answer: more than a year of quarter hours."""
_FINE_BARS = 3_000
"""Up to so many bars what was said of each bar is read as well."""
_MOST_SCORES = 24_000
_SLICE_BARS = 1_000
_MOST_TRADES = 500

Point = Sequence[Any]


def read_range(log: EventLog, series: str, start_ms: int, end_ms: int, points: int) -> dict[str, Any]:
    """Return candles, forecasts, signals, trades, equity and labels of a stretch of time.

    Candles are put together where there are more than `points`: the first open, the highest, the lowest, the last
    close, the whole volume.

    Raises
    ------
    ApiError
        422 if the stretch is empty or longer than `MOST_BARS` bars; the message quotes both.
    """
    step_ms = step_of(series)
    if end_ms <= start_ms:
        raise ApiError(f"from = {start_ms} is not before to = {end_ms}: put the earlier time first", status=422)
    n_bars = -(-(end_ms - start_ms) // step_ms)
    if n_bars > MOST_BARS:
        raise ApiError(
            f"from {start_ms} to {end_ms} are {n_bars} bars of {series}: ask for at most {MOST_BARS} at a time",
            status=422,
        )
    bars = [
        (bar.open_time, bar.open, bar.high, bar.low, bar.close, bar.volume)
        for event in _slices(log, {"bar"}, series, start_ms, end_ms)
        if isinstance(bar := event.payload, BarClosed)
    ]
    found: dict[str, Any] = {
        "bars": candles(bars, points),
        "bars_read": len(bars),
        **{"forecasts": {}, "signals": {}, "fills": {}, "equity": {}, "labels": {}},
        "left_out": [],
    }
    _read_fills(log, series, start_ms, end_ms, found)
    if n_bars > _FINE_BARS:
        found["left_out"] = ["forecasts", "signals", "equity", "labels"]
        return found
    spoken = {"forecast", "ensemble", "signal", "account", "annotation"}
    # What is said of a bar is said at its close.
    for event in _slices(log, spoken, None, start_ms + 1, end_ms + 1):
        if event.key.rpartition("|")[0] == series:
            _sort(event, found)
    for lines in (found["forecasts"], found["equity"]):
        for name, line in lines.items():
            lines[name] = thinned(line, points)
    return found


def _read_fills(log: EventLog, series: str, start_ms: int, end_ms: int, found: dict[str, Any]) -> None:
    for role in ("champion", "challenger"):
        fills = log.read(kinds={"fill"}, key=f"{series}|{role}", start_ms=start_ms, end_ms=end_ms, limit=_MOST_TRADES)
        if fills:
            found["fills"][role] = [
                (event.event_time, fill.side, fill.price, fill.quantity, fill.fee)
                for event in fills
                if isinstance(fill := event.payload, Fill)
            ]


def _sort(event: Event, found: dict[str, Any]) -> None:
    name, time_ms = event.key.rpartition("|")[2], event.event_time
    match event.payload:
        case Forecast(p_up=p_up) | EnsembleForecast(p_up=p_up) if p_up is not None:
            found["forecasts"].setdefault(name, []).append((time_ms, round(p_up, 5)))
        case Signal(action=action, p_up=p_up) if action != "HOLD":
            found["signals"].setdefault(name, []).append((time_ms, action, p_up))
        case Account(equity=equity):
            found["equity"].setdefault(name, []).append((time_ms, equity))
        case Annotation(label=label) if label:
            found["labels"].setdefault(name, []).append((time_ms, label))


def _slices(log: EventLog, kinds: set[str], key: str | None, start_ms: int, end_ms: int) -> Iterator[Event]:
    """Read in slices of time, so that no single answer of the log is long; each slice in the order of time."""
    step_ms = (step_of(key) if key else 0) or (end_ms - start_ms) // _SLICE_BARS + 1
    width_ms = _SLICE_BARS * step_ms if key else max((end_ms - start_ms) // 8, step_ms)
    for slice_ms in range(start_ms, end_ms, width_ms):
        till_ms = min(slice_ms + width_ms, end_ms)
        events = log.read(kinds=kinds, key=key, start_ms=slice_ms, end_ms=till_ms, newest_revision=True)
        yield from sorted(events, key=lambda event: event.event_time)


def candles(bars: Sequence[Point], points: int) -> list[Point]:
    """Put bars together so that at most `points` are left.

    Examples
    --------
    >>> candles([(0, 1.0, 3.0, 1.0, 2.0, 5.0), (1, 2.0, 4.0, 0.5, 3.0, 6.0), (2, 3.0, 3.0, 3.0, 3.0, 1.0)], 2)
    [(0, 1.0, 4.0, 0.5, 3.0, 11.0), (2, 3.0, 3.0, 3.0, 3.0, 1.0)]
    """
    each = math.ceil(len(bars) / max(points, 1))
    if each <= 1:
        return list(bars)
    together: list[Point] = []
    for first in range(0, len(bars), each):
        some = bars[first : first + each]
        high, low = max(bar[2] for bar in some), min(bar[3] for bar in some)
        together.append((some[0][0], some[0][1], high, low, some[-1][4], math.fsum(bar[5] for bar in some)))
    return together


def thinned(line: Sequence[Point], points: int) -> list[Point]:
    """Keep at most `points` points of a line: the last one of each of as many equal stretches.

    Examples
    --------
    >>> thinned([(0, 1), (1, 2), (2, 3), (3, 4)], 2)
    [(1, 2), (3, 4)]
    """
    each = math.ceil(len(line) / max(points, 1))
    return (
        list(line)
        if each <= 1
        else [line[min(last, len(line) - 1)] for last in range(each - 1, len(line) + each - 1, each)]
    )


What = Literal["accuracy", "loss", "reward"]


def history(log: EventLog, series: str, names: Sequence[str], what: What, *, fee: float, points: int) -> dict[str, Any]:
    """Return how a figure of each forecaster went: accuracy and log-loss by the scores, reward by the outcomes.

    `reward` adds up the mean log return, after costs, of going long wherever a forecast was above one half.
    """
    lines: dict[str, list[Point]] = {}
    most = _MOST_SCORES // max(len(names), 1)
    for name in names:
        kind = "outcome" if what == "reward" else "score"
        events = log.read(kinds={kind}, key=f"{series}|{name}", limit=most, descending=True)
        events.sort(key=lambda event: event.event_time)
        line: list[Point] = []
        total = 0.0
        for event in events:
            match event.payload:
                case Outcome() as outcome:
                    total += reward_of(outcome.p_up, outcome.log_return, fee)
                    line.append((event.event_time, round(total, 8)))
                case Score() as score:
                    figure = score.accuracy if what == "accuracy" else score.log_loss
                    if figure is not None:
                        line.append((event.event_time, round(figure, 6)))
        lines[name] = thinned(line, points)
    return {"what": what, "lines": lines}
