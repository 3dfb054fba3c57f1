"""What predict answers: the model's number, the policy's word on it, and every reason that holds it back."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Literal, NamedTuple

import msgspec

from kalibre.api.served import CalibrationView, PolicyView, ServedEnsemble, ServedModel

Action = Literal["ENTRY", "EXIT", "HOLD"]


class Answer(msgspec.Struct, frozen=True):
    """A forecast and what the policy makes of it.

    `p_up` is the calibrated probability that the close `horizon_bars` later is above the close at `as_of` (UTC);
    `confidence` is `|2 p_up - 1|`; `seq` is the log's position that the answer knows up to.
    """

    symbol: str
    p_up: float | None
    confidence: float | None
    signal: Action
    policy: PolicyView
    calibration: CalibrationView
    staleness_seconds: float | None
    horizon_bars: int | None
    as_of: str | None
    model: str | None
    seq: int
    reasons: list[str]


class Decided(NamedTuple):
    """What the paper engine recorded for a bar: its decision, the forecast that it saw, and why."""

    action: Action
    p_up: float | None
    reasons: tuple[str, ...]


NO_POLICY = PolicyView(None, None)
NO_CALIBRATION = CalibrationView(None, None)


class Standing(msgspec.Struct, frozen=True):
    """What is known of one role of a series at one position: an immutable part of the live view.

    `holding` says whether the role's paper ledger is long (None: it has none); `decided` is the paper engine's recorded
    decision on this very bar, with its reasons; `problem` says why there is no forecast; `vacant` that no model has the
    role; `on_its_way` that the problem is none that a person has to mend: the ensemble speaks when it does.
    """

    model: ServedModel | ServedEnsemble | None = None
    p_up: float | None = None
    problem: str = ""
    holding: bool | None = None
    decided: Decided | None = None
    vacant: bool = False
    on_its_way: bool = False


def decide(p_up: float, entry_threshold: float, exit_threshold: float, *, holding: bool | None) -> tuple[Action, str]:
    """Return the policy's action and its reason.

    Without a ledger (`holding` None) it says what the thresholds alone say.

    Examples
    --------
    >>> decide(0.7, 0.6, 0.5, holding=None)
    ('ENTRY', 'p_up 0.7000 is at or above the entry threshold 0.6000')
    >>> decide(0.7, 0.6, 0.5, holding=True)[0], decide(0.4, 0.6, 0.5, holding=False)[0]
    ('HOLD', 'HOLD')
    """
    if p_up >= entry_threshold:
        reason = f"p_up {p_up:.4f} is at or above the entry threshold {entry_threshold:.4f}"
        return ("HOLD", reason + ", and the position is open already") if holding else ("ENTRY", reason)
    if p_up <= exit_threshold:
        reason = f"p_up {p_up:.4f} is at or below the exit threshold {exit_threshold:.4f}"
        return ("HOLD", reason + ", and there is no position to close") if holding is False else ("EXIT", reason)
    return (
        "HOLD",
        f"p_up {p_up:.4f} is between the exit threshold {exit_threshold:.4f} and the entry threshold "
        f"{entry_threshold:.4f}",
    )


def answer(
    symbol: str,
    standing: Standing,
    *,
    holds: list[str],
    as_of_ms: int | None,
    staleness_seconds: float | None,
    seq: int,
) -> Answer:
    """Make an answer out of what is known.

    Parameters
    ----------
    holds
        Why nothing may be decided now (kill switch, stale features); any of them makes the signal HOLD.
    """
    model, p_up = standing.model, standing.p_up
    if model is None or p_up is None:
        signal: Action = "HOLD"
        reasons = [standing.problem, *holds] if standing.problem else holds
    elif holds:
        signal, reasons = "HOLD", holds
    elif standing.decided is not None:
        signal, reasons = _as_decided(standing.decided, p_up, model, holding=standing.holding)
    else:
        signal, reason = decide(p_up, model.entry_threshold, model.exit_threshold, holding=standing.holding)
        reasons = [reason]
    return Answer(
        symbol=symbol,
        p_up=p_up,
        confidence=None if p_up is None else abs(2.0 * p_up - 1.0),
        signal=signal,
        policy=NO_POLICY if model is None else model.policy_view,
        calibration=NO_CALIBRATION if model is None else model.calibration_view,
        staleness_seconds=staleness_seconds,
        horizon_bars=None if model is None else model.horizon_bars,
        as_of=None if as_of_ms is None else utc_text(as_of_ms),
        model=None if model is None else model.model_id,
        seq=seq,
        reasons=reasons,
    )


def _as_decided(
    decided: Decided, p_up: float, model: ServedModel | ServedEnsemble, *, holding: bool | None
) -> tuple[Action, list[str]]:
    """Repeat a recorded decision; where bars that came later make another forecast, only if it would be taken again."""
    reasons = list(decided.reasons)
    if decided.p_up is not None and math.isclose(decided.p_up, p_up, rel_tol=1e-9):
        return decided.action, reasons
    said = "without a forecast" if decided.p_up is None else f"at p_up {decided.p_up:.4f}"
    reasons.append(f"{decided.action} was decided {said}, bars recorded later make it {p_up:.4f}")
    again, _ = decide(p_up, model.entry_threshold, model.exit_threshold, holding=holding)
    if decided.action in ("HOLD", again):
        return decided.action, reasons
    return "HOLD", [*reasons, "the two do not agree: wait for the next bar"]


def utc_text(time_ms: int) -> str:
    """Write a time as ISO 8601 in UTC.

    Examples
    --------
    >>> utc_text(1_704_067_200_000)
    '2024-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
