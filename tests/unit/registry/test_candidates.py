"""Candidates: funding charged or its absence told, bars that do not fit refused, recalibration by the own label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.fakes.models import STEP_MS, bar_events, random_bars, small_bundle

from kalibre.bars.calendars import get_calendar
from kalibre.bars.funding import fetch_funding, load_funding
from kalibre.core.bars import Bars, concat
from kalibre.core.clock import ManualClock
from kalibre.core.errors import EvaluationError, RegistryError, UsageError
from kalibre.core.events import Funding, new_event
from kalibre.core.settings import ModelSettings, Settings
from kalibre.evaluation.trials import TrialBook
from kalibre.labels.direction import Direction
from kalibre.labels.triple_barrier import TripleBarrier
from kalibre.log import open_log
from kalibre.models.bundle import load_bundle
from kalibre.registry.candidates import backtest_bundle, forecasts, load_study, store_study, train_candidate
from kalibre.registry.recalibration import recalibrate
from kalibre.sources import open_source
from kalibre.sources.simulated import Simulated
from kalibre.trading.engine import simulate
from kalibre.trading.policy import Policy

BARS = random_bars(6_000, seed=5)
STUDY_END = int(BARS.close_time[999])
EIGHT_HOURS = 32


@pytest.fixture(scope="module")
def bundle():
    return small_bundle(columns=("realised_volatility_20", "log_return_1"), entry_threshold=0.55, exit_threshold=0.5)


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home")


@pytest.fixture
def log(tmp_path):
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def study_of(bundle, end_ms: int = STUDY_END) -> dict[str, Any]:
    return {"model_id": bundle.model_id, "end_ms": end_ms, "gates": [], "qualifies": True}


def store_rates(log, bars: Bars, rate: float = 0.0005) -> int:
    times = bars.close_time[EIGHT_HOURS - 1 :: EIGHT_HOURS]
    log.append([new_event(bars.symbol, int(time), Funding(rate=rate)) for time in times], writer="ingest")
    return len(times)


def test_a_backtest_charges_what_the_log_holds_on_every_position(bundle, log):
    n_rates = store_rates(log, BARS)
    funding = load_funding(log, BARS)
    study = study_of(replace(bundle, funded=True))
    free = backtest_bundle(bundle, BARS, calendar="24/7", study=study, log=log)
    paid = backtest_bundle(replace(bundle, funded=True), BARS, calendar="24/7", study=study, funding=funding)
    assert paid["funding"]["bars_due"] == n_rates
    assert 0 < paid["funding"]["bars_charged"] < n_rates
    assert paid["funding"]["paid"] > 0
    assert paid["total_return"] < free["total_return"]
    assert paid["funding"]["note"] == ""
    assert paid["buy_and_hold"]["funding"]["bars_charged"] >= n_rates - 1


def test_what_a_backtest_has_shown_is_no_untouched_final_window(bundle, log):
    later = TrialBook(BARS, log)
    backtest_bundle(bundle, BARS[:3_000], calendar="24/7", study=study_of(bundle), log=log)
    assert later.look(int(BARS.close_time[2_999]), int(BARS.close_time[2_999]), "a bar of it") is True
    assert later.look(int(BARS.close_time[3_000]), int(BARS.close_time[3_999]), "behind it") is False


def test_a_backtest_without_funding_says_so(bundle):
    study = study_of(bundle)
    entry = backtest_bundle(bundle, BARS, calendar="24/7", study=study)["funding"]
    assert entry == {
        "bars_due": 0,
        "bars_charged": 0,
        "paid": 0.0,
        "charged_in_study": False,
        "note": "no funding recorded for these bars of BTCUSDT",
    }
    funded = backtest_bundle(replace(bundle, funded=True), BARS, calendar="24/7", study=study)["funding"]
    assert "though the model's study charged it" in funded["note"]
    gap = [(STUDY_END, STUDY_END + 86_400_000)]
    partly = backtest_bundle(bundle, BARS, calendar="24/7", study=study, funding_missing=gap)["funding"]
    assert "; no rate is recorded from 2024-01-11" in partly["note"]
    unlike = backtest_bundle(bundle, BARS, calendar="24/7", study=study, funding=np.zeros(len(BARS)))["funding"]
    assert "knew of no funding" in unlike["note"]


def test_the_bars_a_study_saw_are_those_that_had_closed_by_its_end(bundle):
    assert backtest_bundle(bundle, BARS, calendar="24/7", study=study_of(bundle))["bars_seen_by_its_study"] == 1_000


def test_bars_of_another_timeframe_are_refused_by_both(bundle, log, settings):
    hours = replace(BARS, timeframe="1h", open_time=BARS.open_time[0] + 4 * (BARS.open_time - BARS.open_time[0]))
    with pytest.raises(UsageError, match="foretells bars of 15m, these are 1h bars of BTCUSDT"):
        backtest_bundle(bundle, hours, calendar="24/7", study=study_of(bundle))
    with pytest.raises(UsageError, match="foretells bars of 15m, these are 1h"):
        recalibrate(log, bundle, hours, settings, study=study_of(bundle))


@pytest.mark.parametrize("model", ["../../secret", "..", "/etc/passwd", "nobody", ""])
def test_a_study_is_found_by_id_only(bundle, settings, model, tmp_path):
    (tmp_path / "secret.json").write_text("{}")
    store_study(settings, study_of(bundle))
    assert load_study(settings, bundle.model_id)["end_ms"] == STUDY_END
    with pytest.raises(RegistryError, match="is no model id, which reads like") as caught:
        load_study(settings, model)
    assert repr(model) in str(caught.value)
    assert bundle.model_id in str(caught.value)


def test_a_torn_study_and_no_study_are_told_apart(bundle, settings):
    with pytest.raises(RegistryError, match="there is none yet: run `kalibre train`"):
        load_study(settings, bundle.model_id)
    store_study(settings, study_of(bundle))
    (settings.home / "studies" / f"{bundle.model_id}.json").write_text('{"end_ms"')
    with pytest.raises(RegistryError, match="is torn"):
        load_study(settings, bundle.model_id)


class Seen:
    """Remembers what the calibrator was fitted on and what judged it; computes as the real ones do."""

    def __init__(self, monkeypatch) -> None:
        from kalibre.evaluation import calibration

        self.fitted: list[tuple[np.ndarray, np.ndarray]] = []
        self.judged: list[tuple[np.ndarray, np.ndarray]] = []
        fit, judge = calibration.fit_calibrator, calibration.calibration_error

        def fit_calibrator(score, y, **named):
            self.fitted.append((score, y))
            return fit(score, y, **named)

        def calibration_error(p_up, y, **named):
            self.judged.append((p_up, y))
            return judge(p_up, y, **named)

        monkeypatch.setattr(calibration, "fit_calibrator", fit_calibrator)
        monkeypatch.setattr(calibration, "calibration_error", calibration_error)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("direction", lambda calendar: Direction(4, calendar=calendar)),
        ("triple_barrier", lambda calendar: TripleBarrier(4, calendar=calendar)),
    ],
)
def test_recalibration_goes_by_the_label_the_bundle_learnt_and_leaves_holes_out(
    bundle, log, settings, monkeypatch, name, make
):
    learnt = replace(bundle, label=name)
    holed = BARS[[i for i in range(len(BARS)) if not 3_000 <= i < 3_100]]  # type: ignore[index]
    seen = Seen(monkeypatch)
    outcome = recalibrate(log, learnt, holed, settings, study=study_of(learnt), clock=ManualClock(STUDY_END))
    y, known_row = make(get_calendar("24/7")).compute(holed)
    score, p_up, _ = forecasts(learnt, holed)
    rows = np.flatnonzero((np.arange(len(holed)) >= 1_000) & np.isfinite(y) & np.isfinite(p_up))
    assert outcome["n_samples"] == len(rows)
    (look,) = [event.payload for event in log.read(kinds={"look"})]
    assert (look.start_ms, look.end_ms) == (int(holed.close_time[rows[0]]), int(holed.close_time[-1]))
    crossing = np.arange(2_996, 3_000)
    # No direction is known across the hole; a barrier may have been touched before it.
    assert not (name == "direction" and np.isin(crossing, rows).any())
    half = len(rows) // 2
    purged = rows[:half][known_row[rows[:half]] < rows[half]]
    assert half - 4 <= len(purged) < half, "the last horizon of the fitting half reaches into the judging half"
    np.testing.assert_array_equal(seen.fitted[0][0], score[purged])
    np.testing.assert_array_equal(seen.fitted[0][1], y[purged])
    np.testing.assert_array_equal(seen.judged[0][0], p_up[rows[half:]])
    np.testing.assert_array_equal(seen.judged[0][1], y[rows[half:]])
    stored = load_bundle(settings.models_dir, outcome["model"])
    assert stored.label == name
    assert [gate["name"] for gate in stored.gates if not gate["passed"]] == ["judged"]
    assert load_study(settings, outcome["model"])["qualifies"] is False


def test_recalibration_wants_forecasts_that_have_matured(bundle, log, settings):
    with pytest.raises(EvaluationError, match=r"only \d+ forecasts .* have matured .*, 3200 are needed"):
        recalibrate(log, bundle, BARS[:4_000], settings, study=study_of(bundle))


def test_training_charges_the_funding_of_the_log(log, tmp_path):
    bars = Simulated("edge", auc=0.72, seed=3, n_bars=4_800).simulate("SIM", "15m")[0]
    settings = Settings(home=tmp_path, model=ModelSettings(folds=2, threshold_pairs=50, rounds=30))
    log.append(bar_events(bars), writer="ingest")
    free = train_candidate(log, bars, settings, final=False, clock=ManualClock(int(bars.close_time[-1])))
    assert not free.bundle.funded
    assert free.study["walk_forward"]["funding"] is None
    assert free.study["funding_missing"] == []
    store_rates(log, bars, 0.001)
    paid = train_candidate(log, bars, settings, final=False, clock=ManualClock(int(bars.close_time[-1]) + STEP_MS))
    assert paid.bundle.funded
    figures = paid.study["walk_forward"]["funding"]
    window = paid.study["walk_forward"]
    spanned = (bars.close_time > window["start_ms"]) & (bars.close_time <= window["end_ms"])
    assert figures["bars_due"] <= np.count_nonzero(load_funding(log, bars)[spanned])  # type: ignore[index]
    assert 0 < figures["bars_charged"] <= figures["bars_due"]
    assert figures["paid"] > 0


@pytest.mark.real_data
def test_the_rates_of_a_real_perpetual_are_charged_to_the_cent(shared_data, tmp_path, log):
    """The total that the backtest charges is the sum over its positions, worked out settlement by settlement."""
    crypto = shared_data / "market" / "crypto"
    source = open_source(
        "files",
        path=crypto / "BTCUSDT_perp_15m_2025.parquet",
        funding_path=crypto / "BTCUSDT_perp_funding8h_2025.parquet",
    )
    bars = concat(list(source.history("BTCUSDT", "15m")))
    start, end = int(bars.open_time[0]), int(bars.close_time[-1]) + 1
    rates = log.append(fetch_funding(log, source, "BTCUSDT", start_ms=start, end_ms=end), writer="ingest")
    settings = Settings(
        home=tmp_path,
        model=ModelSettings(folds=2, threshold_pairs=50, rounds=30),
    )
    study = train_candidate(log, bars, settings, clock=ManualClock(end)).study
    assert study["settings"]["costs"] == settings.costs.model_dump()
    # The study's own thresholds may never trade; these do, a hundred times over.
    bundle = load_bundle(settings.models_dir, study["model_id"])
    p_up = forecasts(bundle, bars)[1]
    high, low = np.quantile(np.unique(p_up[np.isfinite(p_up)]), [0.7, 0.4])
    bundle = replace(bundle, entry_threshold=float(high), exit_threshold=float(low))
    funding = load_funding(log, bars)
    outcome = backtest_bundle(bundle, bars, calendar="24/7", study=study, funding=funding)
    _, p_up, volatility = forecasts(bundle, bars)
    policy = Policy(bundle.entry_threshold, bundle.exit_threshold)
    fills = simulate(
        bars, p_up, volatility, policy, bundle.costs, bundle.risk, horizon_bars=bundle.horizon_bars, funding=funding
    ).fills
    close_at = dict(zip(bars.close_time.tolist(), bars.close.tolist(), strict=True))
    paid, held, quantity, place = 0.0, 0, 0.0, 0
    for event in rates:
        while place < len(fills) and bars.open_time[fills.row[place]] < event.event_time:
            quantity = float(fills.quantity[place]) if fills.side[place] == 1 else 0.0
            place += 1
        assert isinstance(event.payload, Funding)
        paid += quantity * close_at[event.event_time] * event.payload.rate
        held += quantity > 0
    assert len(fills) > 50
    assert held > 10
    assert outcome["funding"]["bars_due"] == sum(event.payload.rate != 0 for event in rates)  # type: ignore[union-attr]
    assert outcome["funding"]["bars_charged"] == held
    assert outcome["funding"]["paid"] == pytest.approx(paid, rel=1e-12)
