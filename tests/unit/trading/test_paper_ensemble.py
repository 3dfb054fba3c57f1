"""The policy follows the ensemble: by its recorded word, bar by bar, like a backtest over the same probabilities."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.fakes.ensemble_led import HORIZON, delayed, in_step, led_version, probabilities, simulated, told, word
from tests.fakes.models import START_MS, bar_events, random_bars, small_bundle
from tests.fakes.trading import (
    SERIES,
    STEP_MS,
    Models,
    action,
    assert_equal_to_backtest,
    newest,
    projection,
    promotion,
    stored,
)

from kalibre.core.bars import Bars
from kalibre.core.clock import ManualClock
from kalibre.core.errors import ModelError
from kalibre.core.events import Event, Kill, Tick, new_event
from kalibre.core.hub_events import EnsembleForecast
from kalibre.features.engine import FeatureSpec
from kalibre.hub import ensemble
from kalibre.log import open_log
from kalibre.log.replay import copy_state
from kalibre.log.runner import Runner, refold
from kalibre.models.acting import load_acting
from kalibre.models.bundle import ModelBundle
from kalibre.models.ensemble_version import EnsembleVersion, store_ensemble
from kalibre.trading import ensemble_word
from kalibre.trading.failures import recorded_failures
from kalibre.trading.inbox import Inbox
from kalibre.trading.kill_switch import KillSwitch
from kalibre.trading.paper import PaperProjection

COLUMNS = ("roc_10", "realised_volatility_20", "range_relative", "roc_3")
VERSION = led_version()


@pytest.fixture(scope="module")
def bundle() -> ModelBundle:
    return small_bundle(columns=COLUMNS, entry_threshold=0.6, exit_threshold=0.5)


@pytest.fixture(scope="module")
def bars() -> Bars:
    return random_bars(300, seed=9)


def fresh(*holders: Any, **changes: object) -> PaperProjection:
    models = Models()
    for one in (VERSION, *holders):
        models.add(one)
    return projection(models, FeatureSpec("15m", columns=COLUMNS), **changes)


def play(paper: PaperProjection, events: list[Event]) -> list[Event]:
    return [emitted for event in events for emitted in paper.apply(event)]


def words(bars: Bars, p_up: Any) -> dict[int, Event]:
    said = [None if np.isnan(p) else float(p) for p in p_up]
    return {int(close): word(int(close), p) for close, p in zip(bars.close_time, said, strict=True)}


def signals(events: list[Event]) -> list[Any]:
    return [event.payload for event in newest(events, "signal")]


# --- by its word ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
@pytest.mark.parametrize("lag", [0, 1, 40])
def test_paper_equals_a_backtest_over_the_words(bars: Bars, tmp_path: Path, batch_size: int, lag: int) -> None:
    p_up = probabilities(len(bars))
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        log.append([promotion(VERSION)], writer="registry")
        log.append(delayed(bar_events(bars), words(bars, p_up), lambda: lag), writer="hub")
        runner = Runner(log, fresh(), snapshots_dir=tmp_path / "snapshots", batch_size=batch_size)
        runner.recover()
        runner.catch_up()
        events = stored(log)
        assert refold(log, fresh()).equal
    run = simulated(VERSION, bars, p_up)
    assert len(run.fills) > 20
    assert_equal_to_backtest(events, bars, run)
    said = signals(events)
    assert [one.p_up for one in said] == [None if np.isnan(p) else p for p in p_up]
    assert {one.model for one in said} == {VERSION.model_id}


def test_the_champion_abstains_at_once_and_nothing_else_is_foreseen(bars: Bars) -> None:
    """Else the ensemble would wait for the champion, and the champion for the ensemble."""
    paper = fresh()
    play(paper, [promotion(VERSION)])
    first, second, *_ = bar_events(bars)
    (said,) = paper.apply(first)
    assert (said.key, said.event_time) == (f"{SERIES}|champion", START_MS + STEP_MS)
    assert said.payload == msgspec.structs.replace(said.payload, model=VERSION.model_id, p_up=None, late=False)
    assert said.payload.abstained == "the ensemble is champion: its own forecast stands"
    (waits,) = paper.apply(second)
    assert waits.kind == "forecast"
    decided = paper.apply(word(first.event_time + STEP_MS, 0.7))
    assert [event.kind for event in decided] == ["signal", "account"]
    assert [event.event_time for event in decided] == [START_MS + STEP_MS] * 2


def test_old_news_is_told_as_late_by_the_ticks_that_came_before_the_bar(bars: Bars) -> None:
    first, second, *_ = bar_events(bars)
    early = new_event("clock", START_MS, Tick(now_ms=START_MS))
    late = new_event("clock", START_MS + 9 * STEP_MS, Tick(now_ms=START_MS + 9 * STEP_MS))
    said = play(fresh(), [promotion(VERSION), early, first, late, second])
    assert [event.payload.late for event in said] == [False, True]
    # The clock takes its turn: of the first bar it has not come yet, whenever the word comes.
    paper = fresh()
    play(paper, [promotion(VERSION), early, first, late, second])
    (held, *_), (stale, *_) = (signals(paper.apply(word(START_MS + n * STEP_MS, 0.7))) for n in (1, 2))
    assert "volatility" in held.reasons[0]
    assert stale.reasons[0].startswith("stale: ")


def test_an_ensemble_that_says_nothing_lets_the_policy_hold(bars: Bars) -> None:
    events = play(fresh(), [promotion(VERSION), *in_step(bar_events(bars), words(bars, np.full(300, np.nan)))])
    assert {one.reasons for one in signals(events)} == {("the ensemble says nothing: not calibrated yet",)}
    assert not newest(events, "order")


def test_only_the_first_word_counts(bars: Bars) -> None:
    paper, (first, *_) = fresh(), bar_events(bars)
    play(paper, [promotion(VERSION), first])
    close_ms = START_MS + STEP_MS
    assert play(paper, [word(close_ms, 0.9, revision=1)]) == []
    assert signals(play(paper, [word(close_ms, 0.7)]))[0].p_up == 0.7
    assert play(paper, [word(close_ms, 0.8)]) == []


def test_a_bar_that_the_ensemble_passes_over_is_held(bars: Bars) -> None:
    paper, (first, second, *_) = fresh(), bar_events(bars)
    play(paper, [promotion(VERSION), first, second])
    passed, heard = signals(play(paper, [word(START_MS + 2 * STEP_MS, 0.7)]))
    assert passed.reasons == ("the ensemble has said nothing of this bar, and has spoken of later ones",)
    assert heard.p_up == 0.7


def test_a_correction_is_decided_again_by_the_same_word(bars: Bars) -> None:
    p_up, inputs = probabilities(len(bars)), list[Event]()
    for number, event in enumerate(bar_events(bars)):
        bar: Any = event.payload
        wrong = msgspec.structs.replace(bar, high=bar.high * 1.02, close=bar.high * 1.01)
        if number % 3 == 0:
            inputs += [msgspec.structs.replace(event, payload=wrong), msgspec.structs.replace(event, revision=1)]
        else:
            inputs.append(event)
    for lag in (0, 5):
        events = play(fresh(), [promotion(VERSION), *delayed(inputs, words(bars, p_up), lambda n=lag: n)])
        assert_equal_to_backtest(events, bars, simulated(VERSION, bars, p_up))


# --- which ensemble ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told_why"),
    [
        ({"horizon_bars": 8}, "foresees 8 bars, it was judged over 4"),
        ({"weights": {"base rate": 0.2, "online": 0.4, "newcomer": 0.4}}, "made of champion, newcomer, online, it was"),
        ({"silent": {}}, "made of online, it was judged as made of champion, online"),
    ],
)
def test_another_ensemble_than_was_judged_is_not_followed(bars: Bars, changes: dict[str, Any], told_why: str) -> None:
    events = bar_events(bars)[:40]
    log = in_step(
        events, {event.event_time + STEP_MS: word(event.event_time + STEP_MS, 0.9, **changes) for event in events}
    )
    said = play(fresh(), [promotion(VERSION), *log])
    assert all(told_why in one.reasons[0] and "kalibre hub judge" in one.reasons[0] for one in signals(said))
    assert len(signals(said)) == 40


def test_the_base_rate_is_named_as_the_ensemble_names_it() -> None:
    assert ensemble_word._BASE_RATE == ensemble._BASE_RATE


def test_a_version_of_another_series_cannot_act(bars: Bars) -> None:
    other = led_version(symbol="ETHUSDT")
    said = play(fresh(other), [promotion(other), *in_step(bar_events(bars)[:3], words(bars, np.full(300, 0.9)))])
    assert "it is the ensemble of ETHUSDT 15m, these are bars of BTCUSDT 15m" in signals(said)[0].reasons[0]


def test_an_ensemble_is_no_challenger(bars: Bars) -> None:
    said = play(
        fresh(), [promotion(VERSION, "challenger"), *in_step(bar_events(bars)[:3], words(bars, np.full(300, 0.9)))]
    )
    shadow = [event.payload for event in newest(said, "signal", "challenger")]
    assert {one.reasons[0] for one in shadow} == {
        "an ensemble is no challenger: its forecasts are judged in the league"
    }


def test_a_version_that_is_missing_or_damaged_holds_and_is_recorded(bars: Bars, tmp_path: Path) -> None:
    def paper() -> PaperProjection:
        models = tmp_path / "models"
        return projection(
            lambda model, digest: load_acting(models, model, digest),
            FeatureSpec("15m", columns=COLUMNS),
            recorded_failures=lambda: recorded_failures(log),
        )

    def read() -> None:
        runner = Runner(log, paper(), snapshots_dir=tmp_path / "snapshots", batch_size=3)
        runner.recover()
        runner.catch_up()
        runner.snapshot()

    inputs = delayed(bar_events(bars), words(bars, np.full(300, 0.9)), lambda: 2)
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        log.append([promotion(VERSION), *inputs[:100]], writer="hub")
        read()
        (unable,) = [event.payload for event in stored(log) if event.kind == "model_unable"]
        assert "ensemble.json" in unable.reason
        folder = store_ensemble(tmp_path / "models", VERSION)
        log.append([promotion(VERSION, time=START_MS), *inputs[100:300]], writer="hub")
        read()
        stored_file = folder / "ensemble.json"
        whole = stored_file.read_bytes()
        stored_file.write_bytes(whole[:-9])
        log.append(inputs[300:], writer="hub")
        read()
        with pytest.raises(ModelError, match="damaged"):
            load_acting(tmp_path / "models", VERSION.model_id)
        stored_file.write_bytes(whole)
        events = stored(log)
        assert refold(log, paper()).equal
    held = ["cannot act" in one.reasons[0] for one in signals(events)]
    assert len(held) == 300
    stretches = [(cannot, len(list(some)) > 20) for cannot, some in groupby(held)]
    assert stretches == [(True, True), (False, True), (True, True)]


# --- from one to the other --------------------------------------------------------------------------------------------


def test_the_ledger_goes_on_from_a_model_to_the_ensemble_and_back(bundle: ModelBundle, bars: Bars) -> None:
    p_up = probabilities(len(bars))
    said = words(bars, p_up)
    inputs = [promotion(bundle), *bar_events(bars)]
    inputs.insert(101, promotion(VERSION, time=START_MS + 100 * STEP_MS))
    inputs.insert(202, promotion(bundle, time=START_MS + 200 * STEP_MS))
    events = play(fresh(bundle), delayed(inputs, said, lambda: 0))
    models = [one.model for one in signals(events)]
    assert models == [bundle.model_id] * 100 + [VERSION.model_id] * 100 + [bundle.model_id] * 100
    spoken = [event.payload.model for event in newest(events, "forecast")]
    assert spoken == models
    equity = [event.payload.equity for event in newest(events, "account")]
    assert len(equity) == 300
    assert abs(np.diff(equity)).max() < 0.05 * equity[0], "nobody begins anew"
    # Told under the ensemble they would come behind what is said of later bars, and who weighs forecasts would see it.
    outcomes = [event.event_time for event in newest(events, "outcome")]
    under = (START_MS + (100 - HORIZON) * STEP_MS, START_MS + 200 * STEP_MS)
    assert not [time for time in outcomes if under[0] < time <= under[1]]
    assert outcomes


def test_a_rollback_takes_its_turn(bundle: ModelBundle, bars: Bars) -> None:
    paper = fresh(bundle)
    events = bar_events(bars)
    play(paper, [promotion(bundle), *events[:50], promotion(VERSION, time=START_MS + 1), events[50]])
    assert play(paper, [promotion(bundle, time=START_MS + 2), events[51]]) == []
    emitted = play(paper, [word(events[50].event_time + STEP_MS, 0.55)])
    assert [one.model for one in signals(emitted)] == [VERSION.model_id, bundle.model_id]


# --- commands ---------------------------------------------------------------------------------------------------------


def engage(time: int, *, flatten: bool = False) -> Event:
    return new_event("kill", time, Kill(engaged=True, by="me", reason="drill", flatten=flatten))


def test_no_order_follows_a_kill_that_came_while_a_bar_waited(bars: Bars) -> None:
    events, p_up = bar_events(bars)[:60], np.full(300, 0.9)
    said = words(bars, p_up)
    paper = fresh()
    play(paper, [promotion(VERSION), *in_step(events[:40], {t: word(t, 0.55) for t in said})])
    assert play(paper, [events[40]])
    assert play(paper, [engage(START_MS)]) == []
    decided = play(paper, [word(events[40].event_time + STEP_MS, 0.9)])
    (signal,) = signals(decided)
    assert (signal.action, signal.reasons[0]) == ("HOLD", "the kill switch is engaged by me: drill")
    assert signal.p_up == 0.9
    assert not newest(decided, "order")
    # The same word without the command is an order.
    free = fresh()
    play(free, [promotion(VERSION), *in_step(events[:40], {t: word(t, 0.55) for t in said}), events[40]])
    assert newest(play(free, [word(events[40].event_time + STEP_MS, 0.9)]), "order")


def test_a_flatten_that_waited_sells_at_the_next_open(bars: Bars) -> None:
    events = bar_events(bars)
    inputs = [promotion(VERSION), *events[:60]]
    inputs.insert(51, engage(START_MS, flatten=True))
    said = words(bars, np.full(300, 0.9))
    for wait in (0, 1, 9):
        told_it = play(fresh(), delayed(inputs, said, lambda n=wait: n, at_kill=1))
        fills = [(event.event_time, event.payload.side) for event in newest(told_it, "fill")]
        assert fills[-1] == (events[50].event_time, "sell")
        assert len(fills) == 2


# --- memory and state -------------------------------------------------------------------------------------------------


def test_it_goes_on_from_any_state_with_what_waits(bundle: ModelBundle, bars: Bars) -> None:
    inputs = [promotion(VERSION), *bar_events(bars)[:120]]
    inputs.insert(60, engage(START_MS))
    inputs.insert(70, new_event("kill", START_MS + 1, Kill(engaged=False, by="me")))
    inputs.insert(80, action(int(bars.open_time[78]), status="detected"))
    inputs.insert(83, action(int(bars.open_time[78]), status="rejected", revision=1))
    log = delayed(inputs, words(bars, probabilities(len(bars))), lambda: 7)
    whole = told(play(fresh(bundle), log))
    for cut in (1, 5, 70, 72, 90, 140):
        first = fresh(bundle)
        head = play(first, log[:cut])
        second = fresh(bundle)
        second.restore(copy_state(first.state()))
        assert told(head + play(second, log[cut:])) == whole


def test_words_do_not_pile_up_where_nobody_follows_them(bundle: ModelBundle, bars: Bars) -> None:
    paper = fresh(bundle)
    log = in_step(bar_events(bars), words(bars, probabilities(len(bars))))
    plain = play(fresh(bundle), [promotion(bundle), *bar_events(bars)])
    assert play(paper, [promotion(bundle), *log]) == plain, "where no ensemble acts it is not heard"
    state = paper.state()
    assert state[f"{SERIES}/inbox.waiting"] == "[]"
    assert len(msgspec.json.decode(str(state[f"{SERIES}/inbox.words"]))) <= 1


def test_what_waits_is_as_much_as_the_ensemble_lags(bars: Bars) -> None:
    paper = fresh()
    play(paper, [promotion(VERSION), *delayed(bar_events(bars), words(bars, probabilities(300)), lambda: 3)[:400]])
    waits = msgspec.json.decode(str(paper.state()[f"{SERIES}/inbox.waiting"]))
    assert 1 <= len(waits) <= 4


def test_a_desk_that_does_not_wait_is_caught(bars: Bars, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plant: a bar is decided when it arrives."""
    monkeypatch.setattr(Inbox, "_has_to_wait", lambda self, event: False)
    p_up = probabilities(len(bars))
    events = play(fresh(), [promotion(VERSION), *in_step(bar_events(bars), words(bars, p_up))])
    with pytest.raises(AssertionError):
        assert_equal_to_backtest(events, bars, simulated(VERSION, bars, p_up))


def test_the_fakes_say_what_the_ensemble_would(bars: Bars) -> None:
    said = word(START_MS, 0.5).payload
    assert isinstance(said, EnsembleForecast)
    assert isinstance(VERSION, EnsembleVersion)
    assert sum(said.weights.values()) == pytest.approx(1.0)


# --- the kill switch, through the runner ------------------------------------------------------------------------------


class KilledMeanwhile(PaperProjection):
    """The switch is pulled while a batch is worked on: when so many words of the ensemble have been heard."""

    pull_at = 0
    switch: KillSwitch

    def apply(self, event: Event) -> list[Event]:
        if event.kind == "ensemble":
            self.pull_at -= 1
            if self.pull_at == 0:
                self.switch.engage("worst moment", "drill")
        return super().apply(event)


@pytest.mark.parametrize("lag", [0, 1, 30])
def test_no_order_is_stored_behind_a_kill_that_overtakes(bars: Bars, tmp_path: Path, lag: int) -> None:
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    with open_log(url) as log, open_log(url) as other:
        log.append([promotion(VERSION)], writer="registry")
        log.append(delayed(bar_events(bars), words(bars, probabilities(len(bars))), lambda: lag), writer="hub")
        paper: Any = fresh()
        paper.__class__ = KilledMeanwhile
        paper.pull_at, paper.switch = 150, KillSwitch(other, tmp_path / "KILL", ManualClock(1))
        runner = Runner(log, paper, snapshots_dir=None, batch_size=64)
        runner.recover()
        runner.catch_up()
        (kill,) = log.read(kinds={"kill"})
        orders = log.read(kinds={"order"})
        assert orders
        assert all(order.seq < kill.seq for order in orders)
        assert log.read(kinds={"command_applied"})
        assert len(newest(stored(log), "signal")) == len(bars)
        assert refold(log, fresh()).equal
