"""A history that is read again, laid beside what is stored: a correction is near what it corrects, or it is none."""

from __future__ import annotations

from collections.abc import Sequence

from kalibre.bars.checks import is_far, revision_limit, robust_scale
from kalibre.bars.history import bar_of
from kalibre.bars.reasons import bar_faults
from kalibre.bars.report import bar_text
from kalibre.bars.series import SeriesIngest
from kalibre.core.bars import Bar, without_news
from kalibre.core.errors import BarError
from kalibre.core.events import Event

_STRAY, _SHARE = 3, 0.02
"""Bars, and share of a chunk, that may be far from what is stored: more are another history, not its correction."""


def beside_stored(series: SeriesIngest, rows: Sequence[Bar]) -> tuple[list[Bar], list[Event]]:
    """Return the bars to judge, the stored one in the place of each that is too far from it, and those kept aside.

    Parameters
    ----------
    rows
        Bars of one chunk, oldest first.

    Raises
    ------
    BarError
        If so many are far from what is stored that this must be another instrument, or prices that the vendor has
        adjusted since: quoting the first with both prices. Nothing of the chunk is written then.
    """
    events = series.log.read(
        kinds={"bar"},
        key=series.key,
        start_ms=rows[0].open_time,
        end_ms=rows[-1].open_time + 1,
        newest_revision=True,
    )
    known_bars = (without_news(bar_of(event)) for event in events)
    stored = {bar.open_time: bar for bar in sorted(known_bars, key=lambda one: one.open_time)}
    limit = revision_limit(robust_scale([bar.close for bar in stored.values()]))
    both = [(bar, stored[bar.open_time]) for bar in rows if bar.open_time in stored and not bar_faults(bar)]
    far = {bar.open_time: (bar, known) for bar, known in both if bar != known and is_far(bar, known, limit)}
    if len(far) > max(_STRAY, _SHARE * len(both)):
        first, known = next(iter(far.values()))
        raise BarError(
            f"{len(far)} of {len(both)} bars of {series.symbol} {series.timeframe} are not those that the log has: on "
            f"{bar_text(first.open_time, series.timeframe)} the close is {first.close:g}, {known.close:g} is stored. "
            "It is another instrument, or prices that the vendor has adjusted since: ingest it under its own symbol, "
            "or with a home of its own (KALIBRE_HOME); nothing was written"
        )
    aside = [
        series.quarantine_event(bar, ("revision_jump",), f"was {known}, now {bar}", "backfilled")
        for bar, known in far.values()
    ]
    return [far[bar.open_time][1] if bar.open_time in far else bar for bar in rows], aside
