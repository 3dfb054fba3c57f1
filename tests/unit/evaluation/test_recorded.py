"""Recorded forecasts through the gates: skill passes, noise does not, nothing later reaches a threshold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from tests.fakes.hub_streams import STEP_MS
from tests.fakes.planted import HORIZON, N_BARS, SETTINGS, bars_of, market

from kalibre.bars.calendars import get_calendar
from kalibre.core.bars import Bars
from kalibre.core.errors import EvaluationError
from kalibre.evaluation.backtest import backtest
from kalibre.evaluation.figures import StudyResult
from kalibre.evaluation.recorded import Record, forecasts_to_qualify, judge_recorded
from kalibre.evaluation.report import write_report
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.models.ensemble_version import EnsembleVersion
from kalibre.registry.promotion import REQUIRED_GATES
from kalibre.trading.policy import Policy
from kalibre.trading.series import sizing_volatility

KNOWN = market()
FIRST = 250
"""The ensemble's first word: before it, its forecasts had to mature."""
BARS = bars_of(KNOWN)


def record_of(p_up: Any, rows: Any = None, **changes: Any) -> Record:
    """Return what was said at these bars; of all from the first word on if none are named."""
    rows = np.arange(FIRST, N_BARS) if rows is None else rows
    fields = {"forecasters": ("online", "champion"), "code": "c1", "weights": {"online": 0.7, "champion": 0.1}}
    return Record(close_time=BARS.close_time[rows], p_up=np.asarray(p_up)[rows], **{**fields, **changes})


def judged(record: Record, *, log: EventLog | None = None, bars: Bars = BARS) -> StudyResult[EnsembleVersion]:
    return judge_recorded(bars, record, SETTINGS, log=log, created_at_ms=1_700_000_000_000)


@pytest.fixture
def log(tmp_path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


@pytest.fixture(scope="module")
def skilled() -> StudyResult[EnsembleVersion]:
    return judged(record_of(KNOWN.q))


def test_who_says_the_truth_qualifies_by_the_gates_of_a_model(skilled):
    assert skilled.qualifies, [gate.explanation for gate in skilled.failed]
    names = {gate.name for gate in skilled.gates}
    assert set(REQUIRED_GATES) <= names
    assert {"final_ece", "final_auc", "final_log_loss", "final_sharpe", "final_drawdown"} <= names
    assert skilled.walk_forward.forecast.auc > 0.75


def test_the_version_says_what_was_judged(skilled):
    version = skilled.bundle
    assert version.model_id == skilled.model_id
    assert (version.symbol, version.timeframe, version.horizon_bars, version.label) == ("X", "15m", 1, "direction")
    assert version.forecasters == ("champion", "online")
    assert [gate["name"] for gate in version.gates] == [gate.name for gate in skilled.gates]
    assert version.calibration["ece_calibrated"] == skilled.final.forecast.ece
    assert version.metrics["n_forecasts"] == N_BARS - FIRST - HORIZON
    assert (version.costs, version.risk) == (SETTINGS.costs, SETTINGS.risk)


def test_the_final_window_is_traded_by_exactly_the_version(skilled):
    version, final = skilled.bundle, skilled.final
    rows = np.flatnonzero((BARS.close_time > final.start_ms) & (BARS.close_time <= final.end_ms))
    rows = slice(int(rows[0]), int(rows[-1]) + 1)
    again = backtest(
        BARS[rows],
        KNOWN.q[rows],
        sizing_volatility(BARS)[rows],
        Policy(version.entry_threshold, version.exit_threshold),
        version.costs,
        version.risk,
        bars_per_year=get_calendar("24/7").bars_per_year("15m"),
        horizon_bars=version.horizon_bars,
    )
    assert (again.sharpe, again.n_trades) == (final.trading.sharpe, final.trading.n_trades)
    assert again.n_trades > 20


def test_noise_does_not_qualify():
    result = judged(record_of(market(seed=9).q))
    failed = {gate.name for gate in result.failed}
    assert not result.qualifies
    assert {"log_loss", "auc", "dsr", "dummies"} <= failed


def test_overconfidence_does_not_qualify_for_all_its_skill():
    odds = KNOWN.q / (1 - KNOWN.q)
    result = judged(record_of(odds**3 / (1 + odds**3)))
    assert {"ece", "log_loss"} & {gate.name for gate in result.failed}


def test_every_test_part_is_later_than_what_its_thresholds_came_from(skilled):
    for fold in skilled.folds:
        before, test = fold.parts["fit"], fold.parts["test"]
        assert before.end_ms + HORIZON * STEP_MS < test.start_ms
        assert before.start_ms == BARS.close_time[FIRST]
    tests = [fold.parts["test"] for fold in skilled.folds]
    assert all(one.end_ms < other.start_ms for one, other in pairwise(tests))
    assert tests[-1].end_ms + HORIZON * STEP_MS <= skilled.final.start_ms + STEP_MS


def test_what_is_said_later_changes_no_threshold_before(skilled):
    """A fold's thresholds come from what was said and had matured before its test part, and from nothing else."""
    second = skilled.folds[1].parts["test"].start_ms
    p_up = np.where(BARS.close_time >= second, market(seed=4).q, KNOWN.q)
    other = judged(record_of(p_up))
    for number, (one, two) in enumerate(zip(skilled.folds, other.folds, strict=True)):
        same = (one.entry_threshold, one.exit_threshold) == (two.entry_threshold, two.exit_threshold)
        assert same == (number <= 1), number


def test_the_final_window_is_looked_at_once(log):
    first = judged(record_of(KNOWN.q), log=log)
    assert first.qualifies
    again = judged(record_of(KNOWN.q), log=log)
    assert again.final_seen_before
    assert [gate.name for gate in again.failed] == ["final_unseen"]
    assert again.significance.n_trials == 1, "the same ensemble on the same bars is one trial"


def test_another_ensemble_is_another_trial(log):
    judged(record_of(KNOWN.q), log=log)
    for change in ({"forecasters": ("online",)}, {"code": "c2"}):
        before = len(log.read(kinds={"trial"}))
        assert judged(record_of(KNOWN.q, **change), log=log).significance.n_trials == before + 1


def test_a_look_counts_though_its_verdict_was_never_seen(log):
    class StoppedError(Exception):
        pass

    def stop(stage: str, done: int, total: int) -> None:
        if stage == "final" and done:
            raise StoppedError

    with pytest.raises(StoppedError):
        judge_recorded(BARS, record_of(KNOWN.q), SETTINGS, log=log, progress=stop)
    assert judged(record_of(KNOWN.q), log=log).final_seen_before


def test_bars_without_a_word_are_no_samples_and_nothing_is_decided_there():
    rows = np.arange(FIRST, N_BARS)
    spoken = rows[np.random.default_rng(0).random(len(rows)) < 0.8]
    result = judged(record_of(KNOWN.q, spoken))
    tests = [fold.parts["test"].n_samples for fold in result.folds]
    assert result.walk_forward.forecast.n_samples == sum(tests)
    assert result.walk_forward.forecast.n_samples == pytest.approx(0.8 * result.walk_forward.n_bars, rel=0.05)
    assert result.qualifies, [gate.explanation for gate in result.failed]


def test_what_the_log_does_not_give_again_is_refused():
    result = judged(record_of(KNOWN.q, doubtful=1))
    assert [gate.name for gate in result.failed] == ["verification"]
    assert result.verification["forecasts_not_said_again"] == 1


def test_too_few_forecasts_are_counted_with_what_would_be_enough():
    rows = np.arange(FIRST, FIRST + 1_000)
    with pytest.raises(EvaluationError, match=r"has 1,000 recorded .*\(not counted: 7 late\), and 2,000 are needed"):
        judged(record_of(KNOWN.q, rows, left_out={"late": 7, "abstained": 0}))
    with pytest.raises(EvaluationError, match=r"has 0 recorded forecasts whose outcome is known, and 2,000"):
        judged(record_of(KNOWN.q, np.arange(0)))
    assert forecasts_to_qualify(HORIZON) == 2_000


def test_the_shuffled_dummy_speaks_as_often_and_knows_nothing(skilled):
    dummies = {dummy.name: dummy for dummy in skilled.walk_forward.dummies}
    assert dummies["shuffled_labels"].auc == pytest.approx(0.5, abs=0.06)
    assert set(dummies) == {"base_rate", "persistence", "buy_and_hold", "shuffled_labels"}


def test_the_result_is_json_and_its_report_can_be_written(skilled, tmp_path):
    study = json.loads(json.dumps(skilled.as_dict(), allow_nan=False))
    assert study["qualifies"] is True
    for lang in ("en", "tr"):
        page = write_report([study], tmp_path / lang, lang=lang).read_text()
        assert skilled.model_id in page


def test_other_bars_give_other_figures(skilled):
    other = bars_of(market(seed=3))
    assert not judged(record_of(KNOWN.q), bars=replace(other, open_time=BARS.open_time)).qualifies
