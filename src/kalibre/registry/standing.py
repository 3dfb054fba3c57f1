"""Where things stand: the paper ledgers, and how far the settings have drifted from what a model was judged with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kalibre.core.clock import to_text
from kalibre.core.events import Account, Forecast, Promotion, series_key
from kalibre.core.settings import Settings

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog
    from kalibre.models.acting import Acting


def ledgers(log: EventLog, settings: Settings) -> list[dict[str, Any]]:
    """Return the newest state of every paper ledger, champions first.

    Returns
    -------
    Rows of `series`, `role`, `model`, `equity` and `held` (quote and base units), `fills` and `as_of` (Istanbul time).
    """
    rows = []
    for role in ("champion", "challenger"):
        for symbol in settings.market.symbols:
            key = f"{series_key(symbol, settings.market.timeframe)}|{role}"
            account = log.latest("account", key=key)
            if account is None or not isinstance(account.payload, Account):
                continue
            forecast = log.latest("forecast", key=key)
            rows.append(
                {
                    "series": key.rpartition("|")[0],
                    "role": role,
                    "model": forecast.payload.model if forecast and isinstance(forecast.payload, Forecast) else None,
                    "equity": round(account.payload.equity, 2),
                    "held": account.payload.quantity,
                    "fills": len(log.read(kinds={"fill"}, key=key)),
                    "as_of": to_text(account.event_time),
                }
            )
    return rows


def waiting(log: EventLog, settings: Settings) -> list[dict[str, Any]]:
    """Return the series in which paper trading waits for the ensemble, which is champion there or was.

    Returns
    -------
    Rows of `series`, `model`, `bars` (how many wait) and `since` (close of the first of them, Istanbul time).
    """
    from kalibre.models.ensemble_version import is_ensemble

    rows = []
    for symbol in settings.market.symbols:
        key = series_key(symbol, settings.market.timeframe)
        promoted = [event.payload for event in log.read(kinds={"promotion"}, key=f"{key}|champion")]
        if not any(isinstance(one, Promotion) and is_ensemble(one.model) for one in promoted):
            continue
        spoken = log.latest("ensemble", key=f"{key}|ensemble", by="event_time")
        after_ms = 0 if spoken is None else spoken.event_time + 1
        # What the champion says of a bar, at once, is what the ensemble waits for in its turn.
        heard = log.read(kinds={"forecast"}, key=f"{key}|champion", start_ms=after_ms, newest_revision=True)
        said = [(one.event_time, one.payload.model) for one in heard if isinstance(one.payload, Forecast)]
        waits = sorted((time, model) for time, model in said if is_ensemble(model))
        if waits:
            since_ms, model = waits[0]
            rows.append({"series": key, "model": model, "bars": len(waits), "since": to_text(since_ms)})
    return rows


def drifted(acting: Acting, settings: Settings) -> list[str]:
    """Say where the settings' costs and limits are not those that a bundle or the ensemble was judged with.

    Its thresholds were chosen, and its gates passed, with its own; paper trading goes by the settings'.

    Returns
    -------
    A sentence for each value that differs, in the order of the settings; empty if none does.

    Examples
    --------
    For a bundle of fee 4 and settings of fee 10::

        ["costs.fee_bps: judged with 4.0, the settings say 10.0"]
    """
    return [
        f"{section}.{name}: judged with {judged}, the settings say {today}"
        for section in ("costs", "risk")
        for name, judged in getattr(acting, section).model_dump().items()
        if judged != (today := getattr(getattr(settings, section), name))
    ]


def undrifted(acting: Acting, settings: Settings) -> str:
    """Return the settings, as environment variables, that it was judged with where they differ; empty if none do.

    Each is also what to write into `kalibre.toml`: `KALIBRE_COSTS__FEE_BPS=4.0` is `fee_bps = 4.0` of `[costs]`.
    """
    return " ".join(
        f"KALIBRE_{section.upper()}__{name.upper()}={judged}"
        for section in ("costs", "risk")
        for name, judged in getattr(acting, section).model_dump().items()
        if judged != getattr(getattr(settings, section), name)
    )
