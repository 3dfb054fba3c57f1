"""Where an exchange limits a session's move, a bar beyond it waits for the next ones: no sound bar is lost by that."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.bars.test_action_search import DAYS, share, times

from kalibre.bars.calendars import beyond_limit, breaks_limit, daily_limit, get_calendar, sessions_between
from kalibre.bars.checks import BarChecker, Verdict
from kalibre.core.bars import Bar

XIST = get_calendar("XIST")


def judged(bars: list[Bar], calendar: str = "XIST") -> tuple[list[Verdict], BarChecker]:
    checker = BarChecker("X", "1d", get_calendar(calendar))
    return [verdict for bar in bars for verdict in checker.judge(bar, now_ms=10**13)], checker


@given(
    st.integers(0, 200), st.integers(5, 55),
    st.one_of(st.floats(1.12, 30.0), st.floats(0.03, 0.66)),
    st.lists(st.sampled_from([0.901, 0.95, 1.05, 1.099]), min_size=3, max_size=3),
)  # fmt: skip
def test_no_sound_bar_is_lost_whatever_the_split_and_the_days_after_it(
    seed: int, at: int, factor: float, after: list[float]
) -> None:
    """Also where the next days open at the limit, back towards the old price."""
    bars = share(60, splits={at: factor}, nights={at + 1 + i: move for i, move in enumerate(after)}, seed=seed)
    verdicts, checker = judged(bars)
    assert not any(verdict.action == "quarantine" for verdict in verdicts)
    assert [v.bar for v in verdicts if v.action == "accept"] == bars[: len(bars) - len(checker.held)]
    assert len(checker.held) <= 2


def test_a_small_bonus_issue_is_held_until_two_more_bars_confirm_it() -> None:
    verdicts, _ = judged(share(60, splits={50: 1.15}, nights={50: 1.0}))
    held = [int(np.searchsorted(DAYS, v.bar.open_time)) for v in verdicts if v.action == "hold"]
    assert held == [0, 50, 51]
    released = [v for v in verdicts if v.detail == "held back until confirmed"][-1]
    assert int(np.searchsorted(DAYS, released.bar.open_time)) == 50


def wrong_at_50(factor: float) -> list[Bar]:
    bars = share(60, nights={51: 1.0})
    return [*bars[:50], times(bars[50], factor), *bars[51:]]


@pytest.mark.parametrize("factor", [1.15, 1.3, 0.85])
def test_a_wrong_bar_beyond_the_limit_is_kept_aside_when_the_market_opens_where_it_was(factor: float) -> None:
    bars = wrong_at_50(factor)
    assert [v.bar for v in judged(bars)[0] if v.action == "quarantine"] == [bars[50]]


def test_without_a_limit_such_a_bar_would_be_learnt_from() -> None:
    """The planted failure: the same bars on an exchange of which no limit is known."""
    days = get_calendar("XNYS").expected_opens("1d", 1_672_531_200_000, 1_704_067_200_000).tolist()
    bars = [Bar(**{**as_dict(bar), "open_time": time}) for bar, time in zip(wrong_at_50(1.15), days, strict=False)]
    assert {v.action for v in judged(bars, "XNYS")[0]} == {"hold", "accept"}


def as_dict(bar: Bar) -> dict[str, float]:
    return {name: getattr(bar, name) for name in Bar.__struct_fields__}


def test_a_move_to_the_limit_waits_for_nobody() -> None:
    verdicts, _ = judged(share(60, nights={40: 0.901, 41: 0.901, 45: 1.099}))
    assert [v.action for v in verdicts] == ["hold", "accept", *["accept"] * 59]


@given(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5), st.integers(1, 5))
def test_open_and_close_must_both_be_out_of_reach(overnight: float, move: float, sessions: int) -> None:
    beyond = beyond_limit(overnight, move, sessions, 0.1)
    assert beyond == beyond_limit(move, overnight, sessions, 0.1)
    for one in (overnight, move):
        if sessions * math.log(0.9) <= one <= sessions * math.log(1.1):
            assert beyond <= 0
    if breaks_limit(overnight, move, sessions, 0.1):
        assert beyond > 0
        assert overnight * move > 0
    assert beyond_limit(overnight, move, sessions + 1, 0.1) <= beyond


def test_limits_and_sessions_are_the_calendars() -> None:
    assert [daily_limit(get_calendar(name)) for name in ("XIST", "XNYS", "24/7", "forex")] == [0.1, None, None, None]
    friday, monday = int(DAYS[4]), int(DAYS[5])
    assert monday - friday == 3 * 86_400_000
    assert sessions_between(XIST, friday, monday) == 1
    assert sessions_between(XIST, friday, friday + 8 * 3_600_000) == 0
