"""May the ensemble act: only what the log itself leads to counts, and a doctored word is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.fakes.hub_streams import STEP_MS, SYMBOL, close_of
from tests.fakes.planted import HORIZON, N_BARS, SETTINGS, copied, market, recorded, say, with_p_up

from kalibre.core.bars import Bars
from kalibre.core.clock import ManualClock
from kalibre.core.errors import EvaluationError, HubError, UsageError
from kalibre.core.events import Event, ModelTrained
from kalibre.core.hub_events import EnsembleForecast
from kalibre.core.settings import HubSettings, MarketSettings, Settings
from kalibre.hub.ensemble_judge import LATE, OTHERWISE, SILENT, JudgedEnsemble, judge_ensemble, read_record
from kalibre.log import open_log
from kalibre.log.protocol import EventLog
from kalibre.models.ensemble_version import load_ensemble
from kalibre.registry.candidates import load_study, model_of

KNOWN = market()
NOW_MS = close_of(N_BARS)
Change = Callable[[Event], Event | None]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EventLog, Bars]]:
    with open_log(f"sqlite:///{tmp_path_factory.mktemp('told') / 'log.sqlite'}") as log:
        yield log, recorded(log, KNOWN, champion=KNOWN.shuffled(5))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return SETTINGS.model_copy(update={"home": tmp_path})


@pytest.fixture
def altered(told: tuple[EventLog, Bars], tmp_path: Path) -> Iterator[Callable[[Change], EventLog]]:
    """Return a function that copies the log with a change."""
    opened = []

    def alter(change: Change) -> EventLog:
        log = open_log(f"sqlite:///{tmp_path / f'altered{len(opened)}.sqlite'}")
        opened.append(log)
        copied(told[0], log, change)
        return log

    yield alter
    for log in opened:
        log.close()


def judge(log: EventLog, bars: Bars, settings: Settings) -> JudgedEnsemble:
    return judge_ensemble(log, bars, settings, clock=ManualClock(NOW_MS))


def ensemble_of(event: Event) -> EnsembleForecast | None:
    return event.payload if isinstance(event.payload, EnsembleForecast) else None


# --- what counts ------------------------------------------------------------------------------------------------------


def test_what_it_said_is_read_as_it_was_said(tmp_path, settings):
    with open_log(f"sqlite:///{tmp_path / 'said.sqlite'}") as log:
        recorded(log, market(600))
        record = read_record(log, settings, SYMBOL)
        said = [event for event in log.read(kinds={"ensemble"}) if event.payload.p_up is not None]
    assert len(said) > 300
    assert record.close_time.tolist() == [event.event_time for event in said]
    assert record.p_up.tolist() == [event.payload.p_up for event in said]
    assert (record.doubtful, record.without_champion) == (0, False)
    assert record.forecasters == ("champion", "online")
    assert record.left_out == {SILENT: 600 - len(said)}
    assert sum(record.weights.values()) == pytest.approx(1.0)
    assert record.weights["online"] > 0.8


def test_the_champion_is_left_out_as_it_will_be_when_the_ensemble_acts(told, tmp_path, settings):
    """Whatever the champion said, what is judged is what the ensemble says where the champion is silent."""
    with_champion = read_record(told[0], settings, SYMBOL)
    assert (with_champion.doubtful, with_champion.without_champion) == (0, True)
    with open_log(f"sqlite:///{tmp_path / 'silent.sqlite'}") as log:
        recorded(log, KNOWN)
        without = read_record(log, settings, SYMBOL)
    assert with_champion.p_up.tolist() == without.p_up.tolist()
    assert with_champion.weights == without.weights
    recorded_then = [event.payload.p_up for event in told[0].read(kinds={"ensemble"}) if event.payload.p_up is not None]
    assert with_champion.p_up.tolist() != recorded_then, "the champion had a part in what was said"


def test_an_ensemble_that_only_repeats_the_champion_does_not_qualify(tmp_path, settings):
    with open_log(f"sqlite:///{tmp_path / 'repeats.sqlite'}") as log:
        bars = recorded(log, KNOWN, online=KNOWN.shuffled(3), champion=KNOWN.knowing())
        said = [event.payload.p_up or 0.5 for event in log.read(kinds={"ensemble"})]
        assert np.mean((np.array(said) > 0.5) == KNOWN.up) > 0.65, "on record it knows a lot"
        study = judge(log, bars, settings).study
    assert {"auc", "log_loss", "dsr"} <= {gate["name"] for gate in study["gates"] if not gate["passed"]}
    assert study["without_champion"] is True


def test_a_bar_at_which_a_forecaster_was_late_does_not_count(tmp_path, settings):
    with open_log(f"sqlite:///{tmp_path / 'late.sqlite'}") as log:
        recorded(log, market(600), late=lambda bar: 400 <= bar < 450)
        record = read_record(log, settings, SYMBOL)
    assert record.left_out[LATE] == 50
    assert not set(record.close_time.tolist()) & {close_of(bar) for bar in range(400, 450)}
    assert record.doubtful == 0


def test_what_was_said_by_others_does_not_count_and_is_no_fault(tmp_path, settings):
    """With other forecasters it was another ensemble; what the one of today retells of those bars is no forecast."""
    few = SETTINGS.model_copy(update={"hub": HubSettings(learners=("online", "reinforcement"))})
    with open_log(f"sqlite:///{tmp_path / 'others.sqlite'}") as log:
        known = market(500)
        recorded(log, known, settings=few)
        assert not log.read(kinds={"ensemble"}), "it waits for one who never speaks"
        log.append(known.stream("reinforcement", known.knowing(0.5), horizon=HORIZON), writer="test")
        say(log, few)
        before = read_record(log, settings.model_copy(update={"hub": few.hub}), SYMBOL)
        assert len(before.p_up) > 200
        with pytest.raises(HubError, match=r"let the hub read it anew \(`kalibre hub up`\), then judge"):
            read_record(log, settings, SYMBOL)
        say(log)
        after = read_record(log, settings, SYMBOL)
    assert after.doubtful == 0
    assert len(after.p_up) == 0
    assert after.left_out[OTHERWISE] > 200


def test_a_log_that_the_ensemble_never_read_is_refused(tmp_path, settings):
    with open_log(f"sqlite:///{tmp_path / 'new.sqlite'}") as log, pytest.raises(HubError, match="never read this log"):
        read_record(log, settings, SYMBOL)


def test_a_series_that_the_hub_does_not_follow_is_refused(told, settings):
    log, bars = told
    elsewhere = settings.model_copy(update={"market": MarketSettings(symbols=("Y",), timeframe="15m")})
    with pytest.raises(UsageError, match=r"no ensemble of 'X' 15m: it follows Y in 15m"):
        judge(log, bars, elsewhere)


# --- the gates --------------------------------------------------------------------------------------------------------


def test_skill_qualifies_and_is_stored_before_it_is_named(altered, told, settings):
    log = altered(lambda event: event)
    judged = judge(log, told[1], settings)
    assert judged.study["qualifies"], [gate for gate in judged.study["gates"] if not gate["passed"]]
    [event] = log.read(kinds={"model"})
    assert isinstance(event.payload, ModelTrained)
    assert (event.key, event.payload.model) == ("X|15m", judged.version.model_id)
    stored = load_ensemble(settings.models_dir, event.payload.model, event.payload.digest)
    assert stored.forecasters == ("champion", "online")
    assert all(gate["passed"] for gate in stored.gates)
    assert load_study(settings, judged.version.model_id)["model_id"] == judged.version.model_id
    assert judged.folder == settings.models_dir / judged.version.model_id


def test_noise_does_not_qualify(tmp_path, settings):
    other = market(seed=12)
    with open_log(f"sqlite:///{tmp_path / 'noise.sqlite'}") as log:
        known = market(seed=11)
        known.q = other.q  # nobody knows what is coming
        bars = recorded(log, known)
        study = judge(log, bars, settings).study
    assert not study["qualifies"]
    assert {"auc", "dsr"} <= {gate["name"] for gate in study["gates"] if not gate["passed"]}


def test_a_second_judgement_of_the_same_bars_cannot_promote(altered, told, settings):
    log = altered(lambda event: event)
    judge(log, told[1], settings)
    again = judge(log, told[1], settings).study
    assert [gate["name"] for gate in again["gates"] if not gate["passed"]] == ["final_unseen"]


def test_too_few_forecasts_are_told_with_what_they_lack(tmp_path, settings):
    with open_log(f"sqlite:///{tmp_path / 'few.sqlite'}") as log:
        bars = recorded(log, market(700), late=lambda bar: bar >= 690)
        with pytest.raises(EvaluationError, match=r"recorded forecasts whose .*10 late.* and 2,000 are needed"):
            judge(log, bars, settings)
        assert not log.read(kinds={"trial", "look", "model"})


# --- doctored logs ----------------------------------------------------------------------------------------------------


def test_a_word_that_knew_what_was_coming_is_refused(altered, told, settings):
    """The planted leak: some forecasts are what became of the bar, written into the log after the fact."""
    chosen = set(np.random.default_rng(0).choice(np.arange(1_000, N_BARS - 1), 40, replace=False).tolist())
    leaks = {close_of(bar): 0.97 if KNOWN.up[bar] else 0.03 for bar in chosen}

    def leak(event: Event) -> Event:
        if ensemble_of(event) is None or event.event_time not in leaks:
            return event
        return with_p_up(event, leaks[event.event_time])

    study = judge(altered(leak), told[1], settings).study
    assert study["verification"]["forecasts_not_said_again"] == 40
    assert [gate["name"] for gate in study["gates"] if not gate["passed"]] == ["verification"]


def test_one_word_is_enough(altered, settings):
    def nudge(event: Event) -> Event:
        said = ensemble_of(event)
        if said is None or event.event_time != close_of(2_000) or said.p_up is None:
            return event
        return with_p_up(event, said.p_up + 1e-9)

    assert read_record(altered(nudge), settings, SYMBOL).doubtful == 1


def test_a_bad_forecast_cannot_be_left_out(altered, settings):
    """Words that turned out wrong vanish from the copy: the log gives them again, so they are missed."""
    wrong = {close_of(bar) for bar in range(1_000, N_BARS - 1) if KNOWN.up[bar] != (KNOWN.q[bar] > 0.5)}

    def forget(event: Event) -> Event | None:
        return None if ensemble_of(event) is not None and event.event_time in wrong else event

    record = read_record(altered(forget), settings, SYMBOL)
    assert record.doubtful == len(wrong) > 100


def test_a_word_that_follows_from_nothing_is_refused(altered, settings):
    beyond = close_of(N_BARS + 5)

    def invent(event: Event) -> Event:
        moved = ensemble_of(event) is not None and event.event_time == close_of(N_BARS - 1)
        return msgspec.structs.replace(event, event_time=beyond) if moved else event

    record = read_record(altered(invent), settings, SYMBOL)
    assert record.doubtful == 2, "one is missed, one was never said"
    assert beyond not in record.close_time.tolist()


# --- what else sees it ------------------------------------------------------------------------------------------------


def test_commands_that_need_a_model_do_not_take_the_version_for_one(altered, told, settings):
    log = altered(lambda event: event)
    log.append(
        [
            msgspec.structs.replace(event, seq=0)
            for event in [
                Event(
                    kind="model",
                    key="X|15m",
                    event_time=1,
                    payload=ModelTrained(model="X-15m-20240101T000000Z-0123abcd", digest="d", metrics={}),
                )
            ]
        ],
        writer="training",
    )
    judge(log, told[1], settings)
    assert model_of(log, settings) == "X-15m-20240101T000000Z-0123abcd"


def test_the_hub_may_write_while_its_record_is_read(altered, settings, monkeypatch):
    """The ensemble goes on between the first look at the log and the last: nothing of that is doubtful."""
    log = altered(lambda event: event)
    before = read_record(log, settings, SYMBOL)
    progress = log.progress
    more = market(N_BARS + 20)
    more.q[:N_BARS], more.up[:N_BARS], more.log_return[:N_BARS] = KNOWN.q, KNOWN.up, KNOWN.log_return

    def meanwhile(name: str):
        known = progress(name)
        for who, voice in (("online", more.knowing()), ("champion", lambda bar: 0.5)):
            fresh = [
                event for event in more.stream(who, voice, horizon=HORIZON) if event.event_time >= close_of(N_BARS)
            ]
            log.append(fresh, writer="test")
        monkeypatch.undo()
        say(log)
        return known

    monkeypatch.setattr(log, "progress", meanwhile)
    during = read_record(log, settings, SYMBOL)
    assert during.doubtful == 0
    assert during.close_time.tolist() == before.close_time.tolist()
    after = read_record(log, settings, SYMBOL)
    assert after.doubtful == 0
    assert len(after.p_up) == len(before.p_up) + 20
    assert after.close_time[-1] == close_of(N_BARS + 19) == before.close_time[-1] + 20 * STEP_MS
