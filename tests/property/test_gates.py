"""Laws of the gates: no unknown figure passes, and a better figure never turns a pass into a refusal."""

from __future__ import annotations

import math
from dataclasses import fields, replace

from hypothesis import given
from hypothesis import strategies as st

from kalibre.core.settings import GateSettings
from kalibre.evaluation.gates import GateFigures, GateWindow, judge

LESS_IS_BETTER = {"ece", "max_drawdown"}
NUMBERS = st.floats(-10, 10)
WINDOWS = st.builds(GateWindow, **{f.name: NUMBERS for f in fields(GateWindow)})
FIGURES = st.builds(
    GateFigures,
    walk_forward=WINDOWS,
    final=WINDOWS | st.none(),
    dsr=st.floats(0, 1),
    n_trials=st.integers(1, 5000),
    n_trades=st.integers(0, 500),
    dirty_columns=st.integers(0, 90),
    unbeaten=st.lists(st.sampled_from(["persistence", "buy_and_hold"]), unique=True).map(tuple),
    final_seen=st.booleans(),
)
NAMES = st.sampled_from([f.name for f in fields(GateWindow)])


def _passed(figures: GateFigures) -> set[str]:
    return {verdict.name for verdict in judge(figures, GateSettings()) if verdict.passed}


@given(FIGURES, NAMES, st.floats(0, 5))
def test_a_better_figure_never_fails_what_passed(figures, name, by):
    now = getattr(figures.walk_forward, name)
    better = replace(figures.walk_forward, **{name: now - by if name in LESS_IS_BETTER else now + by})
    assert _passed(figures) <= _passed(replace(figures, walk_forward=better))


@given(FIGURES, NAMES, st.sampled_from([math.nan, math.inf, -math.inf]))
def test_what_is_no_number_never_passes_more(figures, name, unknown):
    for window in ("walk_forward", "final"):
        if getattr(figures, window) is None:
            continue
        broken = replace(figures, **{window: replace(getattr(figures, window), **{name: unknown})})
        for verdict in judge(broken, GateSettings()):
            assert math.isfinite(verdict.figure) or not verdict.passed


@given(FIGURES)
def test_every_verdict_speaks_both_languages(figures):
    for verdict in judge(figures, GateSettings()):
        assert verdict.text("en").endswith(".")
        assert verdict.text("tr").endswith(".")
        assert verdict.text("en") != verdict.text("tr")
