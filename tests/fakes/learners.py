"""Learners under test: a market for them, a hard life, an honest learner, and one that breaks each law."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, ClassVar, Literal
from unittest.mock import patch
from zlib import crc32

import numpy as np
from tests.fakes.models import STEP_MS, bar_events, random_bars, small_bundle

from kalibre.core.bars import Bars
from kalibre.core.events import CorporateAction, Event, Promotion, Tick, new_event
from kalibre.core.hub_events import Command
from kalibre.core.learning import Learner, Moment, Note, Sample, Seat
from kalibre.core.protocols import State
from kalibre.features.engine import FeatureEngine, FeatureSpec, default_columns
from kalibre.learners import base
from kalibre.learners.base import LearnerProjection
from kalibre.models.bundle import ModelBundle

SERIES = "BTCUSDT|15m"
HORIZON = 4
CHECKPOINT = "c0ffee"
_CHAMPION = ("rsi_14", "log_return_3", "natr_14", "volume_z_20")


@cache
def short_spec() -> FeatureSpec:
    """Return the default columns that need few bars, so that learners of any features soon have some."""
    names = default_columns()
    warmup = FeatureEngine(FeatureSpec("15m", columns=names)).warmup_bars
    return FeatureSpec("15m", columns=tuple(name for name, bars in zip(names, warmup, strict=True) if bars <= 120))


@cache
def models() -> Mapping[str, ModelBundle]:
    """Return two champions by id."""
    made = (small_bundle(columns=_CHAMPION), small_bundle(columns=_CHAMPION[:3], seed=5))
    return {bundle.model_id: bundle for bundle in made}


def host(make: type[Learner], **changes: Any) -> LearnerProjection:
    """Return the projection around a learner class, be it a file of `learners/` or not."""
    with patch.object(base, "learner_class", return_value=make):
        options: dict[str, Any] = {
            "spec": short_spec(),
            "horizon_bars": HORIZON,
            "fee": 0.0008,
            "stale_bars": 4,
            "seed": 7,
            "load_model": lambda model, digest: models()[model],
        }
        return LearnerProjection(make.name, [("BTCUSDT", "15m")], **{**options, **changes})


def play(projection: LearnerProjection, events: Sequence[Event]) -> list[Event]:
    """Let a projection take events in and return what it says."""
    return [said for event in events for said in projection.apply(event)]


# --- the market -------------------------------------------------------------------------------------------------------


def market(n: int, seed: int = 3) -> Bars:
    """Return bars of a random walk that know the takers' volume too."""
    bars = random_bars(n, seed=seed)
    share = np.random.default_rng(seed).uniform(0.2, 0.8, n)
    return replace(bars, taker_buy_volume=bars.volume * share)


def promoted(which: int, at_ms: int) -> Event:
    """Return the promotion of one of the champions."""
    bundle = list(models().values())[which]
    promotion = Promotion(model=bundle.model_id, digest=bundle.digest, alias="champion", previous=None, by="test")
    return new_event(f"{SERIES}|champion", at_ms, promotion)


def quiet_life(n: int, seed: int = 3) -> list[Event]:
    """Return a champion's promotion, and bars of which none is missing."""
    bars = market(n, seed)
    return [promoted(0, int(bars.open_time[0]) - 1), *bar_events(bars)]


def tick(at_ms: int) -> Event:
    """Return the clock, recorded."""
    return new_event("clock", at_ms, Tick(now_ms=at_ms))


def command(learner: str, verb: Any, at_ms: int, *, checkpoint: str = "") -> Event:
    """Return a person's word to a learner."""
    return new_event(learner, at_ms, Command(verb=verb, by="a test", checkpoint=checkpoint))


def hard_life(learner: str, n: int = 1_300, seed: int = 3) -> list[Event]:
    """Return what can happen: a hole, late bars, corrections, splits decided and not, stale bars, every command."""
    bars = market(n, seed)
    row = 900
    scale = np.where(np.arange(n) >= row, 3.0, 1.0)
    prices = {name: getattr(bars, name) / scale for name in ("open", "high", "low", "close")}
    bars = replace(bars, **prices, volume=bars.volume * scale, taker_buy_volume=bars.taker_buy_volume * scale)
    traded = bar_events(bars)
    events = [promoted(0, traded[0].event_time - 1)]
    late = traded[760:764]
    for k, event in enumerate(traded):
        now_ms = event.event_time + STEP_MS
        if 700 <= k < 706 or event in late:
            continue
        if k in (row, 1_000):
            events.append(_action(event.event_time, 3.0, "detected"))
        events.append(event)
        if k % 50 == 10:
            events.append(tick(now_ms + 1_000))
        match k:
            case 770:
                events += late
            case 800:
                events.append(_corrected(event))
            case 803:
                events.append(_corrected(traded[790]))
            case 820 | 840:
                events.append(command(learner, "pause" if k == 820 else "resume", now_ms))
            case 930:
                events.append(_action(traded[row].event_time, 3.0, "confirmed", revision=1))
            case 1_010:
                events.append(_action(traded[1_000].event_time, 3.0, "rejected", revision=1))
            case 1_050:
                events.append(promoted(1, now_ms))
            case 1_100:
                events.append(command(learner, "reset", now_ms))
            case 1_150:
                events.append(command(learner, "restore", now_ms, checkpoint=CHECKPOINT))
            case 1_200:
                events.append(tick(now_ms + 10 * STEP_MS))
    return events


def _corrected(event: Event) -> Event:
    payload: Any = event.payload
    told = {name: getattr(payload, name) for name in payload.__struct_fields__}
    told |= {"close": payload.low, "volume": payload.volume * 2}
    return new_event(event.key, event.event_time, type(payload)(**told), revision=1)


def _action(at_ms: int, factor: float, status: Any, *, revision: int = 0) -> Event:
    return new_event("BTCUSDT", at_ms, CorporateAction(factor=factor, status=status), revision=revision)


# --- an honest learner, and others ------------------------------------------------------------------------------------


class Honest:
    """Follows the last returns and keeps how often that was right; nothing that any law forbids.

    Expect it to fail: it knows nothing.

    References
    ----------
    Nobody (2024).
    """

    name: ClassVar[str] = "honest"
    role: ClassVar[Literal["forecaster", "annotator"]] = "forecaster"
    columns: ClassVar[tuple[str, ...] | None] = ("log_return_1", "roc_10")

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.counts = np.array([1.0, 2.0])
        self.last = 0.5

    def predict_proba_one(self, moment: Moment) -> float | None:
        if np.isnan(moment.row).any():
            return None
        up = self.counts[0] / self.counts[1]
        self.last = float(up + (1.0 - 2.0 * up) * (moment.row[1] < 0.0) + 0.01 * np.tanh(100.0 * moment.row[0]))
        self.last = min(max(self.last, 0.01), 0.99)
        return self.last

    def learn_one(self, sample: Sample) -> None:
        if sample.score is not None:
            self.counts += (sample.went_up == (sample.moment.row[1] > 0.0), 1.0)

    def state(self) -> State:
        return {"counts": self.counts, "last": self.last}

    def restore(self, state: State) -> None:
        self.counts, self.last = np.array(state["counts"]), float(state["last"])  # type: ignore[arg-type]

    def figures(self) -> dict[str, float | None]:
        return {"right": float(self.counts[0] / self.counts[1])}

    def show(self) -> dict[str, Any]:
        return {"counts": self.counts.tolist()}


class Noting(Honest):
    __doc__ = Honest.__doc__

    role: ClassVar[Literal["forecaster", "annotator"]] = "annotator"

    def annotate(self, moment: Moment) -> Note | None:
        score = self.predict_proba_one(moment)
        return None if score is None else Note("up" if score > 0.5 else "down", {"score": score})


class Mutating(Honest):
    """Writes into the row that it was shown."""

    def predict_proba_one(self, moment: Moment) -> float | None:
        score = super().predict_proba_one(moment)
        moment.row.flags.writeable = True
        moment.row[0] = 0.0
        return score


class Spoiling(Honest):
    """Writes into the sample that it learns from."""

    def learn_one(self, sample: Sample) -> None:
        super().learn_one(sample)
        sample.moment.row.flags.writeable = True
        sample.moment.row[:] = 0.0


class Clockwise(Honest):
    """Looks at the clock on the wall."""

    def predict_proba_one(self, moment: Moment) -> float | None:
        score = super().predict_proba_one(moment)
        return None if score is None else 0.9 * score + 0.1 * ((time.time() // 86_400) % 7) / 7


class Dicing(Honest):
    """Throws everybody's dice."""

    def predict_proba_one(self, moment: Moment) -> float | None:
        score = super().predict_proba_one(moment)
        return None if score is None else 0.99 * score + 0.01 * random.random()


class Loading(Honest):
    """Sets everybody's dice."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        np.random.seed(seat.seed % 2**32)  # noqa: NPY002  (that is what must be caught)


class Growing(Honest):
    """Keeps every score in its state."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.scores: list[float] = []

    def learn_one(self, sample: Sample) -> None:
        super().learn_one(sample)
        self.scores.append(sample.log_return)

    def state(self) -> State:
        return {**super().state(), "scores": np.array(self.scores)}

    def restore(self, state: State) -> None:
        super().restore(state)
        self.scores = state["scores"].tolist()  # type: ignore[union-attr]


class Hoarding(Growing):
    """Keeps every score, and no state tells."""

    state, restore = Honest.state, Honest.restore


class Forgetful(Honest):
    """Knows more than its state says."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.n = 0

    def predict_proba_one(self, moment: Moment) -> float | None:
        self.n += 1
        score = super().predict_proba_one(moment)
        return None if score is None else 0.9 * score + 0.1 * (self.n % 97) / 97


class Noticing(Honest):
    """Notices when its state is asked for, as is done between two batches."""

    def __init__(self, seat: Seat) -> None:
        super().__init__(seat)
        self.asked = 0

    def state(self) -> State:
        self.asked += 1
        return {**super().state(), "asked": self.asked}

    def restore(self, state: State) -> None:
        super().restore(state)
        self.asked = int(state["asked"])  # type: ignore[arg-type]

    def predict_proba_one(self, moment: Moment) -> float | None:
        score = super().predict_proba_one(moment)
        return None if score is None else 0.9 * score + 0.1 / (1 + self.asked)


class Peeking(Honest):
    """Remembers, beyond its own life, what became of each bar: in a second life it knows before it can."""

    known: ClassVar[dict[int, bool]] = {}

    def learn_one(self, sample: Sample) -> None:
        super().learn_one(sample)
        self.known[sample.moment.close_ms] = sample.went_up

    def predict_proba_one(self, moment: Moment) -> float | None:
        score = super().predict_proba_one(moment)
        up = self.known.get(moment.close_ms)
        return score if up is None or score is None else 0.5 * score + 0.5 * up


class Stubborn(Honest):
    """Says something where it knows nothing."""

    def predict_proba_one(self, moment: Moment) -> float | None:
        known = super().predict_proba_one(moment)
        return 0.5 if known is None else known


class Pickling(Honest):
    """Has a state that only pickle could keep."""

    def state(self) -> State:
        return {**super().state(), "seat": np.array([self.seat], dtype=object)}


class Setting(Honest):
    """Adds up in the order of a set of words, which every process has its own of."""

    def predict_proba_one(self, moment: Moment) -> float | None:
        score = super().predict_proba_one(moment)
        words = "".join({"rsi", "macd", "natr", "volume", "trend", "cmf", "obv"})
        return None if score is None else 0.99 * score + 0.01 * crc32(words.encode()) / 2**32


class Shouting(Honest):
    """Says more than it can know."""

    def predict_proba_one(self, moment: Moment) -> float | None:
        score = super().predict_proba_one(moment)
        return None if score is None else 1.5


class Unsourced(Honest):
    """Expect it to fail."""


class Confident(Honest):
    """Never fails.

    References
    ----------
    Everybody (2024).
    """


class Unfigured(Honest):
    __doc__ = Honest.__doc__

    def figures(self) -> dict[str, float | None]:
        return {"loss": float("nan")}


class Reading(Honest):
    __doc__ = Honest.__doc__

    def show(self) -> dict[str, Any]:
        return {"counts": self.counts}


def watching(make: type[Any], watch: Callable[[str, Any, Any], None]) -> type[Any]:
    """Return the learner with an eye on it: told the call, what it was given as it was, and as it is afterwards."""

    def seen(name: str) -> Callable[..., Any]:
        def called(self: Any, given: Any) -> Any:
            moment: Moment = given.moment if isinstance(given, Sample) else given
            before = moment.row.copy(), moment.bar, moment.close_ms
            answer = getattr(super(watched, self), name)(given)
            watch(name, before, given)
            return answer

        return called

    calls = ("predict_proba_one", "learn_one") if make.role == "forecaster" else ("annotate",)
    watched: type[Any] = type(make.__name__, (make,), {name: seen(name) for name in calls})
    return watched
