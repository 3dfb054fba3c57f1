"""Where the paper ledgers stand: one row for each series and role that has traded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kalibre.core.clock import to_text
from kalibre.core.events import Account, Forecast, series_key
from kalibre.core.settings import Settings

if TYPE_CHECKING:
    from kalibre.log.protocol import EventLog


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
