"""Whether news helps is judged on markets where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from kalibre.bars.calendars import get_calendar
from kalibre.core.bars import Bars
from kalibre.core.settings import Settings
from kalibre.core.text_events import HeadlineScore
from kalibre.language.headlines.backtest import NewsBacktest, _verdict, news_backtest

HOUR = 3_600_000
START = 1_600_000_000_000 // HOUR * HOUR
SETTINGS = Settings(market={"timeframe": "1h"}, model={"folds": 3, "rounds": 60})
Scores = list[tuple[int, HeadlineScore]]


def _market(strength: float, n_bars: int = 4_000, n_news: int = 500) -> tuple[Bars, Scores]:
    rng = np.random.default_rng(5)
    open_time = START + np.arange(n_bars) * HOUR
    moves = rng.normal(0, 0.004, n_bars)
    at = np.sort(rng.choice(n_bars - 50, n_news, replace=False))
    signs = rng.choice([-1.0, 1.0], n_news)
    for place, sign in zip(at.tolist(), signs.tolist(), strict=True):
        moves[place + 1 : place + 5] += sign * strength
    close = 100 * np.exp(np.cumsum(moves))
    opened = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
    bars = Bars("BTCUSDT", "1h", open_time, opened, high, low, close, np.ones(n_bars))
    scores = [
        (
            int(bars.close_time[place]),
            HeadlineScore(
                headline=f"h{place}",
                story=f"s{place}",
                asset="BTC",
                impact=0.8 * sign,
                confidence=0.8,
                horizon="intraday",
                model="m",
            ),
        )
        for place, sign in zip(at.tolist(), signs.tolist(), strict=True)
    ]
    return bars, scores


def _judged(bars: Bars, scores: Scores, *, until: int | None = 0) -> NewsBacktest:
    return news_backtest(
        bars, scores, SETTINGS, get_calendar("24/7"), relevance={"BTC": 1.0}, trained_until_ms=until, placebos=19
    )


@pytest.mark.slow
def test_news_that_moves_the_market_helps() -> None:
    found = _judged(*_market(0.008))
    assert found.verdict == "helps"
    assert found.gain_low is not None
    assert found.gain_low > 0
    assert found.placebo_p == 0.05
    assert found.correlation is not None
    assert found.correlation > 0.2


@pytest.mark.slow
def test_news_that_says_nothing_cannot_be_told_from_chance() -> None:
    found = _judged(*_market(0.0))
    assert found.verdict == "cannot tell"
    assert "chance" in found.reason


def test_a_scorer_that_may_know_the_future_proves_nothing() -> None:
    """A planted leak: scores that were made by reading tomorrow's prices are refused by the scorer's own date."""
    bars, scores = _market(0.004)
    rng = np.random.default_rng(0)
    ahead = np.sign(np.log(bars.close[5:] / bars.close[1:-4]))
    leaked = [
        (
            int(bars.close_time[place]),
            HeadlineScore(
                headline=f"h{place}",
                story=f"s{place}",
                asset="BTC",
                impact=float(ahead[place]) or 0.1,
                confidence=0.9,
                horizon="intraday",
                model="m",
            ),
        )
        for place in np.sort(rng.choice(len(ahead) - 5, 400, replace=False)).tolist()
    ]
    found = _judged(bars, leaked, until=int(bars.close_time[-1]))
    assert found.verdict == "cannot tell"
    assert "may know the future" in found.reason
    assert found.gain is None
    unknown = _judged(bars, scores, until=None)
    assert (unknown.verdict, unknown.gain) == ("cannot tell", None)
    assert "does not say until when" in unknown.reason


def test_too_few_headlines_prove_nothing() -> None:
    bars, scores = _market(0.004)
    found = _judged(bars, scores[:20])
    assert found.verdict == "cannot tell"
    assert "20 stories" in found.reason


@pytest.mark.parametrize(
    ("low", "high", "p", "verdict"),
    [
        (0.01, 0.02, 0.05, "helps"),
        (0.01, 0.02, 0.10, "cannot tell"),  # a placebo does as well
        (-0.02, -0.01, 1.0, "hurts"),
        (-0.02, -0.01, 0.95, "cannot tell"),  # a placebo does as badly
        (-0.01, 0.01, 0.05, "cannot tell"),
    ],
)
def test_a_verdict_stands_outside_what_placebos_do(low: float, high: float, p: float, verdict: str) -> None:
    assert _verdict(low, high, p, 19)[0] == verdict
