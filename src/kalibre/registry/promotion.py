"""Promotion: a model acts once its gates let it. The log says who acts; MLflow's aliases follow.

The order of effects is: files stored in MLflow and read back, then the `promotion` event, then the alias. Interrupted
before the event, nothing has changed; interrupted after it, the model acts and the same command, a later one or
`reconcile` sets the alias. A rollback needs the log and the files here only, so it works while MLflow is down.

An ensemble version is promoted and taken back alike; MLflow does not keep it, so its alias names nobody while it acts.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from kalibre.core.clock import Clock, SystemClock
from kalibre.core.errors import ModelError, PromotionRefusedError, RegistryError
from kalibre.core.events import Promotion, Refusal, new_event, series_key
from kalibre.core.settings import GateSettings, Settings
from kalibre.models.ensemble_version import EnsembleVersion, is_ensemble
from kalibre.registry.standing import drifted

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog, Reader
    from kalibre.models.acting import Acting
    from kalibre.models.bundle import ModelBundle
    from kalibre.registry.store import Registry

Alias = Literal["champion", "challenger"]
ALIASES: Final[tuple[Alias, ...]] = ("champion", "challenger")
WRITER: Final = "registry"

REQUIRED_GATES: Final = (
    *("ece", "log_loss", "auc", "dsr", "sharpe", "drawdown", "dummies", "verification", "final_unseen"),
)
"""A study judges at least these; what one of them was never judged for cannot act."""

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
    forecasters: Collection[str] | None = None,
    clock: Clock | None = None,
) -> Promoted:
    """Let a model, or the ensemble as it was judged, act if its gates do.

    Parameters
    ----------
    log, registry, settings
        The truth, MLflow, and the gates in force.
    model_id
        A stored model or ensemble version.
    note, by
        Recorded with the event; the note also says where the gates in force are looser than the house's, and where
        costs or limits have drifted from those that the model was judged with.
    alias
        `challenger` runs the model in shadow, on a paper ledger of its own, and asks no gate. An ensemble is none: what
        it says is judged in the league already.
    shadow
        Whether a model that is refused becomes challenger instead.
    forecasters
        Who the ensemble is made of by the settings in force: a version says nothing of an ensemble of others.
        None does not ask, as right after it was judged; the policy follows no other one in any case.

    Returns
    -------
    What was done; promoting the model that acts already changes nothing.

    Raises
    ------
    PromotionRefusedError
        If a gate failed; the message names each with its figure. The champion stays.
    RegistryError
        If the model is unknown, MLflow cannot store it, or an ensemble was to be challenger; nothing has changed then.
    ModelError
        If its files are damaged.
    """
    from kalibre.models.acting import load_acting

    now_ms = (clock or SystemClock()).now_ms()
    if is_ensemble(model_id) and alias == "challenger":
        raise RegistryError(
            f"{model_id} is an ensemble version and no challenger: its forecasts are judged in the league already "
            "(`kalibre hub league`); promote it without --challenger"
        )
    acting = load_acting(settings.models_dir, model_id)
    if alias == "champion":
        failed = failed_gates(acting, settings, forecasters)
        if failed:
            shadow = shadow and not is_ensemble(model_id)
            raise _refused(log, registry, settings, acting, failed, by=by, shadow=shadow, now_ms=now_ms)
        note = "; ".join(filter(None, (note, _loosened(settings.gates))))
    return _take(log, registry, settings, acting, alias, note=note, by=by, now_ms=now_ms)


def _refused(
    log: EventLog,
    registry: Registry,
    settings: Settings,
    acting: Acting,
    failed: Mapping[str, str],
    *,
    by: str,
    shadow: bool,
    now_ms: int,
) -> PromotionRefusedError:
    series, model_id = series_key(acting.symbol, acting.timeframe), acting.model_id
    log.append([new_event(series, now_ms, Refusal(model=model_id, failed=dict(failed)))], writer=WRITER)
    message = f"model {model_id} is refused by {len(failed)} gates: {' '.join(failed.values())}"
    if shadow and _holder(log, series, "champion") != model_id:
        try:
            _take(log, registry, settings, acting, "challenger", note="refused as champion", by=by, now_ms=now_ms)
            message += " It runs in shadow as challenger; the policy does not follow it."
        except RegistryError as error:
            message += f" It cannot run in shadow either: {error}"
    return PromotionRefusedError(message)


def _take(
    log: EventLog,
    registry: Registry,
    settings: Settings,
    acting: Acting,
    alias: Alias,
    *,
    note: str,
    by: str,
    now_ms: int,
) -> Promoted:
    series, model_id = series_key(acting.symbol, acting.timeframe), acting.model_id
    if not isinstance(acting, EnsembleVersion):
        registry.register(acting, settings.models_dir / model_id)
    apart = tuple(drifted(acting, settings))
    note = "; ".join(filter(None, (note, f"drifted: {', '.join(apart)}" if apart else "")))
    with log.transaction(durable=True) as transaction:
        previous = _holder(transaction, series, alias)
        seq = transaction.head()
        if previous != model_id:
            event = _promotion(series, alias, model_id, acting.digest, previous, by, note, now_ms)
            seq = transaction.append([event], writer=WRITER)[0].seq
            if alias == "champion" and _holder(transaction, series, "challenger") == model_id:
                # One model, one ledger: a challenger that became champion is judged no longer.
                left = _promotion(series, "challenger", None, None, model_id, by, "became champion", now_ms)
                seq = transaction.append([left], writer=WRITER)[0].seq
    problem = _follow(log, registry, acting.symbol, acting.timeframe)
    return Promoted(series, alias, model_id, previous, seq, problem, apart)


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


def failed_gates(acting: Acting, settings: Settings, forecasters: Collection[str] | None = None) -> dict[str, str]:
    """Judge the recorded figures of a bundle or an ensemble version by the gates in force.

    Parameters
    ----------
    forecasters
        Who the ensemble is made of by the settings in force; None does not ask.

    Returns
    -------
    A sentence with figure and bar for each gate that refuses, by name; empty if none does.
    """
    failed: dict[str, str] = {}
    judged = {str(gate["name"]): gate for gate in acting.gates}
    again = "judge the ensemble" if isinstance(acting, EnsembleVersion) else "train the model"
    for name in REQUIRED_GATES:
        if name not in judged:
            failed[name] = f"Gate {name} was not judged: {again} again."
    for name, gate in judged.items():
        bar = float(getattr(settings.gates, _IN_FORCE[name]) if name in _IN_FORCE else gate["bar"])
        if name == "final_ece" and bar >= GateSettings.model_fields["max_ece"].default:
            # The study raised this bar to what chance explains in so short a window; only a stricter one replaces it.
            bar = max(bar, float(gate["bar"]))
        figure = gate["figure"]
        holds = figure is not None and _COMPARE[gate["comparison"]](float(figure), bar)
        if not holds or (bar == gate["bar"] and not gate["passed"]):
            failed[name] = _sentence(gate, bar, settings.lang)
    if isinstance(acting, EnsembleVersion):
        if acting.horizon_bars != (today := settings.model.horizon_bars):
            failed["horizon"] = (
                f"The ensemble was judged over {acting.horizon_bars} bars, by the settings it foresees {today}: judge "
                "it anew by `kalibre hub judge`."
            )
        if forecasters is not None and (others := other_forecasters(acting, forecasters)):
            failed["forecasters"] = others
    elif stale := stale_features(acting):
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


def other_forecasters(version: EnsembleVersion, forecasters: Collection[str]) -> str:
    """Say in a sentence if the ensemble is made of others than it was when it was judged; empty if it is not.

    Parameters
    ----------
    forecasters
        Who it is made of by the settings in force.
    """
    judged, now = sorted(version.forecasters), sorted(forecasters)
    if judged == now:
        return ""
    return (
        f"The ensemble was judged as made of {', '.join(judged)}, by the settings it is made of "
        f"{', '.join(now) or 'nobody'}: judge it anew by `kalibre hub judge`, or enable the forecasters of then."
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
    from kalibre.models.acting import load_acting

    try:
        load_acting(settings.models_dir, model_id)
    except (RegistryError, ModelError) as damage:
        if is_ensemble(model_id):
            raise RegistryError(f"{damage} If the acting model must stop: kalibre kill") from damage
        try:
            registry.restore(symbol, settings.market.timeframe, model_id, settings.models_dir)
        except RegistryError as error:
            raise RegistryError(
                f"{damage} MLflow could not bring it back: {error} If the acting model must stop: kalibre kill"
            ) from error


# --- MLflow follows ---------------------------------------------------------------------------------------------------


def _in_mlflow(model_id: str | None) -> str | None:
    """Return what MLflow's alias has to name: nothing where an ensemble acts, which is no version there."""
    return None if is_ensemble(model_id) else model_id


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
        if _in_mlflow(truth) != there:
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
        model_id = _in_mlflow(_holder(log, series, alias))
        if model_id is not None:
            registry.register(load_bundle(settings.models_dir, model_id), settings.models_dir / model_id)
        registry.set_alias(symbol, timeframe, alias, model_id)
    return amiss


def _follow(log: EventLog, registry: Registry, symbol: str, timeframe: str) -> str:
    """Set MLflow's aliases to what the log says now; returns what prevented it, if anything."""
    series = series_key(symbol, timeframe)
    try:
        for alias in ALIASES:
            truth = _in_mlflow(_holder(log, series, alias))
            if registry.alias(symbol, timeframe, alias) != truth:
                registry.set_alias(symbol, timeframe, alias, truth)
    except RegistryError as error:
        return str(error)
    return ""
