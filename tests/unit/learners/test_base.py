"""The projection around a learner: what it shows, when it tells what became of it, and whom it obeys."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tests.fakes.learners import (
    HORIZON,
    SERIES,
    Honest,
    command,
    hard_life,
    host,
    market,
    models,
    play,
    promoted,
    quiet_life,
    short_spec,
    tick,
)
from tests.fakes.models import STEP_MS, bar_events, random_bars

from kalibre.bars.calendars import get_calendar
from kalibre.core.bars import Bars, concat
from kalibre.core.errors import CatalogError, LearnerError
from kalibre.core.events import CorporateAction, Event, Forecast, Outcome, Promotion, new_event
from kalibre.core.learning import Moment, Sample, Seat
from kalibre.core.protocols import State
from kalibre.core.settings import Settings
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.learners import base
from kalibre.learners.base import (
    LearnerProjection,
    enabled_learners,
    learner_class,
    learner_names,
    learner_projection,
)
from kalibre.log.replay import copy_state, state_digest
from kalibre.sources import open_source


class Diary(Honest):
    """Keeps everything that it is shown, beside its state."""

    columns: ClassVar[tuple[str, ...] | None] = None
    pages: ClassVar[list[tuple[str, Any]]] = []

    def predict_proba_one(self, moment: Moment) -> float | None:
        self.pages.append(("asked", moment))
        return 0.3 + 0.4 * ((moment.close_ms // STEP_MS) % 7) / 7

    def learn_one(self, sample: Sample) -> None:
        self.pages.append(("told", sample))


def diary(events: list[Event], **changes: Any) -> tuple[list[Moment], list[Sample], list[Event]]:
    Diary.pages.clear()
    said = play(host(Diary, **changes), events)
    asked, told = ([page for what, page in Diary.pages if what == name] for name in ("asked", "told"))
    return asked, told, said


def forecasts(events: list[Event]) -> list[Forecast]:
    return [event.payload for event in events if isinstance(event.payload, Forecast)]


def outcomes(events: list[Event]) -> dict[int, Outcome]:
    return {event.event_time: event.payload for event in events if isinstance(event.payload, Outcome)}


@cache
def whole() -> list[Event]:
    return quiet_life(900)


# --- what it is shown, and when ---------------------------------------------------------------------------------------


def test_rows_are_those_of_the_engine_and_read_only() -> None:
    asked, *_ = diary(quiet_life(300))
    bars = market(300)
    rows = FeatureEngine(short_spec()).batch(bars)
    assert np.array_equal([moment.row for moment in asked], rows, equal_nan=True)
    assert not any(moment.row.flags.writeable for moment in asked)
    assert [moment.close_ms for moment in asked] == bars.close_time.tolist()
    assert [moment.bar.close for moment in asked] == bars.close.tolist()
    assert [moment.follows for moment in asked] == [False] + [True] * 299


def test_each_sample_is_told_once_with_its_truth_before_the_next_question() -> None:
    asked, told, _ = diary(quiet_life(300))
    bars = market(300)
    assert len(told) == 300 - HORIZON
    for k, sample in enumerate(told):
        assert sample.moment.close_ms == bars.close_time[k]
        assert sample.went_up == (bars.close[k + HORIZON] > bars.close[k])
        assert sample.log_return == math.log(bars.close[k + HORIZON] / bars.close[k])
        assert sample.moment is asked[k]
    order = [page.moment.close_ms if what == "told" else page.close_ms for what, page in Diary.pages]
    whats = [what for what, _ in Diary.pages]
    # At each bar: first what became of the one four bars before, then the question.
    assert whats[:6] == ["asked"] * 4 + ["told", "asked"]
    for k in range(HORIZON, 300):
        place = whats.index("asked", 0) if k == 0 else 4 + 2 * (k - HORIZON)
        assert order[place : place + 2] == [bars.close_time[k - HORIZON], bars.close_time[k]]


def test_outcomes_are_told_of_what_was_said_at_the_bar_that_closes_the_horizon() -> None:
    said = play(host(Honest), whole())
    told, foreseen = outcomes(said), {event.event_time: event.payload for event in said if event.kind == "forecast"}
    bars = market(900)
    spoken = [time for time, one in foreseen.items() if one.p_up is not None]  # type: ignore[attr-defined]
    assert len(spoken) > 600
    assert list(told) == spoken[:-HORIZON]
    for k, (time, outcome) in enumerate(told.items()):
        at = int(np.searchsorted(bars.close_time, time))
        assert outcome.told_ms == bars.close_time[at + HORIZON]
        assert outcome.p_up == foreseen[time].p_up  # type: ignore[attr-defined]
        assert outcome.went_up == (bars.close[at + HORIZON] > bars.close[at]), k
    kinds = [event.kind for event in said if event.event_time >= spoken[0]]
    assert kinds[:7] == ["forecast"] * HORIZON + ["outcome", "forecast", "outcome"]


def test_what_spans_a_hole_has_no_outcome() -> None:
    events = quiet_life(300)
    broken = events[:101] + events[103:]  # the bars 100 and 101 of the market
    _, counted, _ = diary(broken)
    _, told, _ = diary(broken, calendar=get_calendar("24/7"))
    assert len(counted) == 298 - HORIZON
    bars = market(300)
    lost = {int(bars.close_time[k]) for k in range(100 - HORIZON, 100)}
    assert {s.moment.close_ms for s in counted} - {s.moment.close_ms for s in told} == lost
    asked, *_ = diary(broken)
    assert [moment.follows for moment in asked].count(False) == 2


def test_bars_that_come_late_lengthen_what_waits() -> None:
    """The horizon is counted in bars of the market, whenever they came: a bar in between moves what is due."""
    events = quiet_life(120)
    bars = market(120)
    late = [*events[:101], *events[102:104], events[101], *events[104:]]
    straight = {sample.moment.close_ms: sample for sample in diary(events)[1]}
    _, told, _ = diary(late, calendar=get_calendar("24/7"))
    for sample in told:
        expected = straight[sample.moment.close_ms]
        assert (sample.went_up, sample.log_return) == (expected.went_up, expected.log_return)
    found = [sample.moment.close_ms for sample in told]
    assert len(set(found)) == len(found)
    # Nobody said anything of the late bar; of two before it the horizon seemed to be over while it was missing.
    assert set(straight) - set(found) == {int(bars.close_time[k]) for k in (96, 97, 100)}


def test_a_correction_alters_outcomes_that_are_due_and_nothing_that_was_said() -> None:
    events = quiet_life(160)
    right: Any = events[131].payload
    other = {name: getattr(right, name) for name in right.__struct_fields__} | {"close": right.low}
    corrected = new_event(events[131].key, events[131].event_time, type(right)(**other), revision=1)
    for at in (131, 133):  # the newest bar, and one that is no longer
        before, told, said = diary([*events[: at + 1], corrected, *events[at + 1 :]])
        asked, straight, plain = diary(events)
        assert [event for event in said if event.event_time <= events[at].event_time + STEP_MS] == [
            event for event in plain if event.event_time <= events[at].event_time + STEP_MS
        ]
        assert len(before) == len(asked)
        by_close = {sample.moment.close_ms: sample for sample in told}
        for k, sample in enumerate(straight):
            spans = k == 130 or (k == 130 - HORIZON and at == 131)
            changed = by_close[sample.moment.close_ms].log_return != sample.log_return
            # A truth that was told already stays told; this one was due four bars after, or at, the corrected one.
            assert changed == (spans and not (k == 126 and at >= 131))


def test_prices_in_doubt_are_neither_foreseen_nor_learnt() -> None:
    events = quiet_life(400)
    at_ms = events[251].event_time

    def action(status: Any, revision: int) -> Event:
        return new_event("BTCUSDT", at_ms, CorporateAction(factor=1.0, status=status), revision=revision)

    inputs = [*events[:251], action("detected", 0), *events[251:271], action("rejected", 1), *events[271:]]
    asked, told, said = diary(inputs)
    found = forecasts(said)
    frozen = [k for k, one in enumerate(found) if one.abstained and one.abstained.startswith("frozen: ")]
    assert frozen == list(range(250, 270))
    assert "kalibre actions confirm BTCUSDT" in (found[250].abstained or "")
    bars = market(400)
    assert {moment.close_ms for moment in asked} == {int(t) for k, t in enumerate(bars.close_time) if k not in frozen}
    unlearnt = set(bars.close_time.tolist()[: 400 - HORIZON]) - {sample.moment.close_ms for sample in told}
    assert unlearnt == set(bars.close_time.tolist()[250 - HORIZON : 270])
    follows = {moment.close_ms: moment.follows for moment in asked}
    assert not follows[int(bars.close_time[270])]  # it was not shown the bars between


def test_a_forecast_of_a_bar_that_is_old_news_says_so() -> None:
    events = quiet_life(60)
    now = events[40].event_time + STEP_MS
    found = forecasts(play(host(Honest), [*events[:41], tick(now + 6 * STEP_MS), *events[41:]]))
    assert [one.late for one in found].index(True) == 40
    assert [one.late for one in found].count(True) == 1  # the clock is six bars ahead, four are allowed


def test_the_reason_of_silence_is_named() -> None:
    found = forecasts(play(host(Honest), quiet_life(400)))
    assert found[3].abstained == "the features need 11 bars, 4 have come"
    assert (
        found[100].abstained
        == f"not calibrated yet: {200 - (100 - HORIZON - 10 + 1)} more of its forecasts have to mature"
    )
    assert found[-1].abstained is None


# --- commands ---------------------------------------------------------------------------------------------------------


def test_a_bar_that_it_was_not_shown_is_missing_to_it() -> None:
    events = quiet_life(120)
    at = events[60].event_time + STEP_MS
    asked, *_ = diary(
        [
            *events[:61],
            command("honest", "pause", at),
            *events[61:71],
            command("honest", "resume", at + 1),
            *events[71:],
        ]
    )
    gaps = [k for k, moment in enumerate(asked) if not moment.follows]
    assert gaps == [0, 60]
    for verb in ("reset", "restore"):
        state: dict[str, Any] = {}

        def load(name: str, digest: str, known: Mapping[str, Any] = state) -> Mapping[str, Any]:
            return known

        one = host(Diary, load_checkpoint=load)
        play(one, events[:50])
        state |= copy_state(one.state())
        Diary.pages.clear()
        play(one, [command("honest", verb, at, checkpoint="c"), *events[50:60]])
        moments = [page for what, page in Diary.pages if what == "asked"]
        assert [moment.follows for moment in moments] == [False] + [True] * 9


def test_what_waits_at_a_reset_teaches_nobody() -> None:
    events = quiet_life(100)
    at = events[60].event_time + STEP_MS
    _, told, _ = diary([*events[:61], command("honest", "reset", at), *events[61:]])
    assert len(told) == 99 - 2 * HORIZON + 1
    learnt = {sample.moment.close_ms for sample in told}
    assert not learnt & {event.event_time + STEP_MS for event in events[57:61]}


def test_commands_to_others_and_unknown_series_are_passed_over() -> None:
    one = host(Honest)
    events = quiet_life(50)
    before = state_digest(one.state())
    foreign = [new_event("ETHUSDT|15m", event.event_time, event.payload) for event in events if event.kind == "bar"]
    assert play(one, [command("agents", "pause", 1), *foreign]) == []
    assert state_digest(one.state()) == before


def test_a_checkpoint_of_other_code_pauses_it_with_the_reason() -> None:
    """The command stands in the log for good: to raise would be to fail at every start."""
    events = quiet_life(60)
    states: list[dict[str, Any]] = [
        {f"{SERIES}/learner.counts": np.zeros(3)},
        {f"{SERIES}/learner.counts": np.zeros(2), f"{SERIES}/learner.last": 0.5, f"{SERIES}/calibration.n": 3},
    ]

    class Strict(Honest):
        def restore(self, state: State) -> None:
            if np.asarray(state.get("counts")).shape != (2,) or "last" not in state:
                raise LearnerError("it is of another learner")
            super().restore(state)

    for state in states:
        one = host(Strict, load_checkpoint=lambda name, digest, known=state: known)  # type: ignore[misc]
        play(one, events[:30])
        before = state_digest({name: np.array(x) for name, x in one.series[SERIES].learnt().items()})
        said = forecasts(play(one, [command("honest", "restore", 1, checkpoint="c0ffee"), *events[30:40]]))
        assert len(said) == 10
        assert all(
            (each.abstained or "").startswith("paused: it cannot go back to checkpoint c0ffee: ") for each in said
        )
        assert "resume it as it is, or reset it first" in (said[0].abstained or "")
        assert before == state_digest({name: np.array(x) for name, x in one.series[SERIES].learnt().items()})
        said = forecasts(play(one, [command("honest", "resume", 2), *events[40:42]]))
        assert said[0].score is not None


def test_a_restore_needs_a_way_to_load() -> None:
    with pytest.raises(LearnerError, match="'c0ffee' and has no way to load one"):
        play(host(Honest), [command("honest", "restore", 1, checkpoint="c0ffee")])


def test_a_series_that_came_later_goes_on_as_it_is() -> None:
    events = quiet_life(300)
    early = host(Honest)
    play(early, events[:200])
    state = copy_state(early.state())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(base, "learner_class", lambda name: Honest)
        both = LearnerProjection(
            "honest",
            [("BTCUSDT", "15m"), ("ETHUSDT", "15m")],
            spec=short_spec(),
            horizon_bars=HORIZON,
            fee=0.0,
            stale_bars=4,
            seed=7,
            load_checkpoint=lambda name, digest: state,
        )
    other = [new_event("ETHUSDT|15m", event.event_time, event.payload) for event in events[1:]]
    said = play(both, [event for pair in zip(events[1:], other, strict=True) for event in pair])
    ours, theirs = ([e.payload for e in said if e.key.startswith(name)] for name in ("BTCUSDT", "ETHUSDT"))
    assert ours == theirs != []  # what the one learns is not what the other knows
    both.apply(command("honest", "restore", 1, checkpoint="c"))
    assert {key: one.model for key, one in both.series.items()} == {SERIES: "honest:1", "ETHUSDT|15m": "honest:0"}


class Following(Honest):
    """Asks for promotions, and for the features of whoever was promoted last."""

    also_reads: ClassVar[frozenset[str]] = frozenset({"promotion"})

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.model = ""

    def take(self, event: Event) -> None:
        assert isinstance(event.payload, Promotion)
        self.model = event.payload.model or ""

    @property
    def spec(self) -> Mapping[str, Any] | None:
        return models()[self.model].spec.as_dict() if self.model else None

    def predict_proba_one(self, moment: Moment) -> float | None:
        Diary.pages.append((self.model, len(moment.row)))
        return None

    def state(self) -> State:
        return {**super().state(), "model": self.model}

    def restore(self, state: State) -> None:
        super().restore(state)
        self.model = str(state["model"])


@pytest.mark.parametrize("verb", ["reset", "restore"])
def test_who_begins_anew_or_goes_back_hears_who_is_champion_now(verb: str) -> None:
    events = quiet_life(200)[1:]
    first, second = models()
    states: list[Mapping[str, Any]] = []
    one = host(Following, load_checkpoint=lambda name, digest: states[0])
    Diary.pages.clear()
    play(one, [*events[:20], promoted(0, 5), *events[20:40]])
    states.append(copy_state(one.state()))
    play(one, [promoted(1, 6), *events[40:60], command("honest", verb, 7, checkpoint="c"), *events[60:80]])
    widths = [len(models()[first].spec.names), len(models()[second].spec.names)]
    assert Diary.pages[:20] == [("", 2)] * 20
    assert Diary.pages[20:40] == [(first, widths[0])] * 20
    assert Diary.pages[40:] == [(second, widths[1])] * 40
    again = host(Following, load_checkpoint=lambda name, digest: states[0])
    again.restore(copy_state(one.state()))
    play(again, [command("honest", "reset", 8), *events[80:81]])
    assert Diary.pages[-1] == (second, widths[1])  # a restart forgets nobody


def test_features_of_a_new_champion_know_the_bars_before_it() -> None:
    events = quiet_life(600)[1:]
    seen: list[Any] = []

    class Looking(Following):
        def predict_proba_one(self, moment: Moment) -> float | None:
            seen.append(moment.row)
            return None

    play(host(Looking), [*events[:500], promoted(0, 5), *events[500:]])
    spec = FeatureSpec.from_dict(next(iter(models().values())).spec.as_dict())
    rows = FeatureEngine(spec).batch(market(600))
    short = [spec.names.index(name) for name in ("log_return_3",)]  # as far as bars are kept
    assert np.array_equal(np.array(seen[500:])[:, short], rows[500:, short])
    assert np.isfinite(seen[500][short]).all()


# --- what there is ----------------------------------------------------------------------------------------------------


def test_learners_are_found_by_their_files() -> None:
    assert {"agents", "explain"} <= set(learner_names())
    assert set(learner_names("forecaster")) | set(learner_names("annotator")) == set(learner_names())
    assert learner_class("agents").name == "agents"
    with pytest.raises(CatalogError, match="'astrology' is not in"):
        learner_class("astrology")


def test_settings_choose_who_runs(tmp_path: Path) -> None:
    everybody = Settings(home=tmp_path)  # type: ignore[call-arg]
    assert enabled_learners(everybody) == learner_names()
    two = Settings(home=tmp_path, hub={"learners": ["explain", "agents"]})  # type: ignore[arg-type]
    assert enabled_learners(two) == ("explain", "agents")
    assert enabled_learners(two, "forecaster") == ("agents",)
    one = learner_projection("agents", two)
    assert one.name == "agents"
    assert {"bar", "tick", "command", "corporate_action"} == one.reads
    assert learner_projection("explain", two).reads - one.reads == {"promotion"}


def test_a_seed_belongs_to_one_learner_and_series() -> None:
    seeds = {
        (seed, name, key): base._seed(seed, name, key) for seed in (1, 2) for name in "ab" for key in ("x|1h", "y|1h")
    }
    assert len(set(seeds.values())) == 8


def test_versions_follow_settings_features_and_code() -> None:
    makes = [
        host(Honest),
        host(Honest, horizon_bars=5),
        host(Honest, fee=0.1),
        host(Honest, seed=8),
        host(Honest, stale_bars=5),
        host(Honest, calendar=get_calendar("XIST")),
        host(Diary),
    ]
    assert len({one.version for one in makes}) == len(makes)
    assert host(Honest).version == makes[0].version


def test_the_code_of_a_learner_is_all_that_it_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file or a folder, `import` in any form, and what lies below in other layers; not what nobody imports."""
    files = {
        "learners/base.py": "from kalibre.trading.outcomes import outcome\n",
        "learners/forest/__init__.py": "from kalibre.learners import _votes as votes\nimport kalibre.models.trees\n",
        "learners/forest/tree.py": "",
        "learners/_votes.py": "def f():\n    from kalibre.learners.forest.tree import grow\n",
        "trading/outcomes.py": "from kalibre.bars.timeline import Timeline\n",
        "bars/timeline.py": "",
        "models/trees.py": "",
        "learners/stranger.py": "",
        "core/events.py": "",
    }
    for name, code in files.items():
        (tmp_path / "kalibre" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "kalibre" / name).write_text(code)
    monkeypatch.setattr(base, "__file__", str(tmp_path / "kalibre" / "learners" / "base.py"))
    digest = base.code_digest.__wrapped__
    before = digest("forest")
    for name, code in files.items():
        path = tmp_path / "kalibre" / name
        path.write_text(code + "# changed\n")
        is_part = name not in ("learners/stranger.py", "core/events.py")
        assert (digest("forest") != before) == is_part, name
        path.write_text(code)
    assert digest("forest") == before


def test_a_hard_life_ends_in_the_same_state_wherever_it_is_cut() -> None:
    events = hard_life("honest")
    one = host(Honest, load_checkpoint=lambda name, digest: {})
    play(one, events)
    for cut in (765, 905, 1_120):
        first, second = (host(Honest, load_checkpoint=lambda name, digest: {}) for _ in range(2))
        play(first, events[:cut])
        second.restore(copy_state(first.state()))
        play(second, events[cut:])
        assert state_digest(second.state()) == state_digest(one.state())


def test_the_bars_of_the_market_are_those_of_the_log() -> None:
    assert [event.event_time for event in bar_events(market(5))] == [event.event_time for event in quiet_life(5)[1:]]


# --- a market that knows the takers' volume ---------------------------------------------------------------------------

WHOLE = FeatureSpec("15m")
"""The default set: no columns are named."""


def test_who_names_no_columns_sees_those_of_the_takers_where_the_market_has_them() -> None:
    bars = market(300)
    asked, *_ = diary(bar_events(bars), spec=WHOLE)
    assert "taker_imbalance_20" in WHOLE.widened().names
    rows = FeatureEngine(WHOLE.widened()).batch(bars)
    assert np.array_equal([moment.row for moment in asked], rows, equal_nan=True)
    without = replace(bars, taker_buy_volume=None)
    asked, *_ = diary(bar_events(without), spec=WHOLE)
    assert np.array_equal([moment.row for moment in asked], FeatureEngine(WHOLE).batch(without), equal_nan=True)


def test_the_first_bar_decides_and_a_reset_changes_nothing_of_it() -> None:
    events = bar_events(replace(market(40), taker_buy_volume=None))[:10] + bar_events(market(40))[10:]
    narrow = host(Diary, spec=WHOLE)
    play(narrow, events)
    assert narrow.series[SERIES].seat.columns == WHOLE.names
    wide = host(Diary, spec=WHOLE)
    events = bar_events(market(40))
    play(wide, [*events[:20], command(Diary.name, "reset", events[20].event_time), *events[20:]])
    assert wide.series[SERIES].seat.columns == WHOLE.widened().names
    assert host(Diary).series[SERIES].seat.columns == short_spec().names, "who is told its columns sees those"


def test_what_it_sees_outlives_a_restart() -> None:
    events = bar_events(market(300))
    first = host(Diary, spec=WHOLE)
    play(first, events[:150])
    second = host(Diary, spec=WHOLE)
    second.restore(copy_state(first.state()))
    assert second.series[SERIES].seat.columns == WHOLE.widened().names
    assert play(second, events[150:]) == play(first, events[150:])
    assert state_digest(second.state()) == state_digest(first.state())


def test_the_online_learner_finds_what_is_planted_in_the_takers_volume() -> None:
    bars = concat(list(open_source("simulated", market="edge", auc=0.65, seed=5, n_bars=8_000).history("EDGE", "15m")))
    settings = Settings(market={"symbols": ["EDGE"], "timeframe": "15m"})  # type: ignore[arg-type]

    def edge(played: Bars) -> float:
        told = outcomes(play(learner_projection("online", settings), bar_events(played)))
        recent = [told[time] for time in sorted(told)[-3_000:]]
        loss = [-math.log(one.p_up if one.went_up else 1.0 - one.p_up) for one in recent]
        return math.log(2.0) - sum(loss) / len(loss)

    assert edge(bars) > 0.004
    assert edge(replace(bars, taker_buy_volume=None)) < 0.002, "planted: without that column there is nothing to find"


# --- news -------------------------------------------------------------------------------------------------------------


def test_news_are_seen_by_who_names_no_columns_where_the_settings_say_so() -> None:
    bars = random_bars(300, news=True)
    asked, *_ = diary(bar_events(bars), spec=WHOLE, news=True)
    spec = WHOLE.widened(taker=False, news=True)
    assert {"snews_impact", "snews_conf"} <= set(spec.names)
    assert np.array_equal([moment.row for moment in asked], FeatureEngine(spec).batch(bars), equal_nan=True)
    assert host(Diary, spec=WHOLE, news=True).series[SERIES].seat.columns == spec.names
    assert host(Diary, spec=WHOLE).series[SERIES].seat.columns == WHOLE.names
    assert host(Diary, news=True).series[SERIES].seat.columns == short_spec().names, (
        "who is told its columns sees those"
    )
    assert host(Diary, spec=WHOLE, news=True).version != host(Diary, spec=WHOLE).version


def test_the_online_learner_finds_what_is_planted_in_the_news() -> None:
    walk = random_bars(6_000, seed=8)
    ahead = np.zeros(len(walk))
    ahead[:-4] = np.log(walk.close[4:] / walk.close[:-4])
    noise = np.random.default_rng(3).normal(0, 1.0, len(walk))
    impact = np.tanh(ahead / ahead.std() * 0.6 + noise)
    bars = replace(walk, news_impact=impact, news_conf=np.abs(impact))

    def edge(*, news: bool) -> float:
        settings = Settings(
            market={"symbols": ["BTCUSDT"], "timeframe": "15m"},  # type: ignore[arg-type]
            model={"horizon_bars": 4},  # type: ignore[arg-type]
            features={"news": news},  # type: ignore[arg-type]
        )
        told = outcomes(play(learner_projection("online", settings), bar_events(bars)))
        recent = [told[time] for time in sorted(told)[-2_000:]]
        loss = [-math.log(one.p_up if one.went_up else 1.0 - one.p_up) for one in recent]
        return math.log(2.0) - sum(loss) / len(loss)

    assert edge(news=True) > 0.03
    assert edge(news=False) < 0.005, "planted: without the news there is nothing to find"
