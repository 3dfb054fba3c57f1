"""Gates refuse what falls short, by name, figure and bar, in both languages."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kalibre.core.settings import GateSettings
from kalibre.evaluation.gates import GateFigures, GateWindow, judge

SOUND = GateWindow(
    ece=0.01, auc=0.62, auc_low=0.60, log_loss_gain=0.02, log_loss_gain_low=0.01, sharpe=4.0, max_drawdown=0.05
)
GOOD = GateFigures(walk_forward=SOUND, final=SOUND, dsr=0.99, n_trials=1, n_trades=300, dirty_columns=0)

SHORTFALLS = {
    "ece": replace(GOOD, walk_forward=replace(SOUND, ece=0.051)),
    "log_loss": replace(GOOD, walk_forward=replace(SOUND, log_loss_gain_low=0.0)),
    "auc": replace(GOOD, walk_forward=replace(SOUND, auc_low=0.5)),
    "dsr": replace(GOOD, dsr=0.9499),
    "dsr ": replace(GOOD, n_trades=49),
    "sharpe": replace(GOOD, walk_forward=replace(SOUND, sharpe=1.2)),
    "drawdown": replace(GOOD, walk_forward=replace(SOUND, max_drawdown=0.15)),
    "dummies": replace(GOOD, unbeaten=("buy_and_hold",)),
    "verification": replace(GOOD, dirty_columns=2),
    "final_unseen": replace(GOOD, final_seen=True),
    "final_ece": replace(GOOD, final=replace(SOUND, ece=0.2)),
    "final_auc": replace(GOOD, final=replace(SOUND, auc=0.5)),
    "final_log_loss": replace(GOOD, final=replace(SOUND, log_loss_gain=-0.002, log_loss_gain_low=-0.004)),
    "final_sharpe": replace(GOOD, final=replace(SOUND, sharpe=-0.1)),
    "final_drawdown": replace(GOOD, final=replace(SOUND, max_drawdown=0.3)),
}


def _failed(figures: GateFigures, settings: GateSettings | None = None) -> list[str]:
    return [verdict.name for verdict in judge(figures, settings or GateSettings()) if not verdict.passed]


def test_a_sound_study_passes_every_gate():
    verdicts = judge(GOOD, GateSettings())
    assert {verdict.name for verdict in verdicts} == {name.strip() for name in SHORTFALLS}
    assert _failed(GOOD) == []


@pytest.mark.parametrize("name", SHORTFALLS)
def test_each_shortfall_is_refused_by_its_own_gate_alone(name):
    assert _failed(SHORTFALLS[name]) == [name.strip()]


def test_too_few_trades_say_so_in_both_languages():
    (verdict,) = (v for v in judge(SHORTFALLS["dsr "], GateSettings()) if not v.passed)
    assert "is not known, but has to be at least 0.95 (closed trades: 49; fewer than 50" in verdict.explanation
    assert "bilinmiyor" in verdict.explanation_tr
    assert "kapanan işlem sayısı: 49; 50 işlemden azı" in verdict.explanation_tr
    assert _failed(replace(GOOD, n_trades=50)) == []


def test_a_study_without_its_final_window_cannot_promote():
    assert _failed(replace(GOOD, final=None)) == ["final_unseen"]


def test_the_sentence_quotes_figure_and_bar_so_that_a_near_miss_shows():
    (verdict,) = (v for v in judge(SHORTFALLS["dsr"], GateSettings()) if not v.passed)
    assert "0.9499" in verdict.explanation
    assert "at least 0.95" in verdict.explanation
    assert "1 distinct trial)" in verdict.explanation
    assert "0.9499" in verdict.text("tr")
    assert "≥ 0.95" in verdict.text("tr")


def test_unbeaten_dummies_are_named():
    (verdict,) = (v for v in judge(SHORTFALLS["dummies"], GateSettings()) if not v.passed)
    assert "(not beaten: buy and hold)" in verdict.explanation
    assert "(geçilemeyen: al ve tut)" in verdict.explanation_tr


def test_an_unknown_figure_passes_nothing_and_is_said_to_be_unknown():
    unknown = replace(GOOD, dsr=float("nan"))
    (verdict,) = (v for v in judge(unknown, GateSettings()) if not v.passed)
    assert "not known" in verdict.explanation
    assert "bilinmiyor" in verdict.explanation_tr
    assert json.loads(json.dumps(verdict.as_dict(), allow_nan=False))["figure"] is None


def test_bars_come_from_the_settings():
    strict = GateSettings(max_ece=0.005, min_dsr=0.999, min_sharpe=5.0, max_drawdown=0.01)
    assert _failed(GOOD, strict) == ["ece", "dsr", "sharpe", "drawdown", "final_ece", "final_drawdown"]


def test_a_short_final_window_is_not_held_to_what_it_cannot_measure():
    short = replace(SOUND, ece=0.07, ece_chance=0.08)
    assert _failed(replace(GOOD, final=short)) == []
    assert _failed(replace(GOOD, final=replace(short, ece=0.09))) == ["final_ece"]
    assert _failed(replace(GOOD, final=replace(short, ece_chance=float("nan")))) == ["final_ece"]
    assert _failed(replace(GOOD, walk_forward=short)) == ["ece"]


def test_a_final_log_loss_that_chance_explains_is_let_through():
    unlucky = replace(SOUND, log_loss_gain=-0.001, log_loss_gain_low=-0.003)
    assert _failed(replace(GOOD, final=unlucky)) == []
    assert _failed(replace(GOOD, walk_forward=unlucky)) == ["log_loss"]


def test_a_figure_just_below_zero_is_not_written_as_zero():
    barely = replace(GOOD, walk_forward=replace(SOUND, log_loss_gain_low=-0.00004))
    (verdict,) = (v for v in judge(barely, GateSettings()) if not v.passed)
    assert "-0.00004" in verdict.explanation
