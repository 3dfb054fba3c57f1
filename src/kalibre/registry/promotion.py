"""Promotion: a model acts once its gates let it. The log says who acts; MLflow's aliases follow.

The order of effects is: files stored in MLflow and read back, then the `promotion` event, then the alias. Interrupted
before the event, nothing has changed; interrupted after it, the model acts and the same command, a later one or
`reconcile` sets the alias. A rollback needs the log and the files here only, so it works while MLflow is down.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from kalibre.core.clock import Clock, SystemClock
from kalibre.core.errors import ModelError, PromotionRefusedError, RegistryError
from kalibre.core.events import Promotion, Refusal, new_event, series_key
from kalibre.core.settings import GateSettings, Settings
from kalibre.registry.standing import drifted

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog, Reader
    from kalibre.models.bundle import ModelBundle
    from kalibre.registry.store import Registry

Alias = Literal["champion", "challenger"]
ALIASES: Final[tuple[Alias, ...]] = ("champion", "challenger")
WRITER: Final = "registry"

REQUIRED_GATES: Final = (
    *("ece", "log_loss", "auc", "dsr", "sharpe", "drawdown", "dummies", "verification", "final_unseen"),
)
"""A study judges at least these; a bundle that one of them was never judged for cannot act."""

_COMPARE: Final = {"<=": operator.le, "<": operator.lt, ">=": operator.ge, ">": operator.gt}
_IN_FORCE: Final = {
    "ece": "max_ece",
    "final_ece": "max_ece",
    "dsr": "min_dsr",
    "sharpe": "min_sharpe",
    "drawdown": "max_drawdown",
    "final_drawdown": "max_drawdown",
}
"""Which setting is the bar of which gate: the settings of today judge, not those of the day of the study."""


@dataclass(frozen=True)
class Promoted:
    """What a promotion or rollback did.

    `registry_problem` is empty if MLflow's alias is in line; `drifted` says where the settings' costs and limits are
    not those that the model was judged with.
    """

    series: str
    alias: Alias
    model_id: str | None
    previous: str | None
    seq: int
    registry_problem: str = ""
    drifted: tuple[str, ...] = ()


def promote(
    log: EventLog,
    registry: Registry,
    settings: Settings,
    model_id: str,
    *,
    note: str,
    by: str,
    alias: Alias = "champion",
    shadow: bool = True,
    clock: Clock | None = None,
) -> Promoted:
    """Let a model act, if its gates do.

    Parameters
    ----------
    log, registry, settings
        The truth, MLflow, and the gates in force.
    model_id
        A stored model.
    note, by
        Recorded with the event; the note also says where the gates in force are looser than the house's, and where
        costs or limits have drifted from those that the model was judged with.
    alias
        `challenger` runs the model in shadow, on a paper ledger of its own, and asks no gate.
    shadow
        Whether a model that is refused becomes challenger instead.

    Returns
    -------
    What was done; promoting the model that acts already changes nothing.

    Raises
    ------
    PromotionRefusedError
        If a gate failed; the message names each with its figure. The champion stays.
    RegistryError
        If the model is unknown, or MLflow cannot store it; nothing has changed then.
    ModelError
        If its files are damaged.
    """
    from kalibre.models.bundle import load_bundle

    now_ms = (clock or SystemClock()).now_ms()
    bundle = load_bundle(settings.models_dir, model_id)
    if alias == "champion":
        failed = failed_gates(bundle, settings)
        if failed:
            raise _refused(log, registry, settings, bundle, failed, by=by, shadow=shadow, now_ms=now_ms)
        note = "; ".join(filter(None, (note, _loosened(settings.gates))))
    return _take(log, registry, settings, bundle, alias, note=note, by=by, now_ms=now_ms)


def _refused(
    log: EventLog,
    registry: Registry,
    settings: Settings,
    bundle: ModelBundle,
    failed: Mapping[str, str],
    *,
    by: str,
    shadow: bool,
    now_ms: int,
) -> PromotionRefusedError:
    series = series_key(bundle.symbol, bundle.timeframe)
    log.append([new_event(series, now_ms, Refusal(model=bundle.model_id, failed=dict(failed)))], writer=WRITER)
    message = f"model {bundle.model_id} is refused by {len(failed)} gates: {' '.join(failed.values())}"
    if shadow and _holder(log, series, "champion") != bundle.model_id:
        try:
            _take(log, registry, settings, bundle, "challenger", note="refused as champion", by=by, now_ms=now_ms)
            message += " It runs in shadow as challenger; the policy does not follow it."
        except RegistryError as error:
            message += f" It cannot run in shadow either: {error}"
    return PromotionRefusedError(message)


def _take(
    log: EventLog,
    registry: Registry,
    settings: Settings,
    bundle: ModelBundle,
    alias: Alias,
    *,
    note: str,
    by: str,
    now_ms: int,
) -> Promoted:
    registry.register(bundle, settings.models_dir / bundle.model_id)
    series = series_key(bundle.symbol, bundle.timeframe)
    apart = tuple(drifted(bundle, settings))
    note = "; ".join(filter(None, (note, f"drifted: {', '.join(apart)}" if apart else "")))
    with log.transaction(durable=True) as transaction:
        previous = _holder(transaction, series, alias)
        seq = transaction.head()
        if previous != bundle.model_id:
            event = _promotion(series, alias, bundle.model_id, bundle.digest, previous, by, note, now_ms)
            seq = transaction.append([event], writer=WRITER)[0].seq
            if alias == "champion" and _holder(transaction, series, "challenger") == bundle.model_id:
                # One model, one ledger: a challenger that became champion is judged no longer.
                left = _promotion(series, "challenger", None, None, bundle.model_id, by, "became champion", now_ms)
                seq = transaction.append([left], writer=WRITER)[0].seq
    problem = _follow(log, registry, bundle.symbol, bundle.timeframe)
    return Promoted(series, alias, bundle.model_id, previous, seq, problem, apart)


def rollback(
    log: EventLog,
    registry: Registry,
    settings: Settings,
    *,
    symbol: str,
    by: str,
    note: str = "",
    clock: Clock | None = None,
) -> Promoted:
    """Take the last promotion back: the champion before it acts again; before the first one, none does.

    Done again it goes one further back. MLflow need not be there.

    Raises
    ------
    RegistryError
        If nothing was promoted, or the earlier model's files are gone here and in MLflow.
    ModelError
        If they are damaged and MLflow has no sound copy.
    """
    timeframe = settings.market.timeframe
    series = series_key(symbol, timeframe)
    now_ms = (clock or SystemClock()).now_ms()
    target = stack_of(log, series)[-2:-1]
    if target and target[0] is not None:
        # Made sure of before the lock is taken: bringing files back may take a while.
        _usable(registry, settings, symbol, target[0])
    with log.transaction(durable=True) as transaction:
        stack = stack_of(transaction, series)
        if len(stack) < 2:
            raise RegistryError(f"no model is champion of {series}: there is nothing to roll back")
        model_id = stack[-2]
        if [model_id] != target:
            raise RegistryError(
                f"another promotion of {series} came in between: run the rollback again if it still applies"
            )
        digest = _digest_of(transaction, series, model_id)
        event = _promotion(series, "champion", model_id, digest, stack[-1], by, note, now_ms, rollback=True)
        seq = transaction.append([event], writer=WRITER)[0].seq
    return Promoted(series, "champion", model_id, stack[-1], seq, _follow(log, registry, symbol, timeframe))


def failed_gates(bundle: ModelBundle, settings: Settings) -> dict[str, str]:
    """Judge a bundle's recorded figures by the gates in force.

    Returns
    -------
    A sentence with figure and bar for each gate that refuses, by name; empty if none does.
    """
    failed: dict[str, str] = {}
    judged = {str(gate["name"]): gate for gate in bundle.gates}
    for name in REQUIRED_GATES:
        if name not in judged:
            failed[name] = f"Gate {name} was not judged: train the model again."
    for name, gate in judged.items():
        bar = float(getattr(settings.gates, _IN_FORCE[name]) if name in _IN_FORCE else gate["bar"])
        if name == "final_ece" and bar >= GateSettings.model_fields["max_ece"].default:
            # The study raised this bar to what chance explains in so short a window; only a stricter one replaces it.
            bar = max(bar, float(gate["bar"]))
        figure = gate["figure"]
        holds = figure is not None and _COMPARE[gate["comparison"]](float(figure), bar)
        if not holds or (bar == gate["bar"] and not gate["passed"]):
            failed[name] = _sentence(gate, bar, settings.lang)
    if stale := stale_features(bundle):
        failed["features"] = stale
    return failed


def _sentence(gate: Mapping[str, Any], bar: float, lang: str) -> str:
    if bar == gate["bar"] and not gate["passed"]:
        return str((gate.get("explanation_tr") if lang == "tr" else "") or gate["explanation"])
    return f"Gate {gate['name']}: {gate['figure']} is not {gate['comparison']} {bar}."


def stale_features(bundle: ModelBundle) -> str:
    """Say in a sentence if this version computes other features than a bundle was studied on; empty if it does not."""
    from kalibre.features.engine import FeatureEngine

    fingerprint = FeatureEngine(bundle.spec).fingerprint
    if fingerprint == bundle.feature_fingerprint:
        return ""
    return (
        f"The features have changed since the study (then {bundle.feature_fingerprint[:12]}, now {fingerprint[:12]}): "
        "its verification says nothing about them, train again."
    )


def _loosened(gates: GateSettings) -> str:
    house = GateSettings()  # type: ignore[call-arg]
    looser = [
        f"{name} {getattr(gates, name)} (house: {getattr(house, name)})"
        for name in type(gates).model_fields
        if (getattr(gates, name) > getattr(house, name)) == name.startswith("max")
        and getattr(gates, name) != getattr(house, name)
    ]
    return f"gates loosened: {', '.join(looser)}" if looser else ""


# --- the log is the truth ---------------------------------------------------------------------------------------------


def _promotion(
    series: str,
    alias: Alias,
    model_id: str | None,
    digest: str | None,
    previous: str | None,
    by: str,
    note: str,
    now_ms: int,
    *,
    rollback: bool = False,
) -> Any:
    payload = Promotion(
        model=model_id, digest=digest, alias=alias, previous=previous, by=by, note=note, rollback=rollback
    )
    return new_event(f"{series}|{alias}", now_ms, payload)


def _promotions(reader: Reader, series: str, alias: Alias) -> list[Promotion]:
    events = reader.read(kinds={"promotion"}, key=f"{series}|{alias}")
    return [event.payload for event in events if isinstance(event.payload, Promotion)]


def _holder(reader: Reader, series: str, alias: Alias) -> str | None:
    event = reader.latest("promotion", key=f"{series}|{alias}")
    return event.payload.model if event is not None and isinstance(event.payload, Promotion) else None


def stack_of(reader: Reader, series: str) -> list[str | None]:
    """Return the champions that a rollback would go back through, the acting one last; begins with None."""
    stack: list[str | None] = [None]
    for promotion in _promotions(reader, series, "champion"):
        if promotion.rollback:
            stack = stack[:-1] or [None]
        else:
            stack.append(promotion.model)
    return stack


def _digest_of(reader: Reader, series: str, model_id: str | None) -> str | None:
    if model_id is None:
        return None
    return next(p.digest for p in reversed(_promotions(reader, series, "champion")) if p.model == model_id)


def _usable(registry: Registry, settings: Settings, symbol: str, model_id: str) -> None:
    from kalibre.models.bundle import load_bundle

    try:
        load_bundle(settings.models_dir, model_id)
    except (RegistryError, ModelError) as damage:
        try:
            registry.restore(symbol, settings.market.timeframe, model_id, settings.models_dir)
        except RegistryError as error:
            raise RegistryError(
                f"{damage} MLflow could not bring it back: {error} If the acting model must stop: kalibre kill"
            ) from error


# --- MLflow follows ---------------------------------------------------------------------------------------------------


def differences(log: EventLog, registry: Registry, symbol: str, timeframe: str) -> list[str]:
    """Say where MLflow's aliases are not what the log says; empty if they are.

    Raises
    ------
    RegistryError
        If MLflow cannot be asked.
    """
    series = series_key(symbol, timeframe)
    found = []
    for alias in ALIASES:
        truth, there = _holder(log, series, alias), registry.alias(symbol, timeframe, alias)
        if truth != there:
            found.append(f"{alias} of {series} is {truth or 'nobody'} by the log, {there or 'nobody'} in MLflow")
    return found


def reconcile(log: EventLog, registry: Registry, settings: Settings, symbol: str) -> list[str]:
    """Bring MLflow in line with the log: register what it misses, move its aliases; returns what was amiss.

    Raises
    ------
    RegistryError
        If MLflow cannot be asked.
    """
    from kalibre.models.bundle import load_bundle

    timeframe = settings.market.timeframe
    series = series_key(symbol, timeframe)
    amiss = differences(log, registry, symbol, timeframe)
    for alias in ALIASES if amiss else ():
        model_id = _holder(log, series, alias)
        if model_id is not None:
            registry.register(load_bundle(settings.models_dir, model_id), settings.models_dir / model_id)
        registry.set_alias(symbol, timeframe, alias, model_id)
    return amiss


def _follow(log: EventLog, registry: Registry, symbol: str, timeframe: str) -> str:
    """Set MLflow's aliases to what the log says now; returns what prevented it, if anything."""
    series = series_key(symbol, timeframe)
    try:
        for alias in ALIASES:
            truth = _holder(log, series, alias)
            if registry.alias(symbol, timeframe, alias) != truth:
                registry.set_alias(symbol, timeframe, alias, truth)
    except RegistryError as error:
        return str(error)
    return ""
