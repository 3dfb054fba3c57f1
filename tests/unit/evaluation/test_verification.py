"""The verifier catches every planted leak by its name, passes the honest twins, and says what it found."""

from __future__ import annotations

import json

import numpy as np
import pytest
from benchmarks.features_right import simulated_bars
from tests.fakes.leaks import HONEST, LEAKS

from kalibre.core.bars import Bars
from kalibre.core.errors import VerificationError
from kalibre.evaluation.alterations import altered_futures, choose_cuts, other_histories
from kalibre.evaluation.pipeline import verify_features
from kalibre.evaluation.verification import Table, verify
from kalibre.features.engine import FeatureSpec


@pytest.fixture(scope="module")
def bars() -> Bars:
    return simulated_bars(1_200, seed=3)


@pytest.mark.parametrize("name", LEAKS)
def test_planted_leak_is_caught_by_name(name: str, bars: Bars) -> None:
    function, warmup, kinds = LEAKS[name]
    report = verify(function, bars, warmup={name: warmup}, cuts=30, altered_cuts=8, starts=3)
    assert not report.clean
    assert list(report.offenders) == [name]
    verdict = report.columns[name]
    caught = {kind for kind in ("rewritten", "mismatched", "start_dependent") if getattr(verdict, kind)}
    assert caught == kinds
    assert verdict.first_row is not None
    assert f"{name}: " in str(report)
    with pytest.raises(VerificationError, match=name):
        report.require_clean()


@pytest.mark.parametrize("name", HONEST)
def test_honest_twin_passes(name: str, bars: Bars) -> None:
    function, warmup = HONEST[name]
    report = verify(function, bars, warmup={name: warmup}, cuts=30, altered_cuts=8, starts=3)
    assert report.clean, str(report)
    report.require_clean()


def test_only_the_leaking_column_of_many_is_named(bars: Bars) -> None:
    leak, honest = LEAKS["centred_window"][0], HONEST["trailing_window"][0]
    report = verify(
        lambda b: {**honest(b), **leak(b)}, bars, warmup={"trailing_window": 4, "centred_window": 0}, cuts=20
    )
    assert list(report.offenders) == ["centred_window"]
    assert report.columns["centred_window"].look_ahead_bars == 2


def test_warmup_one_bar_too_short_is_caught(bars: Bars) -> None:
    function, _ = HONEST["trailing_window"]
    report = verify(function, bars, warmup={"trailing_window": 3}, cuts=5)
    assert report.start_dependent > 0
    assert report.rewritten == report.mismatched == 0


def test_progress_is_told_stage_by_stage(bars: Bars) -> None:
    function, warmup = HONEST["trailing_window"]
    told: list[tuple[str, int, int]] = []
    verify(
        function,
        bars,
        warmup={"trailing_window": warmup},
        cuts=[50, 600],
        altered_cuts=1,
        starts=2,
        progress=lambda *step: told.append(step),
    )
    assert told == [
        ("cuts", 1, 2),
        ("cuts", 2, 2),
        ("altered futures", 1, 1),
        ("other histories", 1, 2),
        ("other histories", 2, 2),
    ]


def test_report_is_json_and_counts_trials(bars: Bars) -> None:
    function, warmup = HONEST["trailing_window"]
    report = verify(
        function, bars, warmup={"trailing_window": warmup}, cuts=[100, 600, 1_200], altered_cuts=2, starts=2
    )
    told = json.loads(json.dumps(report.as_dict()))
    assert told["clean"]
    assert (told["cuts"], told["alterations"], told["starts"]) == (3, 12, 10)
    assert str(report).startswith("0 rewritten, 0 mismatched, 0 start-dependent")


def test_too_few_bars_for_the_warmup_are_refused(bars: Bars) -> None:
    with pytest.raises(VerificationError, match="warm-up of 320"):
        verify(HONEST["long_warmup"][0], bars[:300], warmup={"long_warmup": 320})


def test_column_without_warmup_or_shape_is_refused(bars: Bars) -> None:
    with pytest.raises(VerificationError, match="declare no warm-up"):
        verify(lambda b: {"x": b.close}, bars, warmup={})
    with pytest.raises(VerificationError, match="shape"):
        verify(lambda b: {"x": b.close[1:]}, bars, warmup={"x": 0})
    with pytest.raises(VerificationError, match="missing"):
        verify(lambda b: {"x": b.close, **({"y": b.close} if len(b) > 500 else {})}, bars, warmup={"x": 0, "y": 0})
    with pytest.raises(VerificationError, match="shape"):
        verify(lambda b: Table(("x",), b.close[1:, None]), bars, warmup={"x": 0})


def test_random_callable_is_refused(bars: Bars) -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(VerificationError, match="two runs"):
        verify(lambda b: {"noise": rng.normal(size=len(b))}, bars, warmup={"noise": 0})


def test_alterations_are_sound_bars(bars: Bars) -> None:
    rng = np.random.default_rng(5)
    for _, tail in altered_futures(bars[600:], rng):
        tail.check()
    for _, head in other_histories(bars[:600], rng):
        if head is not None:
            head.check()


def test_cuts_are_dense_at_edges_boundaries_and_holes(bars: Bars) -> None:
    holed = bars[np.r_[0:700, 760:1_200]]
    cuts = choose_cuts(holed, 40, np.random.default_rng(2))
    n = len(holed)
    assert {1, 2, 3, n - 1, n} <= set(cuts)
    assert {699, 700, 701} <= set(cuts)
    crossed = np.flatnonzero(np.diff(holed.close_time // 86_400_000)) + 1
    assert set(cuts) & set(crossed.tolist())


def test_features_are_verified_bar_by_bar_too(bars: Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = FeatureSpec("15m", columns=("range_relative",))
    assert verify_features(bars, spec, cuts=5).clean
    from kalibre.features.engine import FeatureEngine

    honest = FeatureEngine.step
    monkeypatch.setattr(FeatureEngine, "step", lambda self, bar: honest(self, bar) * 1.5)
    report = verify_features(bars, spec, cuts=5)
    assert report.mismatched == len(bars) - 1
    assert report.columns["range_relative"].first_trial == "computed bar by bar"
