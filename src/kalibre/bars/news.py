"""What the headlines known at a bar's close say for a symbol: the fold behind `snews_impact` and `snews_conf`.

Row t holds what was known at the close of bar t: scores whose event time is not later. Each fades by the half-life of
its horizon and is dropped whole after six of them, so that a row does not depend on when the history began. A story
counts once, from its newest report on, however many wires retell it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import FeatureError
from kalibre.core.settings import Settings
from kalibre.core.text_events import HeadlineScore
from kalibre.core.timeframe import DAY_MS

COLUMNS: Final = ("snews_impact", "snews_conf")

HALF_LIFE_MS: Final[Mapping[str | None, int]] = {
    "intraday": 4 * 3_600_000,
    "daily": DAY_MS,
    "weekly": 5 * DAY_MS,
    None: DAY_MS,
}
LIVES: Final = 6
"""Half-lives after which a score is dropped: less than 1/64 of it is left."""

_FORGET_EVERY: Final = 64
"""Rows between two looks for what has faded: what has is passed over in between."""

LONGEST_MS: Final = LIVES * max(HALF_LIFE_MS.values())
"""Warm-up: a row whose history reaches back so far does not depend on when the history began."""


_Place = tuple[int, tuple[str, str, str], float, float, int]


@dataclass(frozen=True)
class _Report:
    time_ms: int
    order: tuple[str, str, str]
    weight: float
    impact: float
    half_life_ms: int

    @cached_property
    def place(self) -> _Place:
        """Where it stands among others, whatever came in first."""
        return self.time_ms, self.order, self.weight, self.impact, self.half_life_ms


class NewsFeatures:
    """Folds headline scores, bar by bar; `batch` is `at` in a loop.

    Parameters
    ----------
    relevance
        Weight in (0, 1] of each asset whose headlines matter for the symbol: `{"THYAO": 1, "BIST100": 0.5}`.

    Raises
    ------
    FeatureError
        If there is no asset, or a weight lies outside (0, 1].

    Examples
    --------
    >>> fold = NewsFeatures({"THYAO": 1.0})
    >>> said = {"asset": "THYAO", "impact": -0.5, "confidence": 0.8, "horizon": "daily"}
    >>> fold.add(1_000, HeadlineScore(headline="h", story="s", model="m", **said))
    >>> fold.at(999).tolist(), fold.at(1_000).tolist(), fold.at(1_000 + 86_400_000).tolist()
    ([0.0, 0.0], [-0.4, 0.8], [-0.2, 0.4])
    """

    def __init__(self, relevance: Mapping[str, float]) -> None:
        wrong = {asset: weight for asset, weight in relevance.items() if not 0 < weight <= 1}
        if wrong or not relevance:
            raise FeatureError(f"relevance {dict(relevance)} cannot be used: weigh each asset above 0 and at most 1")
        self._relevance = dict(relevance)
        self._reports: dict[tuple[str, str], list[_Report]] = {}
        self._close_ms: int | None = None
        """The close that `_newest` is of; None where it has to be found anew."""
        self._newest: dict[tuple[str, str], _Report] = {}
        self._ahead: list[tuple[_Place, tuple[str, str], _Report]] = []

    def add(self, event_time: int, score: HeadlineScore) -> None:
        """Take in a score that may be used from its event time on; in any order, repeated or not."""
        weight = self._relevance.get(score.asset)
        if weight is None:
            return
        found = _Report(
            event_time,
            (score.asset, score.headline, score.model),
            weight * score.confidence,
            score.impact,
            HALF_LIFE_MS[score.horizon],
        )
        story = (score.asset, score.story)
        reports = self._reports.setdefault(story, [])
        if found in reports:
            return
        reports.append(found)
        if self._close_ms is not None and event_time > self._close_ms:
            heapq.heappush(self._ahead, (found.place, story, found))
        else:
            self._close_ms = None

    def at(self, close_ms: int) -> NDArray[np.float64]:
        """Return the row of a bar that closes at `close_ms`, shape (2,): `snews_impact` and `snews_conf`.

        `snews_impact` in [-1, 1] is the sum of impacts, each weighed by relevance, confidence and how far it has
        faded, over the sum of weights where that is above 1. `snews_conf` in [0, 1] is the probability that at least
        one of them is right, were they independent. Both are 0 where there is no news. What lies in the future at
        `close_ms` is left for later.
        """
        self._go_to(close_ms)
        total = weights = 0.0
        wrong = 1.0
        for one in self._newest.values():
            age = close_ms - one.time_ms
            if age > LIVES * one.half_life_ms:
                continue
            # Scalar powers in one order: the same bits however many bars are asked for at once.
            weight = one.weight * 0.5 ** (age / one.half_life_ms)
            total += weight * one.impact
            weights += weight
            wrong *= 1.0 - weight
        return np.array([total / max(1.0, weights), 1.0 - wrong])

    def forget(self, close_ms: int) -> None:
        """Drop what no later bar can see."""
        self._go_to(close_ms)
        seen = {story: one for story, one in self._newest.items() if close_ms - one.time_ms <= LIVES * one.half_life_ms}
        self._newest = seen
        self._reports = {story: [one] for story, one in seen.items()}
        for _, story, one in self._ahead:
            self._reports.setdefault(story, []).append(one)

    def _go_to(self, close_ms: int) -> None:
        """Find the newest report of each story that was known at a close, in the order of their places.

        Which came in first does not matter. From one close to a later one only what came in between is looked at.
        """
        if self._close_ms is None or close_ms < self._close_ms:
            self._newest, self._ahead = {}, []
            for story, reports in self._reports.items():
                self._ahead += [(one.place, story, one) for one in reports]
            heapq.heapify(self._ahead)
        self._close_ms = close_ms
        while self._ahead and self._ahead[0][2].time_ms <= close_ms:
            _, story, one = heapq.heappop(self._ahead)
            self._newest.pop(story, None)
            self._newest[story] = one


def news_rows(
    scores: Iterable[tuple[int, HeadlineScore]], close_ms: NDArray[np.int64], relevance: Mapping[str, float]
) -> NDArray[np.float64]:
    """Return both columns for every bar, shape (n_bars, 2): `NewsFeatures` stepped over them.

    Parameters
    ----------
    scores
        (event time, score), in any order.
    close_ms
        Shape (n_bars,), closes, rising.
    relevance
        As for `NewsFeatures`.
    """
    waiting = sorted(scores, key=lambda pair: (pair[0], pair[1].asset, pair[1].headline, pair[1].model))
    fold = NewsFeatures(relevance)
    rows = np.empty((len(close_ms), len(COLUMNS)))
    place = 0
    for row, close in enumerate(close_ms.tolist()):
        while place < len(waiting) and waiting[place][0] <= close:
            fold.add(*waiting[place])
            place += 1
        rows[row] = fold.at(close)
        if row % _FORGET_EVERY == 0:
            fold.forget(close)
    return rows


def relevance_of(symbol: str, calendar: str) -> dict[str, float]:
    """Return which assets' headlines matter for a symbol, unless the user says otherwise.

    A coin's pair stands for its coin, a share of Borsa Istanbul also hears the market at half weight.

    Examples
    --------
    >>> relevance_of("BTCUSDT", "24/7"), relevance_of("THYAO", "XIST"), relevance_of("XU100", "XIST")
    ({'BTC': 1.0}, {'THYAO': 1.0, 'BIST100': 0.5}, {'BIST100': 1.0})
    """
    if calendar == "XIST":
        return {"BIST100": 1.0} if symbol in {"XU100", "BIST100"} else {symbol: 1.0, "BIST100": 0.5}
    for quote in ("USDT", "USDC", "BUSD", "FDUSD", "TRY", "USD", "EUR", "BTC"):
        if symbol.endswith(quote) and symbol != quote:
            return {symbol.removesuffix(quote).rstrip("-/_"): 1.0}
    return {symbol: 1.0}


def relevance_for(settings: Settings, symbol: str) -> dict[str, float]:
    """Return which assets' headlines matter for a symbol, by the settings or else by its market."""
    return settings.language.relevance.get(symbol) or relevance_of(symbol, settings.market.calendar)
