"""The projection around a learner: it reads the log, so that the learner need not.

For every bar of every series, in this order: the features step on, once; samples whose horizon has passed are told as
`outcome`, go into the calibration and are learnt from; then the learner says what it makes of the bar. So a forecast
never knows anything of its own outcome, and the newest outcome that it can know is that of the bar just closed.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from kalibre.core import events as said
from kalibre.core.catalog import part, part_names
from kalibre.core.errors import LearnerError
from kalibre.core.events import Event, new_event, series_key
from kalibre.core.hub_events import Annotation, Command
from kalibre.core.learning import Annotator, Forecaster, Learner, Moment, Seat
from kalibre.core.protocols import State
from kalibre.core.settings import Settings
from kalibre.core.timeframe import timeframes_above
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.learners._series import SeriesLearner
from kalibre.trading.outcomes import ExpectedOpens
from kalibre.trading.statements import doubt_of

LoadCheckpoint = Callable[[str, str], Mapping[str, Any]]
"""Returns the state of a projection (its name) that a checkpoint (its digest) holds, or raises."""


def learner_names(role: str | None = None) -> tuple[str, ...]:
    """List the learners by file, without importing them, or with a role those of that role."""
    names = part_names("kalibre.learners")
    return names if role is None else tuple(name for name in names if learner_class(name).role == role)


def enabled_learners(settings: Settings, role: str | None = None) -> tuple[str, ...]:
    """Return the learners that run, of a role or of all: those of the settings, or every file of `learners/`."""
    chosen = settings.hub.learners or learner_names()
    return chosen if role is None else tuple(name for name in chosen if learner_class(name).role == role)


def learner_class(name: str) -> type[Learner]:
    """Return the class of a learner by its file's name.

    Raises
    ------
    CatalogError
        If there is no such file; the message lists what there is.
    """
    found: type[Learner] = part("kalibre.learners", name).LEARNER
    return found


class LearnerProjection:
    """One learner over every series it follows: the same code live, in replay, in recovery and in a backtest.

    It abstains, and does not learn, while it is paused; it abstains while a corporate action is detected and undecided.
    A correction of a bar changes features from the next bar on and outcomes that are still due; a forecast stays as it
    was said. Commands come at their place among the bars, so refold honours them. Where a checkpoint is of code whose
    state the learner no longer takes, it stays paused and says why, until a person decides.

    Parameters
    ----------
    name
        The learner: its file in `learners/`.
    series
        (symbol, timeframe) of each series.
    spec
        The default features.
    horizon_bars, fee, stale_bars, seed
        What is foreseen, what a side of a trade costs (share of its value), after how many bars a bar is old news, and
        the seed that each learner's own is made from.
    calendar
        Tells a hole from a night. None counts bars.
    load_model, load_checkpoint
        Load a model's bundle by id and digest, and a checkpoint's state by projection and digest.
    news
        Whether a learner that names no columns sees those of headlines too.
    """

    def __init__(
        self,
        name: str,
        series: Sequence[tuple[str, str]],
        *,
        spec: FeatureSpec,
        horizon_bars: int,
        fee: float,
        stale_bars: int,
        seed: int,
        calendar: ExpectedOpens | None = None,
        load_model: Callable[[str, str | None], Any] | None = None,
        load_checkpoint: LoadCheckpoint | None = None,
        news: bool = False,
    ) -> None:
        make = learner_class(name)
        self.name = name
        self._heard = frozenset[str](getattr(make, "also_reads", ()))
        self.reads = frozenset({"bar", "corporate_action", "tick", "command"}) | self._heard
        self._stale_bars, self._load_checkpoint = stale_bars, load_checkpoint
        self._now_ms, self._paused = 0, ""
        self._series: dict[str, SeriesLearner] = {}
        own = spec if make.columns is None else FeatureSpec(spec.timeframe, columns=make.columns)
        # Who asked for the champion's features sees those; who named none sees all that its market has.
        wide = own.widened(news=news) if own.columns is None and not self._heard else None
        if wide is not None:
            own = own.widened(taker=False, news=news)
        for symbol, timeframe in series:
            key = series_key(symbol, timeframe)
            seat = Seat(
                symbol=symbol,
                timeframe=timeframe,
                horizon_bars=horizon_bars,
                columns=own.names,
                fee=fee,
                seed=_seed(seed, name, key),
                load_model=load_model,
            )
            self._series[key] = SeriesLearner(make, seat, own, calendar=calendar, wide=wide)
        settings = [name, horizon_bars, fee, stale_bars, seed, getattr(calendar, "name", None), sorted(self._series)]
        prints = "".join(FeatureEngine(one).fingerprint for one in (own, wide) if one is not None)
        self.version = sha256((code_digest(name) + prints + json.dumps(settings)).encode()).hexdigest()[:16]

    @property
    def series(self) -> Mapping[str, SeriesLearner]:
        """What it keeps of each series, by key: to be looked at, not to be changed."""
        return self._series

    def apply(self, event: Event) -> list[Event]:
        """Take one event in and return what follows from it, in order."""
        match event.payload:
            case said.BarClosed():
                one = self._series.get(event.key)
                return self._bar(event.key, one) if one is not None and one.take(event) else []
            case said.CorporateAction():
                for one in self._series.values():
                    if one.seat.symbol == event.key:
                        one.take(event)
            case said.Tick(now_ms=now_ms):
                self._now_ms = max(self._now_ms, now_ms)
            case Command() as command if event.key == self.name:
                self._obey(command)
        if event.kind in self._heard:
            for one in self._series.values():
                one.hear(event)
        return []

    # --- bars ---------------------------------------------------------------------------------------------------------

    def _bar(self, key: str, one: SeriesLearner) -> list[Event]:
        emitted: list[Event] = []
        held = self._paused or doubt_of(one.line, one.engine.warmup, None)
        moment = one.advance(shown=not held)
        self._mature(f"{key}|{self.name}", one, moment.close_ms, emitted)
        forecasts = one.learner.role == "forecaster"
        payload = self._forecast(one, moment, held) if forecasts else self._annotate(one, moment, held)
        emitted.append(new_event(f"{key}|{self.name}", moment.close_ms, payload))
        return emitted

    def _mature(self, key: str, one: SeriesLearner, now_ms: int, emitted: list[Event]) -> None:
        for sample, model, counts in one.matured():
            if sample.p_up is not None:
                outcome = said.Outcome(
                    model=model,
                    p_up=sample.p_up,
                    went_up=sample.went_up,
                    log_return=sample.log_return,
                    told_ms=now_ms,
                )
                emitted.append(new_event(key, sample.moment.close_ms, outcome))
            if counts and not self._paused:
                if sample.score is not None:
                    one.calibration.take(sample.score, went_up=sample.went_up)
                cast(Forecaster, one.learner).learn_one(sample)

    def _forecast(self, one: SeriesLearner, moment: Moment, held: str) -> said.Payload:
        learner = cast(Forecaster, one.learner)
        score = None if held else learner.predict_proba_one(moment)
        p_up, why = None, held
        if score is not None:
            score = _probability(learner, score)
            p_up = one.calibration.apply(score)
            if p_up is None:
                why = f"not calibrated yet: {one.calibration.missing} more of its forecasts have to mature"
        elif not why:
            why = self._why_silent(one)
        one.wait_for(moment, score, p_up, counts=not held)
        return said.Forecast(
            model=one.model,
            role=self.name,
            horizon_bars=one.seat.horizon_bars,
            score=score,
            p_up=p_up,
            abstained=why or None,
            late=self._now_ms - moment.close_ms > self._stale_bars * one.step_ms,
        )

    def _annotate(self, one: SeriesLearner, moment: Moment, held: str) -> said.Payload:
        note = None if held else cast(Annotator, one.learner).annotate(moment)
        if note is None:
            return Annotation(learner=self.name, label="", values={}, abstained=held or self._why_silent(one))
        return Annotation(learner=self.name, label=note.label, values=note.values, about=note.about)

    def _why_silent(self, one: SeriesLearner) -> str:
        needed, come = one.engine.warmup + 1, one.line.n_bars
        if come < needed:
            return f"the features need {needed} bars, {come} have come"
        return "it has nothing to say of this bar"

    # --- people's words -----------------------------------------------------------------------------------------------

    def _obey(self, command: Command) -> None:
        match command.verb:
            case "pause":
                self._paused = f"paused by {command.by}" + (f": {command.reason}" if command.reason else "")
            case "resume":
                self._paused = ""
            case "reset":
                for one in self._series.values():
                    one.reset()
            case "restore":
                self._go_back(command.checkpoint)

    def _go_back(self, digest: str) -> None:
        if self._load_checkpoint is None:
            raise LearnerError(f"{self.name} was told to go back to checkpoint {digest!r} and has no way to load one")
        state = self._load_checkpoint(self.name, digest)
        found = []
        for key, one in self._series.items():
            prefix = f"{key}/"
            part_of = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
            if not part_of:  # a series that came later goes on as it is
                continue
            try:
                found.append((one, one.known(part_of)))
            except LearnerError as error:
                # Of other code. The command stands in the log for good: to fail at it would be to fail for ever.
                why = f"paused: it cannot go back to checkpoint {digest[:12]}: {error}"
                self._paused = f"{why}; resume it as it is, or reset it first"
                return
        for one, known in found:
            one.go_on_from(known)

    # --- state --------------------------------------------------------------------------------------------------------

    def state(self) -> State:
        """Return everything that later emissions depend on."""
        state: dict[str, Any] = {"now_ms": self._now_ms, "paused": self._paused}
        for key, one in self._series.items():
            state |= {f"{key}/{name}": value for name, value in one.state().items()}
        return state

    def restore(self, state: State) -> None:
        """Take on a state returned by `state`."""
        self._now_ms, self._paused = int(state["now_ms"]), str(state["paused"])  # type: ignore[arg-type]
        for key, one in self._series.items():
            prefix = f"{key}/"
            one.restore({name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)})


def _probability(learner: Learner, score: float) -> float:
    if not 0.0 <= score <= 1.0:
        raise LearnerError(f"{learner.name} says {score!r}: a forecaster returns a probability in [0, 1] or None")
    return float(score)


def _seed(seed: int, name: str, key: str) -> int:
    return int.from_bytes(sha256(f"{seed}|{name}|{key}".encode()).digest()[:6], "big")


_CODE = ("kalibre.learners", "kalibre.models", "kalibre.trading", "kalibre.evaluation", "kalibre.bars.timeline")
"""Where code lies that shapes what a learner says; features have fingerprints of their own."""


@cache
def code_digest(name: str) -> str:
    """Return the digest of the code between a bar and what a learner says of it: its file and all that it imports."""
    root = Path(__file__).parents[2]
    chosen, found = ["kalibre.learners.base", f"kalibre.learners.{name}"], dict[str, bytes]()
    while chosen:
        module = chosen.pop()
        path = root / module.replace(".", "/")
        file = next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)
        if module in found or not module.startswith(_CODE) or file is None:
            continue
        found[module] = file.read_bytes()
        for node in ast.walk(ast.parse(found[module])):
            if isinstance(node, ast.ImportFrom) and node.module:
                chosen += [node.module, *(f"{node.module}.{one.name}" for one in node.names)]
            elif isinstance(node, ast.Import):
                chosen += [one.name for one in node.names]
    return sha256(b"\0".join(found[module] for module in sorted(found))).hexdigest()


def learner_projection(
    name: str, settings: Settings, *, load_checkpoint: LoadCheckpoint | None = None
) -> LearnerProjection:
    """Make the learner that the settings describe."""
    from functools import partial

    from kalibre.bars.calendars import get_calendar
    from kalibre.models.bundle import load_bundle

    market, costs = settings.market, settings.costs
    spec = FeatureSpec(
        timeframe=market.timeframe,
        higher_timeframes=timeframes_above(market.timeframe, settings.features.higher_timeframes),
        scale_window=settings.features.scale_window,
    )
    return LearnerProjection(
        name,
        [(symbol, market.timeframe) for symbol in market.symbols],
        spec=spec,
        horizon_bars=settings.model.horizon_bars,
        fee=(costs.fee_bps + costs.slippage_bps) / 10_000,
        stale_bars=settings.risk.stale_bars,
        seed=settings.model.seed,
        calendar=get_calendar(market.calendar),
        load_model=partial(load_bundle, settings.models_dir),
        load_checkpoint=load_checkpoint,
        news=settings.features.news,
    )
