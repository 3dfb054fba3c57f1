"""Events: everything that happens, typed. The log stores them; nothing else is the truth.

An event is known by its identity (kind, key, event time, revision). Its payload is its content: the same content under
the same identity is the same event. Position (`seq`), writer, provenance and wall time are about the record, not about
what happened, and are never part of the content.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any, ClassVar, Literal

import msgspec

from kalibre.core.bars import NEWS, Bar
from kalibre.core.errors import LogError


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What an event says; a subclass per kind, `kind` is its name in the log. NaN is not allowed: use None."""

    kind: ClassVar[str] = ""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One event.

    `event_time` is when it became true in the market (UTC ms; for a bar its `open_time`, for what is decided at a bar's
    close that bar's close time). `seq` is 0 until stored; the log then gives positions 1, 2, 3, ... without reuse.
    """

    kind: str
    key: str
    event_time: int
    payload: Payload
    revision: int = 0
    seq: int = 0
    writer: str = ""
    provenance: str = ""
    recorded_at: int = 0

    @property
    def identity(self) -> tuple[str, str, int, int]:
        """Return (kind, key, event time, revision)."""
        return (self.kind, self.key, self.event_time, self.revision)


def new_event(key: str, event_time: int, payload: Payload, *, revision: int = 0, provenance: str = "") -> Event:
    """Make an event that is not stored yet; its kind is the payload's."""
    return Event(
        kind=payload.kind, key=key, event_time=event_time, payload=payload, revision=revision, provenance=provenance
    )


def series_key(symbol: str, timeframe: str) -> str:
    """Return the key of a series: `BTCUSDT|15m`."""
    return f"{symbol}|{timeframe}"


# --- what sources say -------------------------------------------------------------------------------------------------


class BarClosed(Payload, frozen=True, kw_only=True):
    """A closed bar that passed the checks. Key: series; event time: open_time; revised when the source corrects it.

    The two of news are what the log's headline scores said at its close, written once with the bar; left out where
    there was no news, so that a bar without is the same bytes as ever.
    """

    kind = "bar"
    open_time: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float | None = None
    trades: float | None = None
    taker_buy_volume: float | None = None
    news_impact: float | msgspec.UnsetType | None = msgspec.UNSET
    news_conf: float | msgspec.UnsetType | None = msgspec.UNSET

    def bar(self) -> Bar:
        """Return it as a bar."""
        impact, conf = self.news_impact, self.news_conf
        return Bar(
            open_time=self.open_time,
            open=self.open,
            high=self.high,
            low=self.low,
            close=self.close,
            volume=self.volume,
            quote_volume=self.quote_volume,
            trades=self.trades,
            taker_buy_volume=self.taker_buy_volume,
            news_impact=None if impact is msgspec.UNSET else impact,
            news_conf=None if conf is msgspec.UNSET else conf,
        )

    @classmethod
    def of(cls, bar: Bar) -> BarClosed:
        """Make the payload of a bar."""
        values = {name: getattr(bar, name) for name in Bar.__struct_fields__}
        return cls(**{name: value for name, value in values.items() if value is not None or name not in NEWS})


class BarQuarantined(Payload, frozen=True, kw_only=True):
    """A bar that failed a check, kept aside as it came (`raw`, as text) with every reason. Key: series."""

    kind = "quarantine"
    raw: dict[str, str]
    reasons: tuple[str, ...]
    detail: str = ""


class Gap(Payload, frozen=True, kw_only=True):
    """Missing bars. Key: series; event time: start. A later revision says what became of it."""

    kind = "gap"
    start_ms: int
    end_ms: int
    missing_bars: int
    status: Literal["open", "healed", "hole"]
    reason: str = ""


class CorporateAction(Payload, frozen=True, kw_only=True):
    """A split or the like. Key: symbol; event time: first bar after it. Prices before are to be divided by `factor`."""

    kind = "corporate_action"
    factor: float
    status: Literal["detected", "confirmed", "rejected"]
    evidence: str = ""


class Funding(Payload, frozen=True, kw_only=True):
    """A funding rate of a perpetual future. Key: symbol; event time: settlement. A long pays `rate` on its value."""

    kind = "funding"
    rate: float


class Tick(Payload, frozen=True, kw_only=True):
    """The wall clock, recorded: the only way time reaches a projection. Key: `clock`."""

    kind = "tick"
    now_ms: int


# --- what projections say ---------------------------------------------------------------------------------------------


class Forecast(Payload, frozen=True, kw_only=True):
    """A probability that the close `horizon_bars` later is above this close. Key: series|role; time: close.

    `label` is what it foresees, by its file in labels/. `late`: its bar was old news by the recorded clock when it was
    made (back-filled), so it is no forecast that anybody could have acted on.
    """

    kind = "forecast"
    model: str
    role: str
    horizon_bars: int
    score: float | None
    p_up: float | None
    abstained: str | None = None
    label: str = "direction"
    late: bool = False


class Outcome(Payload, frozen=True, kw_only=True):
    """What became of a forecast. Key as the forecast's; event time: the forecast's.

    `went_up` is what the model learnt to foresee, by its label's own definition: for `direction` that the close after
    the horizon is above the forecast's close, for `triple_barrier` that the upper barrier was touched first. `told_ms`
    is the close of the bar at which it became known (0: not said): readers join by time, not by arrival.
    """

    kind = "outcome"
    model: str
    p_up: float
    went_up: bool
    log_return: float
    told_ms: int = 0


class Signal(Payload, frozen=True, kw_only=True):
    """What the policy makes of a forecast. Key: series|role; event time: close time of the bar."""

    kind = "signal"
    model: str
    role: str
    action: Literal["ENTRY", "EXIT", "HOLD"]
    p_up: float | None
    confidence: float | None
    reasons: tuple[str, ...] = ()


class Order(Payload, frozen=True, kw_only=True):
    """An order for the next bar's open. Key: series|role; event time: close time of the deciding bar."""

    kind = "order"
    model: str
    role: str
    side: Literal["buy", "sell"]
    fraction: float
    reason: str


class OrderCancelled(Payload, frozen=True, kw_only=True):
    """A pending order that will not be filled. Key and event time as the order's."""

    kind = "order_cancelled"
    role: str
    reason: str


class Fill(Payload, frozen=True, kw_only=True):
    """An order filled on paper. Key: series|role; event time: open time of the filling bar."""

    kind = "fill"
    model: str
    role: str
    side: Literal["buy", "sell"]
    quantity: float
    price: float
    fee: float
    order_time: int


class Account(Payload, frozen=True, kw_only=True):
    """A paper ledger at the close of a bar. Key: series|role; event time: close time."""

    kind = "account"
    role: str
    cash: float
    quantity: float
    equity: float


# --- what people and gates say ----------------------------------------------------------------------------------------


class Kill(Payload, frozen=True, kw_only=True):
    """The kill switch engaged or released. Key: `kill`; event time: wall time of the command."""

    kind = "kill"
    engaged: bool
    by: str
    reason: str = ""
    flatten: bool = False


class Automation(Payload, frozen=True, kw_only=True):
    """Paper trading started or stopped. Key: `automation`; event time: wall time of the command."""

    kind = "automation"
    running: bool
    by: str


class ModelTrained(Payload, frozen=True, kw_only=True):
    """A model was trained and stored. Key: series; event time: wall time. `digest` is the sha256 of its manifest."""

    kind = "model"
    model: str
    digest: str
    metrics: dict[str, float | None]


class Promotion(Payload, frozen=True, kw_only=True):
    """An alias moved to a model. Key: series|alias; event time: wall time. `model` None: the alias was removed.

    `rollback` says that the move took the promotion before back, so that a second rollback goes one further.
    """

    kind = "promotion"
    model: str | None
    digest: str | None
    alias: Literal["champion", "challenger"]
    previous: str | None
    by: str
    note: str = ""
    rollback: bool = False


class ModelUnable(Payload, frozen=True, kw_only=True):
    """A promoted model could not be loaded: it does not act until it is promoted again. Key: series|alias.

    Event time: that of the promotion or, where the model vanished later, the close of the first bar without it. What
    lies on a disk is no function of the log, so it is recorded once and read back in replay.
    """

    kind = "model_unable"
    model: str
    at: Literal["promotion", "bar"]
    reason: str


class Refusal(Payload, frozen=True, kw_only=True):
    """The gates refused a model. Key: series; event time: wall time. `failed` names each gate with its figure."""

    kind = "refusal"
    model: str
    failed: dict[str, str]


class Trial(Payload, frozen=True, kw_only=True):
    """One strategy that was tried on a history: the deflated Sharpe ratio counts them all. Key: history digest.

    `event_time` is a running number within the key, so that every distinct trial (`config` digest) stands alone.
    `series` and the window of its out-of-sample returns let a longer history find it too; `daily_returns` (one a UTC
    day from `start_ms` on) say how much two trials resemble each other.
    """

    kind = "trial"
    config: str
    sharpe: float
    n_returns: int
    series: str = ""
    start_ms: int = 0
    end_ms: int = 0
    daily_returns: tuple[float, ...] = ()


class Look(Payload, frozen=True, kw_only=True):
    """The final window of a history was looked at: it cannot promote again. Key: history digest; time: its start."""

    kind = "look"
    start_ms: int
    end_ms: int
    model: str
    series: str = ""


class CommandApplied(Payload, frozen=True, kw_only=True):
    """Where a projection took a command into account that the log holds later than what it had read.

    Key: projection; event time: running number. Written by the runner in the transaction that would otherwise have
    acted against the command; replay injects the command at the same place.
    """

    kind = "command_applied"
    projection: str
    command: tuple[str, str, int, int]
    before: tuple[str, str, int, int]


@cache
def payload_types() -> dict[str, type[Payload]]:
    """Return every payload type by its kind."""
    import kalibre.core.hub_events  # (their kinds are known once they are read)
    import kalibre.core.text_events  # noqa: F401

    return {cls.kind: cls for cls in Payload.__subclasses__()}


def encode_payload(payload: Payload) -> bytes:
    """Write a payload as canonical JSON: the same content is the same bytes.

    Raises
    ------
    LogError
        If a float is NaN or infinite (JSON would lose it in silence); the message quotes the payload.
    """
    # msgspec writes NaN and infinity as null; a decoded copy that differs shows it without walking the payload twice.
    content = msgspec.json.encode(payload, order="deterministic")
    if b"null" in content and any(map(_has_nonfinite, msgspec.structs.astuple(payload))):
        raise LogError(f"{payload!r} holds NaN or infinity: write None where a value is unknown")
    return content


def _has_nonfinite(value: Any) -> bool:
    if isinstance(value, float):
        return not math.isfinite(value)
    if isinstance(value, dict):
        return any(_has_nonfinite(item) for item in value.values())
    if isinstance(value, list | tuple):
        return any(_has_nonfinite(item) for item in value)
    return False


@cache
def _decoder(kind: str) -> msgspec.json.Decoder[Payload]:
    types = payload_types()
    if kind not in types:
        raise LogError(f"event kind {kind!r} is unknown to this version: it knows {sorted(types)}; upgrade Kalibre")
    return msgspec.json.Decoder(types[kind])


def decode_payload(kind: str, content: bytes | str) -> Payload:
    """Read a payload back from its JSON.

    Raises
    ------
    LogError
        If the kind is unknown or the content is not of that kind.
    """
    try:
        return _decoder(kind).decode(content)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise LogError(f"content of kind {kind!r} does not fit: {error}; it reads {content!r}") from error
