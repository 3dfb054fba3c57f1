"""The checker: each rule by a bar that breaks it, and the level shifts that it has to believe in the end."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from kalibre.bars.calendars import get_calendar
from kalibre.bars.checks import WINDOW, BarChecker
from kalibre.bars.reasons import REASONS, bar_faults, in_order, raw_text
from kalibre.core.bars import Bar

STEP = 900_000
NOW = 10**13


def walk(n: int, *, start: int = 0, price: float = 100.0, sigma: float = 0.002, seed: int = 1) -> list[Bar]:
    rng = np.random.default_rng(seed)
    close = price * np.exp(np.cumsum(rng.normal(0, sigma, n)))
    open_ = np.concatenate([[price], close[:-1]])
    return [
        Bar(
            open_time=(start + i) * STEP,
            open=float(open_[i]),
            high=float(max(open_[i], close[i]) * 1.001),
            low=float(min(open_[i], close[i]) * 0.999),
            close=float(close[i]),
            volume=10.0,
        )
        for i in range(n)
    ]


def times(bar: Bar, factor: float) -> Bar:
    return msgspec.structs.replace(
        bar, open=bar.open * factor, high=bar.high * factor, low=bar.low * factor, close=bar.close * factor
    )


def primed(n: int = 300) -> tuple[BarChecker, list[Bar]]:
    bars = walk(n + 20)
    checker = BarChecker("X", "15m", get_calendar("24/7"))
    checker.prime(bars[:n])
    return checker, bars[n:]


def actions(checker: BarChecker, bars: list[Bar]) -> list[tuple[int, str]]:
    return [(v.bar.open_time, v.action) for bar in bars for v in checker.judge(bar, now_ms=NOW)]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"close": float("nan")}, "not_finite"),
        ({"volume": float("nan")}, "not_finite"),
        ({"high": float("inf")}, "not_finite"),
        ({"quote_volume": float("nan")}, "not_finite"),
        ({"low": 0.0}, "price_not_positive"),
        ({"open": -1.0}, "price_not_positive"),
        ({"high": 0.5, "low": 2.0}, "high_below_low"),
        ({"open": 5.0}, "open_outside_range"),
        ({"close": 0.1}, "close_outside_range"),
        ({"volume": -1.0}, "volume_negative"),
        ({"trades": -1.0}, "volume_negative"),
        ({"quote_volume": 1e6}, "quote_volume_mismatch"),
        ({"volume": 0.0, "quote_volume": 3.0}, "quote_volume_mismatch"),
        ({"taker_buy_volume": 11.0}, "taker_volume_mismatch"),
        ({"trades": 0.0}, "trades_mismatch"),
    ],
)
def test_a_bar_that_is_none_is_named(change: dict[str, float], code: str) -> None:
    sound = Bar(open_time=0, open=1.0, high=2.0, low=0.5, close=1.5, volume=10.0)
    assert bar_faults(sound) == ()
    assert code in bar_faults(msgspec.structs.replace(sound, **change))
    assert code in REASONS


def test_rounding_of_adjusted_prices_is_brought_in_order() -> None:
    bar = Bar(open_time=0, open=1.0, high=1.5, low=1.0, close=1.5 * (1 + 4e-16), volume=1.0)
    assert bar_faults(bar) == ()
    assert in_order(bar).high == bar.close
    assert bar_faults(msgspec.structs.replace(bar, close=1.5 * (1 + 1e-6))) == ("close_outside_range",)


def test_raw_text_keeps_what_json_cannot() -> None:
    raw = raw_text(Bar(open_time=1, open=float("nan"), high=1, low=1, close=1, volume=1))
    assert raw["open"] == "nan"
    assert "trades" not in raw


def test_a_spike_that_reverts_is_quarantined_and_leaves_no_trace() -> None:
    checker, rest = primed()
    control, _ = primed()
    verdicts = [v for bar in [times(rest[0], 1.2), *rest[1:4]] for v in checker.judge(bar, now_ms=NOW)]
    spike = [v for v in verdicts if v.action == "quarantine"]
    assert [v.bar.open_time for v in spike] == [rest[0].open_time]
    assert spike[0].reasons == ("spike",)
    for bar in rest[1:4]:
        control.judge(bar, now_ms=NOW)
    assert checker.state() == control.state()


def test_a_level_shift_is_held_then_released() -> None:
    checker, rest = primed()
    shifted = [times(bar, 0.5) for bar in rest[:5]]
    assert actions(checker, shifted[:2]) == [(shifted[0].open_time, "hold"), (shifted[1].open_time, "hold")]
    assert [bar.open_time for bar in checker.held] == [bar.open_time for bar in shifted[:2]]
    assert actions(checker, shifted[2:3]) == [(bar.open_time, "accept") for bar in shifted[:3]]
    assert not checker.held
    assert actions(checker, shifted[3:]) == [(bar.open_time, "accept") for bar in shifted[3:]]


def test_a_crash_that_was_traded_is_believed_after_one_bar() -> None:
    checker, rest = primed()
    crash = msgspec.structs.replace(rest[0], low=rest[0].open * 0.7, close=rest[0].open * 0.7)
    factor = crash.close / rest[1].open
    after = times(rest[1], factor)
    assert actions(checker, [crash]) == [(crash.open_time, "hold")]
    assert actions(checker, [after]) == [(crash.open_time, "accept"), (after.open_time, "accept")]


def test_a_crash_that_is_traded_back_at_once_is_sound_too() -> None:
    checker, rest = primed()
    bottom = rest[0].open * 0.7
    crash = msgspec.structs.replace(rest[0], low=bottom, close=bottom)
    back = msgspec.structs.replace(rest[1], open=bottom, low=bottom, close=rest[0].open, high=rest[0].open * 1.001)
    following = [back, *(times(bar, back.close / rest[2].open) for bar in rest[2:5])]
    verdicts = actions(checker, [crash, *following])
    assert "quarantine" not in {action for _, action in verdicts}
    assert {time for time, action in verdicts if action == "accept"} == {bar.open_time for bar in [crash, *following]}


def test_a_spike_while_a_shift_waits_does_not_cost_the_shift() -> None:
    checker, rest = primed()
    shifted = [times(bar, 2.0) for bar in rest]
    feed = [shifted[0], times(shifted[1], 50.0), *shifted[2:6]]
    verdicts = [v for bar in feed for v in checker.judge(bar, now_ms=NOW)]
    assert [v.bar.open_time for v in verdicts if v.action == "quarantine"] == [shifted[1].open_time]
    assert {v.bar.open_time for v in verdicts if v.action == "accept"} == {
        bar.open_time for bar in [shifted[0], *shifted[2:6]]
    }


@pytest.mark.parametrize("factor", [1e6, 1e-6])
def test_a_millionfold_first_bar_does_not_become_the_level(factor: float) -> None:
    bars = walk(5)
    checker = BarChecker("X", "15m", get_calendar("24/7"))
    verdicts = [v for bar in [times(bars[0], factor), *bars[1:]] for v in checker.judge(bar, now_ms=NOW)]
    bad = [v for v in verdicts if v.action == "quarantine"]
    assert [(v.bar.open_time, v.reasons) for v in bad] == [(0, ("price_magnitude",))]
    assert sum(v.action == "accept" for v in verdicts) >= 3


def test_a_lone_first_bar_is_accepted_when_the_history_ends() -> None:
    checker = BarChecker("X", "15m", get_calendar("24/7"))
    [bar] = walk(1)
    assert [v.action for v in checker.judge(bar, now_ms=NOW)] == ["hold"]
    assert [v.action for v in checker.finish()] == ["accept"]
    assert checker.finish() == []


def test_nothing_is_quarantined_for_ever() -> None:
    checker, rest = primed()
    wild = [times(bar, 1.25 ** (i % 2 * 2 + i)) for i, bar in enumerate(walk(60, start=300, price=rest[0].open))]
    verdicts = actions(checker, wild)
    assert any(action == "accept" for _, action in verdicts[-30:])


def test_the_state_is_what_the_last_bars_make_it() -> None:
    bars = walk(900)
    checker = BarChecker("X", "15m", get_calendar("24/7"))
    for bar in bars:
        checker.judge(bar, now_ms=NOW)
    resumed = BarChecker("X", "15m", get_calendar("24/7"))
    resumed.prime(bars[-WINDOW - 1 :])
    assert resumed.state() == checker.state()
    assert resumed.scale == checker.scale


def test_times_that_cannot_be() -> None:
    checker, rest = primed()
    bar = rest[0]

    def codes(bar: Bar, now_ms: int, **kind: str) -> tuple[str, ...]:
        before = checker.state()
        [verdict] = checker.judge(bar, now_ms=now_ms, **kind)
        assert checker.state() == before
        return verdict.reasons

    assert codes(bar, bar.open_time - 60_000) == ("future_time",)
    assert codes(bar, bar.open_time + 60_000) == ("not_closed",)
    assert codes(msgspec.structs.replace(bar, open_time=bar.open_time + 1), NOW) == ("off_grid",)
    assert codes(bar, NOW, symbol="Y") == ("symbol_mismatch",)
    assert codes(bar, NOW, timeframe="1h") == ("timeframe_mismatch",)
    # Within the clocks' tolerance a bar is closed.
    assert [v.action for v in checker.judge(bar, now_ms=bar.open_time + STEP - 1_000)] == ["accept"]


def test_sessions_of_an_exchange() -> None:
    checker = BarChecker("THYAO", "1d", get_calendar("XIST"))
    saturday = Bar(open_time=1_712_966_400_000, open=1, high=1, low=1, close=1, volume=1)
    assert checker.judge(saturday, now_ms=NOW)[0].reasons == ("outside_session",)
    monday = msgspec.structs.replace(saturday, open_time=saturday.open_time + 2 * 86_400_000, volume=0.0)
    assert checker.judge(monday, now_ms=NOW)[0].action == "no_trade"
    crypto = BarChecker("X", "1d", get_calendar("24/7"))
    assert crypto.judge(monday, now_ms=NOW)[0].action == "hold"  # the first bar; no volume is no fault here


def test_older_bars_are_believed_only_from_a_trusted_answer() -> None:
    bars = walk(310)
    checker = BarChecker("X", "15m", get_calendar("24/7"))
    checker.prime([*bars[:304], *bars[305:]])
    known, late = bars[302], bars[304]
    revised = msgspec.structs.replace(known, volume=11.0)
    assert checker.judge(known, now_ms=NOW)[0].action == "duplicate"
    assert checker.judge(revised, now_ms=NOW)[0].action == "verify"
    assert checker.judge(late, now_ms=NOW)[0].action == "verify"
    assert checker.judge(revised, now_ms=NOW, trusted=True)[0].action == "revise"
    assert checker.judge(late, now_ms=NOW, trusted=True)[0].action == "accept"
    assert checker.judge(times(known, 1.5), now_ms=NOW, trusted=True)[0].reasons == ("revision_jump",)
    in_time = BarChecker("X", "15m", get_calendar("24/7"))
    in_time.prime([revised if bar is known else bar for bar in bars])
    assert checker.state() == in_time.state()


def test_a_market_that_seldom_moves_has_a_scale_all_the_same() -> None:
    flat = [Bar(open_time=i * STEP, open=5.0, high=5.0, low=5.0, close=5.0, volume=1.0) for i in range(100)]
    checker = BarChecker("X", "15m", get_calendar("24/7"))
    checker.prime(flat)
    assert checker.scale == 1e-4
    tick = Bar(open_time=100 * STEP, open=5.02, high=5.02, low=5.02, close=5.02, volume=1.0)
    assert checker.judge(tick, now_ms=NOW)[0].action == "accept"


def test_a_late_bar_before_one_that_is_held_is_judged_in_its_place() -> None:
    checker, rest = primed()
    control, _ = primed()
    crash = msgspec.structs.replace(rest[0], low=rest[0].open * 0.7, close=rest[0].open * 0.7)
    after = [times(bar, crash.close / rest[1].open) for bar in rest[1:6]]
    assert checker.judge(after[0], now_ms=NOW)[0].action == "hold"
    assert checker.judge(crash, now_ms=NOW)[0].action == "verify"
    verdicts = checker.judge(crash, now_ms=NOW, trusted=True)
    verdicts += [v for bar in after[1:] for v in checker.judge(bar, now_ms=NOW)]
    assert {v.bar.open_time for v in verdicts if v.action == "accept"} == {bar.open_time for bar in [crash, *after]}
    for bar in [crash, *after]:
        control.judge(bar, now_ms=NOW)
    assert checker.state() == control.state()


def test_the_source_corrects_a_bar_that_is_held() -> None:
    checker, rest = primed()
    wrong = times(rest[0], 1.4)
    checker.judge(wrong, now_ms=NOW)
    verdicts = checker.judge(rest[0], now_ms=NOW, trusted=True)
    assert [(v.bar, v.action) for v in verdicts] == [(rest[0], "accept"), (wrong, "quarantine")]
    assert verdicts[1].reasons == ("duplicate_conflict",)
