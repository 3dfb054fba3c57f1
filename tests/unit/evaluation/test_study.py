"""The study sees an edge and no future, judges the bundle it hands over, and looks at the final window once."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from kalibre.bars.calendars import get_calendar
from kalibre.core.bars import Bars
from kalibre.core.errors import DatasetError, EvaluationError
from kalibre.core.settings import ModelSettings, Settings
from kalibre.evaluation import study as study_module
from kalibre.evaluation.backtest import backtest
from kalibre.evaluation.metrics import auc
from kalibre.evaluation.study import run_study
from kalibre.evaluation.trials import TrialBook
from kalibre.features.engine import FeatureEngine
from kalibre.log import open_log
from kalibre.sources.simulated import Simulated
from kalibre.trading.policy import Policy

N_BARS = 9_600
SETTINGS = Settings(model=ModelSettings(folds=3, threshold_pairs=200, rounds=80))


@pytest.fixture(scope="module")
def bars() -> Bars:
    return Simulated("edge", auc=0.72, seed=3, n_bars=N_BARS).simulate("SIM", "15m")[0]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    with open_log(f"sqlite:///{tmp_path_factory.mktemp('study') / 'log.sqlite'}") as opened:
        yield opened


@pytest.fixture(scope="module")
def stages():
    return []


@pytest.fixture(scope="module")
def result(bars, log, stages):
    def progress(stage, done, total):
        stages.append((stage, done, total))

    return run_study(bars, SETTINGS, log=log, progress=progress, created_at_ms=1_700_000_000_000)


def test_a_strong_edge_qualifies(result):
    assert result.qualifies, [gate.explanation for gate in result.failed]
    assert result.walk_forward.forecast.auc > 0.58
    assert result.walk_forward.trading.sharpe > result.significance.smallest_passing_sharpe


def test_the_result_is_json_without_nan(result):
    content = json.loads(json.dumps(result.as_dict(), allow_nan=False))
    assert content["qualifies"] is True
    assert content["walk_forward"]["curve"]["equity"][0] == pytest.approx(10_000, rel=0.02)
    assert len(content["gates"]) == len(result.gates)
    assert "bundle" not in content


def test_progress_names_every_stage_from_start_to_end(result, stages):
    assert list(dict.fromkeys(stage for stage, _, _ in stages)) == [
        "features",
        "folds",
        "bundle",
        "verification",
        "final",
    ]
    assert ("folds", 3, 3) in stages
    assert set(result.seconds) == {"features", "folds", "bundle", "verification", "final"}


def test_every_part_of_a_fold_is_later_and_purged(result):
    step = 900_000 * result.horizon_bars
    for fold in result.folds:
        spans = [fold.parts[name] for name in ("fit", "stop", "calibrate", "threshold", "test")]
        for before, after in pairwise(spans):
            assert before.end_ms + step < after.start_ms
        assert fold.parts["test"].end_ms + step < result.final.end_ms
    tests = [fold.parts["test"] for fold in result.folds]
    assert all(before.end_ms < after.start_ms for before, after in pairwise(tests))
    assert tests[-1].end_ms + step < result.final.start_ms + 900_000


def test_the_final_window_is_judged_with_exactly_the_bundle(result, bars):
    bundle, final = result.bundle, result.final
    values = FeatureEngine(bundle.spec).batch(bars)
    rows = np.flatnonzero((bars.close_time > final.start_ms) & (bars.close_time <= final.end_ms))
    rows = slice(int(rows[0]), int(rows[-1]) + 1)
    p_up = bundle.predict(values)[rows]
    volatility = values[rows, list(bundle.classifier.columns).index("realised_volatility_20")]
    again = backtest(
        bars[rows],
        p_up,
        volatility,
        Policy(bundle.entry_threshold, bundle.exit_threshold),
        bundle.costs,
        bundle.risk,
        bars_per_year=get_calendar("24/7").bars_per_year("15m"),
        horizon_bars=bundle.horizon_bars,
    )
    assert again.sharpe == pytest.approx(final.trading.sharpe, rel=1e-12)
    assert again.n_trades == final.trading.n_trades
    y = (bars.close[rows][4:] > bars.close[rows][:-4]).astype(float)
    assert auc(p_up[:-4], y) == pytest.approx(final.forecast.auc, abs=2e-3)


def test_nothing_of_the_final_window_reaches_the_bundle_or_the_walk_forward(result, bars):
    first = int(np.searchsorted(bars.close_time, result.final.start_ms + 1))
    rng = np.random.default_rng(0)
    factor = np.where(np.arange(len(bars)) > first, np.exp(np.cumsum(rng.normal(0, 0.01, len(bars)))), 1.0)
    changed = {name: getattr(bars, name) * factor for name in ("open", "high", "low", "close")}
    high = np.maximum(changed["high"], np.maximum(changed["open"], changed["close"]))
    low = np.minimum(changed["low"], np.minimum(changed["open"], changed["close"]))
    other = run_study(replace(bars, **{**changed, "high": high, "low": low}), SETTINGS, created_at_ms=0)
    assert other.history_digest != result.history_digest
    assert other.bundle.classifier.text == result.bundle.classifier.text
    assert other.bundle.calibrator == result.bundle.calibrator
    assert other.bundle.entry_threshold == result.bundle.entry_threshold
    assert other.walk_forward.trading == result.walk_forward.trading
    assert other.walk_forward.forecast == result.walk_forward.forecast
    assert other.final.trading != result.final.trading


def test_the_same_study_again_is_no_new_trial_but_its_window_is_seen(result, bars, log):
    again = run_study(bars, SETTINGS, log=log)
    assert again.significance.n_trials == 1
    assert again.final_seen_before
    assert [gate.name for gate in again.failed] == ["final_unseen"]
    assert again.walk_forward.trading == result.walk_forward.trading
    assert again.final.forecast == result.final.forecast


def test_other_trials_on_the_same_history_raise_the_bar(result, bars, tmp_path):
    rng = np.random.default_rng(0)
    times = bars.close_time[-6000:]
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        book = TrialBook(bars, log)
        for number in range(30):
            returns = rng.normal(0, 0.001, len(times))
            book.record(f"tried before, number {number}", times, returns, float(returns.mean() / returns.std()))
        judged = run_study(bars, SETTINGS, log=log)
    assert judged.significance.n_trials == 31
    assert judged.significance.effective_trials > 20
    assert judged.significance.smallest_passing_sharpe > 1.5 * result.significance.smallest_passing_sharpe
    assert judged.significance.dsr < result.significance.dsr


def test_another_seed_is_another_trial(result, bars, log):
    other = run_study(bars, SETTINGS, log=log, seed=8)
    assert other.significance.n_trials == 2
    assert 1.0 < other.significance.effective_trials < 2.0
    assert other.config_digest != result.config_digest
    assert not other.qualifies


def test_new_bars_since_the_last_look_make_a_window_of_their_own(log, result):
    longer = Simulated("edge", auc=0.72, seed=3, n_bars=N_BARS + 1500).simulate("SIM", "15m")[0]
    later = run_study(longer, SETTINGS, log=log)
    assert later.final.start_ms >= result.final.end_ms
    assert not later.final_seen_before
    assert later.significance.n_trials >= 2


def test_a_look_is_recorded_even_if_nobody_gets_to_see_the_figures(bars, tmp_path):
    class InterruptedStudyError(Exception):
        pass

    def interrupt(stage, done, total):
        if (stage, done) == ("final", 1):
            raise InterruptedStudyError

    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        with pytest.raises(InterruptedStudyError):
            run_study(bars, SETTINGS, log=log, progress=interrupt)
        assert len(log.read(kinds={"look"})) == 1


def test_without_a_look_nothing_qualifies_and_nothing_is_recorded(bars, tmp_path):
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        blind = run_study(bars, SETTINGS, log=log, final=False)
        assert log.read(kinds={"look"}) == []
        assert blind.final is None
        assert [gate.name for gate in blind.failed] == ["final_unseen"]
        # Exploring spends nothing of the final window; what it tested on is spent, on a shorter timerange too.
        assert not run_study(bars, SETTINGS, log=log, seed=8).final_seen_before
        assert run_study(bars[:7_600], SETTINGS, log=log, seed=9).final_seen_before


@pytest.mark.parametrize("samples", range(1, 5))
def test_a_handful_of_samples_is_too_few_and_says_how_many_would_do(bars, samples):
    engine = FeatureEngine(study_module.feature_spec(bars, SETTINGS))
    with pytest.raises(DatasetError, match="samples"):
        # From the seventh bar on the first two samples are one up, one down.
        run_study(bars[7 : 7 + engine.warmup + SETTINGS.model.horizon_bars + samples], SETTINGS)


def test_nothing_to_find_is_not_promoted_and_says_why():
    null = Simulated("drifting", seed=2, n_bars=N_BARS).simulate("SIM", "15m")[0]
    refused = run_study(null, SETTINGS)
    assert not refused.qualifies
    for gate in refused.failed:
        assert gate.text("en") != gate.text("tr")
    assert {"auc", "log_loss", "dsr"} & {gate.name for gate in refused.failed}


def test_dummies_stand_beside_every_window(result):
    for window in (result.walk_forward, result.final):
        assert [dummy.name for dummy in window.dummies] == [
            "base_rate",
            "persistence",
            "buy_and_hold",
            "shuffled_labels",
        ]
        shuffled = window.dummies[-1]
        assert shuffled.auc == pytest.approx(0.5, abs=0.06)
        assert shuffled.trading.sharpe < window.trading.sharpe


def test_buy_and_hold_is_the_market_less_one_purchase(result, bars):
    curve = result.final.curve
    rows = np.searchsorted(bars.close_time, curve.time_ms)
    market = bars.close[rows[-1]] / bars.open[rows[1]]
    assert curve.buy_and_hold[-1] / 10_000 == pytest.approx(market * (1 - 5e-4), rel=2e-4)


def test_a_column_that_sees_the_future_is_refused_by_the_verification_gate(bars, monkeypatch):
    class Leaky(FeatureEngine):
        """Its first column is scaled by the maximum of the whole series: a planted leak."""

        def batch(self, bars):
            values = super().batch(bars)
            values[:, 0] += bars.close / bars.close.max()
            return values

    monkeypatch.setattr(study_module, "FeatureEngine", Leaky)
    leaky = run_study(bars, SETTINGS)
    assert "verification" in {gate.name for gate in leaky.failed}
    dirty = {name for name, column in leaky.verification["columns"].items() if column["mismatched"]}
    assert leaky.columns[0] in dirty


def test_funding_is_paid_by_whoever_holds(result, bars):
    due = np.where((bars.open_time % (8 * 3_600_000)) == 0, 0.002, 0.0)
    paid = run_study(bars, SETTINGS, final=False, funding=due)
    assert paid.walk_forward.trading.total_return < result.walk_forward.trading.total_return
    hold, free = (
        next(dummy.trading for dummy in window.dummies if dummy.name == "buy_and_hold")
        for window in (paid.walk_forward, result.walk_forward)
    )
    assert hold.total_return < free.total_return
    assert paid.config_digest != result.config_digest
    assert (paid.bundle.funded, result.bundle.funded) == (True, False)


def test_the_bundle_says_which_label_it_learnt(result, bars):
    barrier = SETTINGS.model_copy(update={"model": SETTINGS.model.model_copy(update={"label": "triple_barrier"})})
    assert result.bundle.label == "direction"
    assert run_study(bars, barrier, final=False).bundle.label == "triple_barrier"


@pytest.mark.parametrize(
    ("beyond_warmup", "error", "quoted"),
    [(None, EvaluationError, "0 bars"), (-50, DatasetError, "need at least"), (100, DatasetError, "would be enough")],
)
def test_too_few_bars_are_refused_with_what_would_be_enough(bars, beyond_warmup, error, quoted):
    warmup = int(np.max(FeatureEngine(study_module.feature_spec(bars, SETTINGS)).warmup_bars))
    with pytest.raises(error, match=quoted):
        run_study(bars[: 0 if beyond_warmup is None else warmup + beyond_warmup], SETTINGS)


def test_a_market_that_only_rises_has_one_class(bars):
    rising = 100.0 * np.exp(np.arange(N_BARS) * 1e-4)
    flat = replace(bars, open=rising, high=rising * 1.00001, low=rising * 0.99999, close=rising)
    with pytest.raises(DatasetError, match="one class"):
        run_study(flat, SETTINGS)
