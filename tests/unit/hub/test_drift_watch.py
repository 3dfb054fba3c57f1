"""Drift: a planted one is found soon and with its cause, a forecaster that stays as it is gives no alarm."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from kalibre.core.hub_events import Drift
from kalibre.hub._drift_watch import DriftWatch
from kalibre.log.replay import copy_state

HORIZON = 4
N_STREAMS = 20


def stream(
    seed: int, n: int = 6_000, *, know: float = 0.15, bold: float = 0.3, turn: int | None = None, persist: float = 0.9
) -> tuple[Any, Any]:
    """Return excess losses and forecasts of a market whose outcomes overlap; from `turn` on, the contrary is said."""
    rng = np.random.default_rng(seed)
    noise, signal = rng.normal(size=n), np.empty(n)
    signal[0] = noise[0]
    for k in range(1, n):
        signal[k] = persist * signal[k - 1] + math.sqrt(1 - persist**2) * noise[k]
    moves = rng.normal(size=n + HORIZON)
    moves[:n] += know * signal
    up = np.convolve(moves, np.ones(HORIZON), "valid")[1 : n + 1] > 0
    odds = bold * signal
    if turn is not None:
        odds[turn:] *= -1
    p = 1 / (1 + np.exp(-odds))
    return -np.log(np.where(up, p, 1 - p)) - math.log(2), p


def watch(excess: Any, p: Any, *, fixed: bool = False, **told: Any) -> list[tuple[int, Drift]]:
    """Return the alarms, each with its sample; `told` gives models and regimes by sample."""
    one = DriftWatch(fixed=fixed, horizon_bars=HORIZON)
    model, regime = told.get("model", lambda k: "m:0"), told.get("regime", lambda k: "")
    found = []
    for k in range(len(excess)):
        one.take_regime(regime(k))
        found += [(k, alarm) for alarm in one.take(float(excess[k]), float(p[k]), model(k))]
    return found


@pytest.mark.parametrize(("know", "bold"), [(0.0, 0.1), (0.0, 0.3), (0.15, 0.3), (0.5, 1.0)])
def test_who_stays_as_it_is_gives_no_alarm(know: float, bold: float) -> None:
    """Twenty streams of 6,000 forecasts each: one alarm by ADWIN or Page-Hinkley at most; measured 0, 0, 0 and 1."""
    alarms = sum(len(watch(*stream(seed, know=know, bold=bold))) for seed in range(N_STREAMS))
    assert alarms <= 1


def test_a_fixed_model_that_sees_the_same_gives_no_alarm_either() -> None:
    """Twenty streams of 12,000: at most one alarm by any of the four tests."""
    alarms = sum(len(watch(*stream(seed, n=12_000), fixed=True)) for seed in range(N_STREAMS))
    assert alarms <= 1


@pytest.mark.parametrize(("bold", "know", "most"), [(0.3, 0.15, 900), (1.0, 0.5, 220), (2.0, 1.0, 130)])
def test_a_loss_that_rises_is_found(bold: float, know: float, most: int) -> None:
    """Ten streams whose forecaster turns wrong: none is missed, and each is found within so many forecasts."""
    delays = []
    for seed in range(10):
        found = watch(*stream(seed, know=know, bold=bold, turn=3_000))
        assert found
        assert {alarm.test for _, alarm in found} <= {"adwin", "page_hinkley"}
        assert {alarm.action for _, alarm in found} == {"it goes on learning"}
        assert all(alarm.statistic > alarm.threshold for _, alarm in found)
        delays.append(found[0][0] - 3_000)
    assert min(delays) >= 0
    assert max(delays) <= most


def test_a_market_that_is_harder_for_all_gives_no_alarm() -> None:
    """Loss beyond the base rate's is what counts: the mean falling is no alarm, and losses that fall are none."""
    excess, p = stream(3, know=0.5, bold=1.0)
    assert watch(np.where(np.arange(len(excess)) < 3_000, excess, excess - 0.2), p) == []


@pytest.mark.parametrize(
    ("fixed", "told", "cause"),
    [
        (False, {}, "unknown"),
        (False, {"model": lambda k: f"m:{k >= 2_950}"}, "reinitialisation"),
        (True, {"model": lambda k: f"m{k >= 2_950}"}, "retrain"),
        (False, {"regime": lambda k: "calm" if k < 2_900 else "storm"}, "regime switch"),
        (False, {"regime": lambda k: "calm" if k < 2_000 else "storm"}, "unknown"),
        (False, {"regime": lambda k: "calm" if k < 2_900 else ""}, "unknown"),
        (True, {"model": lambda k: f"m{k >= 2_950}", "regime": lambda k: str(k // 50)}, "retrain"),
    ],
)
def test_an_alarm_names_what_lay_just_before_it(fixed: bool, told: dict[str, Any], cause: str) -> None:
    found = watch(*stream(1, know=1.0, bold=2.0, turn=3_000), fixed=fixed, **told)
    assert found[0][1].cause == cause
    assert found[0][1].action == ("retrain" if fixed else "it goes on learning")


def test_the_first_model_and_the_first_regime_are_no_cause() -> None:
    noise = np.random.default_rng(1).normal(0, 0.05, 400)
    excess = np.where(np.arange(400) < 200, -0.5, 0.5) + noise
    found = watch(excess, np.full(400, 0.5), model=lambda k: "m:0", regime=lambda k: "calm")
    assert {alarm.cause for _, alarm in found} == {"unknown"}


def test_inputs_of_a_fixed_model_that_move_are_found() -> None:
    """What it says moves to one side: PSI and Kolmogorov-Smirnov see it; who learns is not compared."""
    excess, p = stream(5, n=12_000)
    moved = np.where(np.arange(len(p)) < 8_000, p, np.clip(p + 0.1, 0, 1))
    tests = {alarm.test: k for k, alarm in watch(np.zeros(len(p)), moved, fixed=True)}
    assert {"psi", "ks"} <= set(tests)
    assert all(8_000 < k < 12_000 for k in tests.values())
    assert watch(np.zeros(len(p)), moved, fixed=False) == []
    del excess


def test_a_new_model_is_compared_with_itself_only() -> None:
    _, p = stream(5, n=12_000)
    moved = np.where(np.arange(len(p)) < 8_000, p, np.clip(p + 0.1, 0, 1))
    assert watch(np.zeros(len(p)), moved, fixed=True, model=lambda k: f"m{k >= 8_000}") == []


def test_a_test_is_quiet_after_its_alarm() -> None:
    excess = np.tile(np.r_[np.full(200, -0.2), np.full(200, 0.4)], 10) + np.random.default_rng(1).normal(0, 0.1, 4_000)
    by_test: dict[str, list[int]] = {}
    for k, alarm in watch(excess, np.full(4_000, 0.5)):
        by_test.setdefault(alarm.test, []).append(k)
    assert by_test
    assert all(np.diff(at).min(initial=500) >= 500 for at in by_test.values())


@pytest.mark.parametrize("cut", [1, 130, 3_020, 3_061])
def test_it_goes_on_from_its_state(cut: int) -> None:
    excess, p = stream(2, know=1.0, bold=2.0, turn=3_000)

    def run(*, stop: bool) -> list[tuple[int, Drift]]:
        one, found = DriftWatch(fixed=True, horizon_bars=HORIZON), []
        for k in range(4_000):
            if stop and k == cut:
                other = DriftWatch(fixed=True, horizon_bars=HORIZON)
                other.restore(copy_state(one.state()))
                assert str(other.state()) == str(one.state())
                one = other
            one.take_regime("calm" if k < 2_990 else "storm")
            found += [(k, alarm) for alarm in one.take(float(excess[k]), float(p[k]), "m")]
        return found

    assert run(stop=True) == run(stop=False) != []


def test_memory_is_bounded() -> None:
    excess, p = stream(9, n=9_000)
    one = DriftWatch(fixed=True, horizon_bars=HORIZON)
    sizes = []
    for k in range(9_000):
        one.take(float(excess[k]), float(p[k]), "m")
        if k in (6_500, 8_999):
            sizes.append(sum(getattr(value, "nbytes", len(str(value))) for value in one.state().values()))
    assert sizes[1] < 1.5 * sizes[0] < 30_000
