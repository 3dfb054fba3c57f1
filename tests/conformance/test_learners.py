"""Every learner, found by its file, keeps the same laws; and a learner that breaks one of them is caught."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import cache
from inspect import getdoc
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from tests.fakes import learners as planted
from tests.fakes.learners import CHECKPOINT, HORIZON, SERIES, hard_life, host, market, play, quiet_life, watching
from tests.fakes.models import bar_events

from kalibre.core.catalog import part
from kalibre.core.errors import LearnerError, SnapshotError
from kalibre.core.events import Event, encode_payload
from kalibre.core.learning import Annotator, Attentive, Forecaster, Learner, Moment, Sample, Seat
from kalibre.features.engine import FeatureSpec
from kalibre.hub.checkpoints import figures_of
from kalibre.learners.base import LearnerProjection, learner_class, learner_names
from kalibre.log import open_log
from kalibre.log.replay import state_digest
from kalibre.log.runner import Runner, refold
from kalibre.log.snapshots import About, Snapshots

NAMES = learner_names()
N_BARS = 1_300
_ROOT = Path(__file__).parents[2]
Made = list[tuple[Any, ...]]


def told(events: list[Event]) -> Made:
    """Return what was said, as it is stored."""
    return [(*event.identity, encode_payload(event.payload)) for event in events]


def run(make: type[Learner], events: list[Event], **changes: Any) -> tuple[Made, str]:
    """Return what a fresh learner makes of events, and the digest of what it knows then."""
    projection = host(make, **changes)
    return told(play(projection, events)), state_digest(projection.state())


@cache
def quiet(make: type[Learner]) -> tuple[Made, str]:
    """Return a quiet life of a learner, lived once."""
    return run(make, quiet_life(N_BARS))


def stored(state: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a state as it comes back from the disk."""
    about = About(projection="p", version="v", libraries="l", position=1, anchor="", emitted=0)
    snapshots = Snapshots(folder, "p")
    return snapshots.load(snapshots.save(state, about))[0]


# --- the laws ---------------------------------------------------------------------------------------------------------


def check_shape(make: type[Learner], folder: Path) -> None:
    """It keeps the protocol, says where it comes from and when it fails, and shows what it knows as plain JSON."""
    learner = host(make).series[SERIES].learner
    assert isinstance(learner, Learner)
    assert isinstance(learner, Forecaster if make.role == "forecaster" else Annotator)
    assert make.columns is None or FeatureSpec("15m", columns=make.columns).names == make.columns
    if hasattr(make, "also_reads"):
        assert isinstance(learner, Attentive)
        assert not make.also_reads & {"bar", "tick", "command", "forecast", "outcome", "annotation"}
    doc = getdoc(make) or ""
    assert re.search(r"References\n-+\n.*\(\d{4}[a-z]?\)", doc, re.DOTALL), "its docstring cites no source with a year"
    assert re.search(r"[Ee]xpect it to (fail|mislead)", doc), "its docstring does not say when it should fail"
    for n in (0, 800):
        projection = host(make)
        play(projection, quiet_life(N_BARS)[:n])
        learner = projection.series[SERIES].learner
        json.dumps(learner.show(), allow_nan=False)
        for value in learner.figures().values():
            assert value is None or (isinstance(value, float) and np.isfinite(value)), f"no figure: {value}"


def check_deterministic(make: type[Learner], folder: Path) -> None:
    """Two lives are the same, whatever the clock says, and whoever throws dice meanwhile; nobody's dice are touched."""
    first = quiet(make)
    random.seed()
    np.random.seed()  # noqa: NPY002
    dice = random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]  # noqa: NPY002
    later = count(4e9, 12_345.678)
    with patch("time.time", lambda: next(later)), patch("time.time_ns", lambda: int(next(later) * 1e9)):
        again = run(make, quiet_life(N_BARS))
    assert again == first, "its second life is another one"
    assert dice == (random.getstate(), np.random.get_state()[1].tolist()), "it threw the dice"  # type: ignore[index]  # noqa: NPY002


def check_restart(make: type[Learner], folder: Path) -> None:
    """A state that was stored and restored goes on as if nothing had been, bit for bit, at any bar."""
    events = hard_life(make.name)
    load = _checkpoint(make, events)
    whole = run(make, events, load_checkpoint=load)
    for cut in (1, 300, 771, 830, 1_005, 1_150):
        first, second = (host(make, load_checkpoint=load) for _ in range(2))
        before = play(first, events[:cut])
        kept = stored(first.state(), folder / f"{cut}")
        assert state_digest(kept) == state_digest(first.state())
        second.restore(kept)
        assert state_digest(second.state()) == state_digest(kept)
        assert told(before + play(second, events[cut:])) == whole[0], f"another life from event {cut} on"
        assert state_digest(second.state()) == whole[1]


def _checkpoint(make: type[Learner], events: list[Event]) -> Callable[[str, str], Mapping[str, Any]]:
    """Return what loads a checkpoint that was laid down in the hard life's 1,000th event."""
    projection = host(make)
    play(projection, events[:1_000])
    state = {name: np.array(x) if isinstance(x, np.ndarray) else x for name, x in projection.state().items()}

    def load(name: str, digest: str) -> Mapping[str, Any]:
        assert (name, digest) == (make.name, CHECKPOINT)
        return state

    return load


def check_batches(make: type[Learner], folder: Path) -> None:
    """A hard life through the real runner: no batch size and no snapshot alters it, and the log tells it again."""
    events = hard_life(make.name)
    load = _checkpoint(make, events)
    found = []
    for size, every in ((1, 300), (97, 10_000)):
        with open_log(f"sqlite:///{folder / f'{size}.sqlite'}") as log:
            log.append(events, writer="source")
            projection = host(make, load_checkpoint=load)
            one = Runner(
                log, projection, snapshots_dir=folder / f"{size}", batch_size=size, snapshot_every_events=every
            )
            one.catch_up()
            found.append((told(log.read(writer=make.name)), one.state_digest()))
            again = Runner(log, host(make, load_checkpoint=load), snapshots_dir=folder / f"{size}")
            again.recover()
            assert again.state_digest() == one.state_digest(), "the size of batches shows"
            if size == 1:
                continue
            report = refold(log, host(make, load_checkpoint=load))
            assert report.equal, report.differences
            assert report.state_digest == one.state_digest()
    assert found[0] == found[1], "the size of batches shows"
    kind = "forecast" if make.role == "forecaster" else "annotation"
    bars = [event.event_time for event in _next_bars(events)]
    assert [time - 900_000 for said, _, time, *_ in found[0][0] if said == kind] == bars


def _next_bars(events: list[Event]) -> list[Event]:
    found: list[Event] = []
    for event in events:
        if event.kind == "bar" and (not found or event.event_time > found[-1].event_time):
            found.append(event)
    return found


def check_inputs(make: type[Any], folder: Path) -> None:
    """Nothing that it is shown is altered, and rows are read-only before it touches them."""

    def watch(name: str, before: tuple[Any, ...], given: Any) -> None:
        moment: Moment = given.moment if isinstance(given, Sample) else given
        assert np.array_equal(before[0], moment.row, equal_nan=True), f"{name} altered the row"
        assert not moment.row.flags.writeable, f"{name} made the row writeable"
        assert before[1:] == (moment.bar, moment.close_ms)

    play(host(watching(make, watch)), quiet_life(N_BARS))


def check_bounded(make: type[Learner], folder: Path) -> None:
    """What it keeps, in its state or beside it, is no more after 9,000 bars than after 3,000."""
    events, projection = quiet_life(9_000), host(make)
    sizes = []
    for at in (range(3_000), range(3_000, 9_001)):
        play(projection, [events[k] for k in at])
        series = projection.series[SERIES]
        sizes.append((_size(series.learnt(), set()), _size(series.learner, set())))
    for before, after in zip(*sizes, strict=True):
        assert after <= 1.02 * before + 2_048, f"it grows: {sizes}"


def _size(value: Any, seen: set[int]) -> int:
    """Return about how many bytes hang on an object, whatever names it gives them."""
    if id(value) in seen or isinstance(value, type | Seat) or callable(value):
        return 0
    seen.add(id(value))
    if isinstance(value, np.ndarray):
        return int(value.nbytes)
    if isinstance(value, Mapping):
        return 64 + sum(_size(one, seen) for pair in value.items() for one in pair)
    if isinstance(value, list | tuple | set | frozenset):
        return 8 * len(value) + sum(_size(one, seen) for one in value)
    names = [*getattr(value, "__dict__", {}), *getattr(type(value), "__slots__", ())]
    return sys.getsizeof(value) + sum(_size(getattr(value, name, None), seen) for name in names)


def check_abstains(make: type[Learner], folder: Path) -> None:
    """Of a row of NaN it says nothing; of a row with one NaN nothing, or something sensible; neither breaks it."""
    projection = host(make)
    play(projection, quiet_life(N_BARS)[:1_000])
    series = projection.series[SERIES]
    bars = market(N_BARS)
    known = series.engine.step(bars[1_000])
    assert np.isfinite(known).all()
    learner: Any = series.learner
    say = learner.predict_proba_one if make.role == "forecaster" else learner.annotate
    for k in range(len(known) + 1):
        row = np.full(len(known), np.nan) if k == len(known) else known.copy()
        row[k : k + 1] = np.nan
        row.flags.writeable = False
        at = 1_000 + k
        moment = Moment(int(bars.open_time[0]) + (at + 1) * 900_000, bars[at % N_BARS], row, k > 0)
        answer = say(moment)
        if np.isnan(row).all():
            assert answer is None, f"it says {answer} where it knows nothing"
        elif make.role == "forecaster" and answer is not None:
            assert 0.0 <= answer <= 1.0
        if make.role == "forecaster":
            learner.learn_one(Sample(moment, answer, None, k % 2 == 0, 0.0))


def check_plain(make: type[Learner], folder: Path) -> None:
    """Its state needs no pickle, and a state of another learner is refused without a change."""
    projection = host(make)
    play(projection, quiet_life(900))
    learner = projection.series[SERIES].learner
    kept = stored(learner.state(), folder)
    assert state_digest(kept) == state_digest(learner.state())
    encode_payload(planted_checkpoint(figures_of(projection)))


def planted_checkpoint(metrics: dict[str, float | None]) -> Any:
    from kalibre.core.hub_events import Checkpoint

    return Checkpoint(digest="", position=1, size_bytes=1, reason="demand", metrics=metrics)


def check_prefix(make: type[Learner], folder: Path) -> None:
    """What comes later alters nothing that was said before, not in a second life either."""
    events = quiet_life(N_BARS)
    whole = quiet(make)[0]
    other = bar_events(market(N_BARS, seed=99))
    for cut in (700, 1_000):
        known = [event.event_time for event in events[:cut]][-1] + 900_000
        altered = run(make, [*events[:cut], *other[cut - 1 :]])[0]
        assert [one for one in altered if one[2] <= known and one[0] != "outcome"] == [
            one for one in whole if one[2] <= known and one[0] != "outcome"
        ], "it knew what came later"
        assert altered != whole


def check_calibrated(make: type[Any], folder: Path) -> None:
    """A forecaster says p_up in (0, 1), and none before 200 of its scores have matured; an annotator notes each bar."""
    matured = [0]

    def watch(name: str, before: tuple[Any, ...], given: Any) -> None:
        if isinstance(given, Sample):
            matured[0] += given.score is not None

    projection = host(watching(make, watch))
    events = quiet_life(N_BARS)
    n_said = 0
    for event in events:
        for said in projection.apply(event):
            payload: Any = said.payload
            assert said.key == f"{SERIES}|{make.name}"
            if said.kind == "annotation":
                n_said += payload.abstained is None
                assert all(np.isfinite(value) for value in payload.values.values())
                assert (payload.abstained is None) == bool(payload.label)
            elif said.kind == "forecast":
                assert (payload.p_up is None) == (payload.abstained is not None)
                assert payload.score is None or 0.0 <= payload.score <= 1.0
                if payload.p_up is not None:
                    n_said += 1
                    assert 0.0 < payload.p_up < 1.0
                    assert matured[0] >= 200
                elif payload.score is not None:
                    assert matured[0] < 200
    assert n_said >= 100


def check_commands(make: type[Learner], folder: Path) -> None:
    """Paused it says nothing and learns nothing; reset it knows nothing; restored it knows what it knew."""
    events = quiet_life(N_BARS)

    def word(verb: str, at: int, checkpoint: str = "") -> Event:
        return planted.command(make.name, verb, events[at].event_time + 900_000, checkpoint=checkpoint)

    projection = host(make, load_checkpoint=_checkpoint(make, events))
    play(projection, events[:1_000])
    series = projection.series[SERIES]

    def learnt() -> str:
        return state_digest({name: np.array(x) for name, x in series.learnt().items()})

    known = learnt()
    said = play(projection, [word("pause", 999), *events[1_000:1_050]])
    assert learnt() == known
    assert {one.payload.abstained for one in said if one.kind != "outcome"} == {"paused by a test"}  # type: ignore[attr-defined]
    play(projection, [word("resume", 1_049), *events[1_050:1_100]])
    assert learnt() != known
    again = play(projection, [word("restore", 1_099, CHECKPOINT)])
    assert again == []
    assert learnt() == known
    assert series.model == f"{make.name}:1"
    play(projection, [word("reset", 1_099)])
    fresh = host(make)
    play(fresh, events[:1] if hasattr(make, "also_reads") else [])  # who begins anew knows who is champion
    assert learnt() == state_digest({name: np.array(x) for name, x in fresh.series[SERIES].learnt().items()})
    said = play(projection, events[1_100:])
    assert len([one for one in said if one.kind != "outcome"]) == len(events) - 1_100
    assert series.model == f"{make.name}:2"


LAWS = [
    check_shape,
    check_deterministic,
    check_restart,
    check_batches,
    check_inputs,
    check_bounded,
    check_abstains,
    check_plain,
    check_prefix,
    check_calibrated,
    check_commands,
]
Law = Callable[[type[Any], Path], None]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("name", NAMES)
def test_learner_keeps_the_law(name: str, law: Law, tmp_path: Path) -> None:
    law(learner_class(name), tmp_path)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
@pytest.mark.parametrize("make", [planted.Honest, planted.Noting])
def test_honest_learner_keeps_the_law(make: type[Any], law: Law, tmp_path: Path) -> None:
    law(make, tmp_path)


@pytest.mark.parametrize(
    ("make", "law", "why"),
    [
        (planted.Unsourced, check_shape, "cites no source"),
        (planted.Confident, check_shape, "when it should fail"),
        (planted.Unfigured, check_shape, "no figure"),
        (planted.Mutating, check_inputs, "predict_proba_one altered the row"),
        (planted.Spoiling, check_inputs, "learn_one altered the row"),
        (planted.Clockwise, check_deterministic, "another one"),
        (planted.Dicing, check_deterministic, "another one"),
        (planted.Loading, check_deterministic, "threw the dice"),
        (planted.Peeking, check_deterministic, "another one"),
        (planted.Peeking, check_prefix, "knew what came later"),
        (planted.Growing, check_bounded, "it grows"),
        (planted.Hoarding, check_bounded, "it grows"),
        (planted.Forgetful, check_restart, "another life"),
        (planted.Noticing, check_batches, "size of batches"),
        (planted.Stubborn, check_abstains, "knows nothing"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_planted_learner_is_caught(make: type[Any], law: Law, why: str, tmp_path: Path) -> None:
    planted.Peeking.known.clear()
    with pytest.raises(AssertionError, match=why):
        law(make, tmp_path)


def test_what_needs_pickle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="Python objects"):
        check_plain(planted.Pickling, tmp_path)


def test_what_nobody_can_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        check_shape(planted.Reading, tmp_path)


def test_what_is_no_probability_is_refused() -> None:
    with pytest.raises(LearnerError, match=r"honest says 1\.5"):
        quiet(planted.Shouting)


@pytest.mark.parametrize("name", NAMES)
def test_learner_is_called_like_its_file(name: str) -> None:
    make = learner_class(name)
    assert make.name == name
    assert make.role in ("forecaster", "annotator")
    assert part("kalibre.learners", name).LEARNER is make
    assert make.role == "annotator" or name in learner_names("forecaster")
    doc = (sys.modules[make.__module__].__doc__ or "").splitlines()[0]
    assert doc.endswith(".")


@pytest.mark.parametrize("name", NAMES)
def test_state_of_another_learner_is_refused_without_a_change(name: str) -> None:
    learner = host(learner_class(name)).series[SERIES].learner
    before = state_digest(learner.state())
    for foreign in ({}, {"nothing": 1}, dict.fromkeys(learner.state(), 0)):
        with pytest.raises(LearnerError):
            learner.restore(foreign)
        assert state_digest(learner.state()) == before


def digest(life: tuple[Made, str]) -> str:
    return state_digest({f"{k}": repr(one) for k, one in enumerate(life[0])} | {"state": life[1]})


def test_learners_are_the_same_in_every_process() -> None:
    """In each, sets of words have another order; the planted learner that adds up in such an order is caught."""
    code = (
        "from tests.conformance.test_learners import *\n"
        "for make in (planted.Setting, *map(learner_class, NAMES)):\n"
        "    print(digest(run(make, quiet_life(800))))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"}
    command = [sys.executable, "-c", code]
    ran = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=True)
    setting, *there = ran.stdout.split()
    assert there == [digest(run(learner_class(name), quiet_life(800))) for name in NAMES]
    assert setting != digest(run(planted.Setting, quiet_life(800)))


def test_horizon_is_the_one_of_the_seat() -> None:
    projection = host(planted.Honest)
    assert isinstance(projection, LearnerProjection)
    assert projection.series[SERIES].seat.horizon_bars == HORIZON
