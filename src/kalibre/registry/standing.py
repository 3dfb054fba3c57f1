"""Where things stand: the paper ledgers, and how far the settings have drifted from what a model was judged with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kalibre.core.clock import to_text
from kalibre.core.events import Account, Forecast, series_key
from kalibre.core.settings import Settings

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog
    from kalibre.models.bundle import ModelBundle


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


def drifted(bundle: ModelBundle, settings: Settings) -> list[str]:
    """Say where the settings' costs and limits are not those that a bundle was judged with.

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
        for name, judged in getattr(bundle, section).model_dump().items()
        if judged != (today := getattr(getattr(settings, section), name))
    ]


def undrifted(bundle: ModelBundle, settings: Settings) -> str:
    """Return the settings, as environment variables, that a bundle was judged with where they differ; empty if none do.

    Each is also what to write into `kalibre.toml`: `KALIBRE_COSTS__FEE_BPS=4.0` is `fee_bps = 4.0` of `[costs]`.
    """
    return " ".join(
        f"KALIBRE_{section.upper()}__{name.upper()}={judged}"
        for section in ("costs", "risk")
        for name, judged in getattr(bundle, section).model_dump().items()
        if judged != getattr(getattr(settings, section), name)
    )
