"""What the hub is fed with under `make fault`: an unquiet market of two symbols, and people who steer its learners.

Everything comes at a fixed place of one stream, so that two runs over it differ in nothing but in when they were
killed. Where it matters how far a reader is (a kill overtakes), the stream says who has to catch up first.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
from benchmarks._fault_kills import in_child
from tests.fakes.models import STEP_MS, random_bars, small_bundle
from tests.fakes.trading import unquiet

from kalibre.bars.calendars import get_calendar
from kalibre.core.events import BarClosed, BarQuarantined, Event, Gap, Kill, Promotion, Tick, new_event, series_key
from kalibre.core.hub_events import Bench
from kalibre.core.protocols import Projection
from kalibre.core.settings import CostSettings, RiskSettings, Settings
from kalibre.features.engine import FeatureSpec
from kalibre.hub.alarms import alarms_projection
from kalibre.hub.checkpoints import checkpoints_of, load_checkpoint
from kalibre.hub.ensemble import ensemble_projection
from kalibre.hub.scorer import scorer_projection
from kalibre.learners.base import LearnerProjection, LoadCheckpoint, learner_class, learner_names
from kalibre.log import open_log
from kalibre.log.runner import Runner
from kalibre.models.bundle import load_bundle
from kalibre.trading.failures import failures_of
from kalibre.trading.paper import PaperProjection

SYMBOLS, TIMEFRAME, HORIZON = ("BTCUSDT", "ETHUSDT"), "15m", 4
KEYS = tuple(series_key(symbol, TIMEFRAME) for symbol in SYMBOLS)
JOB = "summary"
Furnished = Literal["whole", "copies", "unpinned"]
"""How a home begins: checkpoints pinned; only copies of them elsewhere; or there, and not pinned yet."""
SHORT = ("roc_10", "realised_volatility_20", "range_relative", "roc_3")
"""Features that are known after some twenty bars: a learner that takes the default ones speaks early on these."""
_OTHERS = ("roc_3", "realised_volatility_20", "range_relative")
JUDGES = ("paper", "ensemble", "scorer", "alarms")


class Ask(NamedTuple):
    """A place of the stream at which a job is enqueued."""

    key: str
    payload: dict[str, Any]
    due_ms: int
    job: str = JOB


class Tell(NamedTuple):
    """A place of the stream at which a person tells a learner something, by the hub's own function."""

    learner: str
    verb: Any
    at_ms: int
    checkpoint: str = ""


class CatchUp(NamedTuple):
    """A place of the stream at which everyone who reads a kind has to have read everything before it."""

    kind: str


Item = Event | Ask | Tell | CatchUp


@dataclass(frozen=True)
class Trained:
    """What every rig begins with: the models by symbol, and of each learner a checkpoint that is pinned."""

    folder: Path
    learners: tuple[str, ...]
    models: Mapping[str, Sequence[str]]
    digests: Mapping[str, str]
    n_bars: int

    @property
    def names(self) -> tuple[str, ...]:
        """Every projection of the hub."""
        return (*self.learners, *JUDGES)


# --- the hub ----------------------------------------------------------------------------------------------------------


def hub_settings(home: Path, url: str, learners: Sequence[str], *, kept: int = 3) -> Settings:
    """Return the settings of a rig; its folder is the home."""
    values: dict[str, Any] = {
        "market": {"source": "simulated", "symbols": list(SYMBOLS), "timeframe": TIMEFRAME},
        "model": {"horizon_bars": HORIZON},
        "features": {"higher_timeframes": []},
        "log": {"url": url},
        "hub": {"learners": list(learners), "checkpoints_kept": kept, "checkpoint_copies": f"file://{home}/copies"},
    }
    return Settings(home=home, **values)


def make_learner(name: str, settings: Settings, load: LoadCheckpoint | None = None) -> LearnerProjection:
    """Make a learner as the hub does, but for the short features."""
    return LearnerProjection(
        name,
        [(symbol, TIMEFRAME) for symbol in SYMBOLS],
        spec=FeatureSpec(TIMEFRAME, columns=SHORT),
        horizon_bars=HORIZON,
        fee=0.0005,
        stale_bars=settings.risk.stale_bars,
        seed=settings.model.seed,
        calendar=get_calendar("24/7"),
        load_model=partial(load_bundle, settings.models_dir),
        load_checkpoint=load or partial(load_checkpoint, settings),
    )


def make_projection(name: str, settings: Settings) -> Projection:
    """Make any projection of the hub, as it is when it has read nothing."""
    match name:
        case "paper":
            return PaperProjection(
                [(symbol, TIMEFRAME) for symbol in SYMBOLS],
                costs=CostSettings(),
                risk=RiskSettings(),
                load_model=partial(load_bundle, settings.models_dir),
                specs={key: FeatureSpec(TIMEFRAME, columns=SHORT) for key in KEYS},
                calendar=get_calendar("24/7"),
                recorded_failures=partial(failures_of, settings),
            )
        case "ensemble":
            return ensemble_projection(settings)
        case "scorer":
            return scorer_projection(settings)
        case "alarms":
            return alarms_projection(settings)
    return make_learner(name, settings)


# --- models and checkpoints -------------------------------------------------------------------------------------------


def train(folder: Path, n_bars: int, learners: Sequence[str] = ()) -> Trained:
    """Train two small models for each symbol, let every learner learn from most of the market, and pin what it knows.

    All in children: neither LightGBM's threads nor a connection to a log outlive a later fork.
    """
    home = folder / "trained"

    def models() -> list[list[str]]:
        found = []
        for seed, symbol in enumerate(SYMBOLS):
            bundles = [
                small_bundle(seed=seed + 1, symbol=symbol, columns=SHORT, entry_threshold=0.59, exit_threshold=0.585),
                small_bundle(seed=seed + 3, symbol=symbol, columns=_OTHERS, entry_threshold=0.59, exit_threshold=0.585),
            ]
            for bundle in bundles:
                bundle.save(home / "models")
            found.append([bundle.model_id for bundle in bundles])
        return found

    told = in_child(models, folder / "errors")
    chosen = tuple(learners) or learner_names()
    trained = Trained(home, chosen, dict(zip(SYMBOLS, told, strict=True)), {}, n_bars)
    first = [item for item in hub_inputs(trained) if isinstance(item, Event)]
    first = first[: len(first) * 3 // 4]

    def checkpoints() -> dict[str, str]:
        settings, found = hub_settings(home, f"sqlite:///{folder / 'trained.sqlite'}", chosen), {}
        with open_log(settings.log_url) as log:
            log.append(first, writer="ingest")
            for name in chosen:
                projection = make_learner(name, settings)
                runner = Runner(log, projection, snapshots_dir=None)
                runner.catch_up()
                kept = checkpoints_of(settings, name)
                digest = kept.lay_down(log, runner, projection, "demand")
                assert digest is not None
                kept.wait_for_copy(60.0)
                kept.pin(digest)
                found[name] = digest
        return found

    return replace(trained, digests=in_child(checkpoints, folder / "errors"))


_DAY_NS = 86_400 * 1_000_000_000


def furnish(home: Path, trained: Trained, furnished: Furnished = "whole") -> None:
    """Bring models and checkpoints into a home."""
    for part in ("models", "copies", *(() if furnished == "copies" else ("checkpoints",))):
        left_out = shutil.ignore_patterns("pinned") if furnished == "unpinned" else None
        shutil.copytree(trained.folder / part, home / part, dirs_exist_ok=True, ignore=left_out)
    # Copies are kept by their age, one a day: what a command is still to name is of the day before.
    for path in (home / "copies").rglob("*"):
        os.utime(path, ns=(path.stat().st_mtime_ns - _DAY_NS,) * 2)


# --- the stream -------------------------------------------------------------------------------------------------------


def hub_inputs(trained: Trained) -> list[Item]:
    """Return everything that comes, in order: promotions, both markets bar by bar, commands, jobs, switches."""
    market = list(_market(trained.n_bars))
    n_bars = len(market)  # some of the bars come late, with others
    other = _bundle(trained, SYMBOLS[0], 1)
    items: list[Item] = list(promotions(trained))
    steered = _steering(trained, n_bars)
    for number, part in enumerate(market):
        items += part
        now_ms = max(item.event_time for item in part if item.kind == "bar") + STEP_MS
        if number % 6 == 5:
            items.append(Ask(f"{number}", {"symbol": SYMBOLS[1], "bars": 20}, now_ms))
        if number == n_bars // 3:
            items.append(Ask(f"{number}", {"what": "predictions", "form": "jsonl"}, now_ms, "export"))
        if number == n_bars * 4 // 5:
            items.append(_promoted(SYMBOLS[0], other, "champion", now_ms))
        items += steered.get(number, ())
        if number in (n_bars // 2, n_bars // 2 + 12):
            engaged = number == n_bars // 2
            # Where a kill overtakes depends on how far its readers are: here they have read everything.
            items += [CatchUp("kill"), new_event("kill", now_ms, Kill(engaged=engaged, by="drill", flatten=True))]
        if number == n_bars * 3 // 10:
            items += _benches(trained, now_ms)
    return items


def promotions(trained: Trained) -> list[Event]:
    """Return who is champion and challenger of each symbol from the first bar on."""
    return [
        _promoted(symbol, _bundle(trained, symbol, which), alias, 0)
        for symbol in SYMBOLS
        for which, alias in enumerate(("champion", "challenger"))
    ]


def _bundle(trained: Trained, symbol: str, which: int) -> tuple[str, str]:
    """Return a model's id and digest."""
    bundle = load_bundle(trained.folder / "models", trained.models[symbol][which])
    return bundle.model_id, bundle.digest


def _promoted(symbol: str, model: tuple[str, str], alias: Any, time: int) -> Event:
    payload = Promotion(model=model[0], digest=model[1], alias=alias, previous=None, by="fault")
    return new_event(f"{series_key(symbol, TIMEFRAME)}|{alias}", time, payload)


def _market(n_bars: int) -> Iterator[list[Event]]:
    """Yield what comes with each next bar of the first symbol: the clock, both bars, corrections, late ones, doubts."""
    dice, steady = random.Random(9), list(random_bars(n_bars, seed=8, symbol=SYMBOLS[1]))
    newest_ms, part, row = -1, list[Event](), 0
    missed: list[Event] = []
    for event in unquiet(random_bars(n_bars, seed=9)):
        if event.kind != "bar" or event.event_time < newest_ms:
            part.append(event)  # an action, a rate, or a bar of a hole that was filled late
            continue
        if part:
            yield part
        newest_ms = event.event_time
        now_ms = newest_ms + STEP_MS
        part = [new_event("clock", now_ms, Tick(now_ms=now_ms)), event]
        if dice.random() < 0.02:
            assert isinstance(event.payload, BarClosed)
            middle = (event.payload.high + event.payload.low) / 2
            part.append(_with_close(event, middle))
        while row < len(steady) and steady[row].open_time <= newest_ms:
            bar = steady[row]
            row += 1
            one = new_event(KEYS[1], bar.open_time, BarClosed.of(bar))
            if dice.random() < 0.02:  # it comes late, after a gap was announced
                missed.append(one)
                gap = Gap(start_ms=bar.open_time, end_ms=bar.open_time + STEP_MS, missing_bars=1, status="open")
                part.append(new_event(KEYS[1], bar.open_time, gap))
                continue
            part.append(one)
            if dice.random() < 0.02:
                part.append(_with_close(one, (bar.high + bar.low) / 2))
            if missed and dice.random() < 0.5:
                part.append(missed.pop())
            if dice.random() < 0.01:
                refused = BarQuarantined(raw={"close": "-1"}, reasons=("not_positive",))
                part.append(new_event(KEYS[1], bar.open_time, refused))
        if dice.random() < 0.01:  # the clock runs ahead: what follows is old news
            part.append(new_event("clock", now_ms + 4 * STEP_MS, Tick(now_ms=now_ms + 4 * STEP_MS)))
    yield part


def _with_close(event: Event, close: float) -> Event:
    bar = event.payload
    assert isinstance(bar, BarClosed)
    return new_event(event.key, event.event_time, msgspec.structs.replace(bar, close=close))


def _steering(trained: Trained, n_bars: int) -> dict[int, list[Tell]]:
    """Return by bar what people tell the learners: each is paused, goes on, goes back, and some begin anew."""
    found: dict[int, list[Tell]] = {}
    for place, name in enumerate(trained.learners):
        plan: Sequence[tuple[float, str, str]] = (
            (0.20, "checkpoint", ""),
            (0.35, "pause", ""),
            (0.38, "resume", ""),
            (0.87, "restore", trained.digests.get(name, "")),
            *(((0.94, "reset", ""),) if place % 2 else ()),
        )
        for share, verb, digest in plan:
            number = min(int(n_bars * share) + place, n_bars - 1)
            found.setdefault(number, []).append(Tell(name, verb, number + 1, digest))
    return found


def _benches(trained: Trained, now_ms: int) -> Iterator[Event]:
    """Yield that nobody waits for a learner for thirty bars: told well before, so that no speed decides on it."""
    name = next(name for name in trained.learners if learner_class(name).role == "forecaster")
    for benched, bars in ((True, 10), (False, 40)):
        yield new_event(name, now_ms + bars * STEP_MS, Bench(benched=benched, by="fault", reason="drill"))
