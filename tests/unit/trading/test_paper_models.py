"""Models that cannot be loaded, and what became of forecasts by the label that was learnt."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.fakes.models import bar_events, random_bars, small_bundle
from tests.fakes.trading import SERIES, Models, newest, projection, promotion, stored

from kalibre.core.bars import Bars
from kalibre.core.errors import DeterminismError
from kalibre.core.events import Event
from kalibre.features.engine import FeatureSpec
from kalibre.labels.triple_barrier import TripleBarrier
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.log.runner import Runner, refold
from kalibre.models.bundle import ModelBundle
from kalibre.trading.failures import recorded_failures
from kalibre.trading.paper import PaperProjection

COLUMNS = ("roc_10", "realised_volatility_20", "range_relative", "roc_3")


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return small_bundle(columns=COLUMNS, entry_threshold=0.6, exit_threshold=0.5)


@pytest.fixture(scope="module")
def bars() -> Bars:
    return random_bars(300, seed=9)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def engine(models: Models, log: EventLog) -> PaperProjection:
    return projection(models, FeatureSpec("15m", columns=COLUMNS), recorded_failures=lambda: recorded_failures(log))


def run(log: EventLog, models: Models, folder: Path | None, *, batch_size: int = 7) -> Runner:
    """Start the engine, read all there is, and stop it."""
    runner = Runner(log, engine(models, log), snapshots_dir=folder, batch_size=batch_size)
    runner.recover()
    runner.catch_up()
    runner.snapshot()
    return runner


def reasons(log: EventLog) -> list[str]:
    return [event.payload.reasons[0] for event in newest(stored(log), "signal")]  # type: ignore[attr-defined]


def unable(log: EventLog) -> list[Event]:
    return [event for event in stored(log) if event.kind == "model_unable"]


@pytest.mark.parametrize("snapshots", [True, False])
def test_a_model_that_was_missing_stays_unable_until_it_is_promoted_again(
    bundle: ModelBundle, bars: Bars, log: EventLog, tmp_path: Path, snapshots: bool
) -> None:
    events, models, folder = bar_events(bars), Models(), tmp_path / "snapshots" if snapshots else None
    log.append([promotion(bundle), *events[:100]], writer="ingest")
    run(log, models, folder)
    models.add(bundle)  # somebody brings it back
    assert refold(log, engine(models, log)).equal
    log.append(events[100:200], writer="ingest")
    run(log, models, folder)
    (said,) = unable(log)
    assert (said.key, said.payload.model, said.payload.at) == (f"{SERIES}|champion", bundle.model_id, "promotion")  # type: ignore[attr-defined]
    assert set(reasons(log)) == {
        f"model {bundle.model_id} cannot act: model {bundle.model_id!r} is not here: there is []; "
        "once it is there, promote it again"
    }
    log.append([promotion(bundle, time=1_800_000_000_000), *events[200:]], writer="ingest")
    run(log, models, folder)
    assert newest(stored(log), "order")
    assert len(unable(log)) == 1
    assert refold(log, engine(models, log)).equal
    # Also without the model, nothing of what was said without it is told otherwise.
    assert f"recorded with model '{bundle.model_id}'" in refold(log, engine(Models(), log)).differences[0]


def test_without_the_record_the_same_log_reads_otherwise(bundle: ModelBundle, bars: Bars, log: EventLog) -> None:
    """Plant: what the disk held is asked again in replay."""
    log.append([promotion(bundle), *bar_events(bars)], writer="ingest")
    run(log, Models(), None)
    forgetful = projection(Models({bundle.model_id: bundle}), FeatureSpec("15m", columns=COLUMNS))
    assert not refold(log, forgetful).equal


def test_a_model_that_vanishes_while_paper_is_down_holds_from_the_next_bar(
    bundle: ModelBundle, bars: Bars, log: EventLog, tmp_path: Path
) -> None:
    events, models, folder = bar_events(bars), Models({bundle.model_id: bundle}), tmp_path / "snapshots"
    log.append([promotion(bundle), *events[:150]], writer="ingest")
    run(log, models, folder)
    log.append(events[150:250], writer="ingest")
    run(log, Models(), folder)
    (said,) = unable(log)
    assert (said.event_time, said.payload.at) == (bars.close_time[150], "bar")  # type: ignore[attr-defined]
    assert all("cannot act" in reason for reason in reasons(log)[150:])
    assert not any("cannot act" in reason for reason in reasons(log)[:150])
    log.append(events[250:], writer="ingest")
    run(log, models, folder)
    assert all("cannot act" in reason for reason in reasons(log)[250:])
    assert refold(log, engine(models, log)).equal


def test_what_cannot_be_checked_without_the_model_is_refused_by_name(
    bundle: ModelBundle, bars: Bars, log: EventLog
) -> None:
    log.append([promotion(bundle), *bar_events(bars)], writer="ingest")
    run(log, Models({bundle.model_id: bundle}), None)
    with pytest.raises(DeterminismError, match=f"'{bundle.model_id}'.*is not here.*from a copy$"):
        run(log, Models(), None)


# --- labels -----------------------------------------------------------------------------------------------------------


def test_outcomes_are_those_of_the_label_that_was_learnt(bundle: ModelBundle) -> None:
    bars, barrier = random_bars(400, seed=9), replace(bundle, label="triple_barrier")
    y = TripleBarrier(horizon_bars=4).compute(bars)[0]
    events = play(barrier, bars)
    went_up = {event.event_time: event.payload.went_up for event in newest(events, "outcome")}  # type: ignore[attr-defined]
    forecasts = {event.event_time for event in newest(events, "forecast") if event.payload.p_up is not None}  # type: ignore[attr-defined]
    times = bars.close_time.tolist()
    known = {times[t]: y[t] == 1.0 for t in range(396) if not np.isnan(y[t]) and times[t] in forecasts}
    assert len(known) > 250
    assert went_up == known
    direction = {event.event_time: event.payload.went_up for event in newest(play(bundle, bars), "outcome")}  # type: ignore[attr-defined]
    assert len(direction) > len(went_up)  # the barriers need a hundred bars more
    assert any(direction[time] != up for time, up in went_up.items())


def test_a_label_that_is_not_known_lets_the_model_not_act(bundle: ModelBundle) -> None:
    bars = random_bars(3)
    (first, *_) = newest(play(replace(bundle, label="tea_leaves"), bars), "signal")
    assert "tea_leaves" in first.payload.reasons[0]  # type: ignore[attr-defined]


def play(bundle: ModelBundle, bars: Bars) -> list[Event]:
    paper = projection(Models({bundle.model_id: bundle}), FeatureSpec("15m", columns=COLUMNS))
    return [emitted for event in [promotion(bundle), *bar_events(bars)] for emitted in paper.apply(event)]
