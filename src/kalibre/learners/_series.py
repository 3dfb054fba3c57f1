"""One learner on one series: bars in time order, features once a bar, forecasts that wait for their outcome."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import msgspec
import numpy as np

from kalibre.bars.timeline import Change, Timeline
from kalibre.core.bars import Bar
from kalibre.core.errors import LearnerError
from kalibre.core.events import BarClosed, Event, decode_payload, encode_payload
from kalibre.core.learning import Attentive, Learner, Moment, Sample, Seat
from kalibre.core.protocols import FloatArray
from kalibre.core.timeframe import timeframe_ms
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.learners._calibration import RollingCalibration
from kalibre.trading.book import OpenForecast
from kalibre.trading.outcomes import ExpectedOpens, outcome

CALIBRATED_AFTER = 200
_CALIBRATION_WINDOW, _REFIT_EVERY = 2_000, 50
_SPARE_BARS = 256
"""Bars kept beyond what features and horizon need: how far back a late bar is still taken in."""


class Waiting(NamedTuple):
    """A moment whose horizon has not passed."""

    moment: Moment
    score: float | None
    p_up: float | None
    due: int
    """Number of next bars after which it matures."""
    model: str
    counts: bool
    """Whether the learner may learn from it: it was not paused, and prices were known."""


class Matured(NamedTuple):
    """What became of a moment, for the learner and for the log."""

    sample: Sample
    model: str
    counts: bool


class Known(NamedTuple):
    """What a learner has learnt, and what its scores are worth."""

    learner: Learner
    calibration: RollingCalibration


class SeriesLearner:
    """A learner with its bars, features, calibration and waiting forecasts."""

    def __init__(
        self,
        make: type[Learner],
        seat: Seat,
        spec: FeatureSpec,
        *,
        calendar: ExpectedOpens | None,
        wide: FeatureSpec | None = None,
    ) -> None:
        self.seat = seat
        self.step_ms = timeframe_ms(seat.timeframe)
        self._make, self._default, self._calendar = make, spec, calendar
        self._wide, self._is_wide = wide, False
        self.engine = FeatureEngine(spec)
        reach = max(self.engine.warmup, FeatureEngine(wide).warmup if wide is not None else 0)
        keep = 2 * reach + seat.horizon_bars + _SPARE_BARS
        self.line = Timeline(seat.symbol, seat.timeframe, keep=keep)
        self.learner = make(seat)
        self.calibration = _calibration(seat)
        self.epoch = 0
        """How often it began anew or went back to a checkpoint: forecasts of two epochs are of two models."""
        self.n_next = 0
        self._waiting: list[Waiting] = []
        self._rewritten = False
        self._before_ms = -1
        """Open time of the bar before, -1 where the learner did not see it."""
        self._heard: dict[tuple[str, str], Event] = {}
        """The newest of each kind and key that the learner asked for: one that begins anew hears them again."""

    @property
    def model(self) -> str:
        """The name that its forecasts carry now."""
        return f"{self.learner.name}:{self.epoch}"

    # --- bars ---------------------------------------------------------------------------------------------------------

    def take(self, event: Event) -> bool:
        """Take in a bar of the series or an action of its symbol; say whether the next bar came.

        A correction changes features from the next bar on, and the outcomes of what waits; what was forecast on the
        bar as it was known stays said.
        """
        payload = event.payload
        if self.line.last is None and isinstance(payload, BarClosed) and payload.taker_buy_volume is not None:
            self._widen()
        change = self.line.take(event)
        if change is Change.NEXT:
            self.n_next += 1
        elif change in (Change.CORRECTED, Change.REWRITTEN):
            self._rewritten = True
        return change is Change.NEXT

    def _widen(self) -> None:
        """See the columns that need taker volume too: a series has it from its first bar on, or never.

        A market without it would leave them unknown for ever, and who sees all columns silent.
        """
        if self._wide is None or self._is_wide:
            return
        self._is_wide, self._default = True, self._wide
        self.engine = FeatureEngine(self._wide)
        self.seat = msgspec.structs.replace(self.seat, columns=self._wide.names)
        self.learner = self._make(self.seat)

    def advance(self, *, shown: bool = True) -> Moment:
        """Bring the features to the newest bar and return its close.

        Parameters
        ----------
        shown
            Whether the learner will see it; to the learner, a bar that it does not see is missing.
        """
        assert self.line.last is not None
        if self._rewritten:
            history = self.line.history(newest=False)
            self.engine.batch(history) if len(history) else self.engine.reset()
            self._realign()
            self._rewritten = False
        bar = self.line.scaled(self.line.last)
        row = self.engine.step(bar)
        row.flags.writeable = False
        follows = self._before_ms >= 0 and bar.open_time - self._before_ms == self.step_ms
        self._before_ms = bar.open_time if shown else -1
        return Moment(bar.open_time + self.step_ms, bar, row, follows)

    def _realign(self) -> None:
        """Count anew when what waits is due, and take its close from the bars as they are known now."""
        kept = []
        for one in self._waiting:
            known = self.line.find(one.moment.bar.open_time)
            if known is not None:
                due = self.n_next + self.seat.horizon_bars - self.line.after(known.open_time)
                kept.append(one._replace(moment=one.moment._replace(bar=known), due=due))
        self._waiting = kept

    def hear(self, event: Event) -> None:
        """Let a learner that asked for it take in another event, and give it the features that it then wants."""
        self._heard[event.kind, event.key] = event
        cast(Attentive, self.learner).take(event)
        self._follow_spec()

    def _follow_spec(self) -> None:
        wanted = self.learner.spec if isinstance(self.learner, Attentive) else None
        spec = self._default if wanted is None else FeatureSpec.from_dict(wanted)
        if spec != self.engine.spec:
            self.engine = FeatureEngine(spec)
            self._rewritten = True

    # --- forecasts ----------------------------------------------------------------------------------------------------

    def wait_for(self, moment: Moment, score: float | None, p_up: float | None, *, counts: bool) -> None:
        """Keep a moment until its horizon has passed."""
        due = self.n_next + self.seat.horizon_bars
        self._waiting.append(Waiting(moment, score, p_up, due, self.model, counts))

    def matured(self) -> list[Matured]:
        """Return what became of the moments whose horizon has passed; nothing where nobody can tell."""
        due = [one for one in self._waiting if one.due <= self.n_next]
        if not due:
            return []
        self._waiting = [one for one in self._waiting if one.due > self.n_next]
        assert self.line.last is not None
        newest = self.line.scaled(self.line.last)
        found = []
        for one in due:
            became = self._became(one, newest)
            if became is not None:
                went_up, log_return = became
                sample = Sample(one.moment, one.score, one.p_up, went_up, log_return)
                found.append(Matured(sample, one.model, one.counts))
        return found

    def _became(self, one: Waiting, newest: Bar) -> tuple[bool, float] | None:
        bar, horizon = one.moment.bar, self.seat.horizon_bars
        waited = OpenForecast(bar.open_time, bar.close, math.nan, one.model, horizon, one.due, "direction")
        late = one.due < self.n_next
        found = outcome(waited, self.line, newest, late=late, calendar=self._calendar, step_ms=self.step_ms)
        return None if found is None else (found.went_up, found.log_return)

    # --- people's words -----------------------------------------------------------------------------------------------

    def reset(self) -> None:
        """Begin anew, knowing nothing."""
        self._renew(self._make(self.seat))
        self.calibration.forget()

    def known(self, state: Mapping[str, Any]) -> Known:
        """Return what a state says was learnt.

        Raises
        ------
        LearnerError
            If it is of other code.
        """
        learner, calibration = self._make(self.seat), _calibration(self.seat)
        learner.restore(_below(state, "learner."))
        try:
            calibration.restore(_below(state, "calibration."))
        except (KeyError, ValueError) as error:
            raise LearnerError(f"its calibration cannot be read: {error!r}; replay the log") from error
        return Known(learner, calibration)

    def go_on_from(self, known: Known) -> None:
        """Go on from what a checkpoint knew; bars, features and what waits stay those of the present."""
        self.calibration = known.calibration
        self._renew(known.learner)

    def _renew(self, learner: Learner) -> None:
        self.learner = learner
        self.epoch += 1
        self._before_ms = -1
        # What waits was said by another: the new one does not learn from it as its own.
        self._waiting = [one._replace(counts=False) for one in self._waiting]
        for event in self._heard.values():
            cast(Attentive, learner).take(event)
        self._follow_spec()

    # --- state --------------------------------------------------------------------------------------------------------

    def learnt(self) -> dict[str, Any]:
        """Return what it has learnt: the part of the state that a checkpoint brings back."""
        state = {f"learner.{name}": value for name, value in self.learner.state().items()}
        return state | {f"calibration.{name}": value for name, value in self.calibration.state().items()}

    def state(self) -> dict[str, Any]:
        """Return everything that later emissions depend on."""
        waiting = self._waiting
        told = [
            [
                one.moment.close_ms,
                [getattr(one.moment.bar, name) for name in Bar.__struct_fields__],
                one.moment.follows,
                one.score,
                one.p_up,
                one.due,
                one.model,
                one.counts,
                len(one.moment.row),
            ]
            for one in waiting
        ]
        state: dict[str, Any] = {
            **{f"line.{name}": value for name, value in self.line.state().items()},
            **{f"engine.{name}": value for name, value in self.engine.state().items()},
            "spec": json.dumps(self.engine.spec.as_dict()),
            "waiting.rows": np.concatenate([one.moment.row for one in waiting]) if waiting else np.empty(0),
            "waiting": json.dumps(told),
            "heard": json.dumps([_told(event) for event in self._heard.values()]),
            "counts": json.dumps([self.epoch, self.n_next, self._rewritten, self._before_ms, self._is_wide]),
        }
        return state | self.learnt()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take on a state returned by `state`."""
        self.line.restore(_below(state, "line."))
        *counts, is_wide = json.loads(str(state["counts"]))
        if is_wide:
            self._widen()
        spec = FeatureSpec.from_dict(json.loads(str(state["spec"])))
        if spec != self.engine.spec:
            self.engine = FeatureEngine(spec)
        self.engine.restore(_below(state, "engine."))
        self.learner, self.calibration = self.known(state)
        self.epoch, self.n_next, self._rewritten, self._before_ms = counts
        self._heard = {(event.kind, event.key): event for event in map(_event, json.loads(str(state["heard"])))}
        self._waiting, at = [], 0
        for close_ms, values, follows, score, p_up, due, model, counts, width in json.loads(str(state["waiting"])):
            bar = Bar(**dict(zip(Bar.__struct_fields__, values, strict=True)))
            row: FloatArray = np.array(state["waiting.rows"][at : at + width])
            row.flags.writeable = False
            at += width
            self._waiting.append(Waiting(Moment(close_ms, bar, row, follows), score, p_up, due, model, counts))


def _calibration(seat: Seat) -> RollingCalibration:
    return RollingCalibration(
        window=_CALIBRATION_WINDOW,
        needed=CALIBRATED_AFTER,
        refit_every=_REFIT_EVERY,
        horizon_bars=seat.horizon_bars,
    )


def _told(event: Event) -> list[Any]:
    return [event.kind, event.key, event.event_time, event.revision, encode_payload(event.payload).decode()]


def _event(told: list[Any]) -> Event:
    kind, key, event_time, revision, content = told
    payload = decode_payload(kind, content)
    return Event(kind=kind, key=key, event_time=event_time, revision=revision, payload=payload)


def _below(state: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
