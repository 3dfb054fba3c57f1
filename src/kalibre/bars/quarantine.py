"""What was kept aside, for a person to look at."""

from __future__ import annotations

from typing import Any

from kalibre.bars.reasons import describe
from kalibre.core.clock import to_text
from kalibre.core.events import BarQuarantined, series_key
from kalibre.log.protocol import Reader


def quarantine_rows(log: Reader, symbol: str, timeframe: str) -> list[dict[str, Any]]:
    """Return every bar of a series that was kept aside, oldest first: what `kalibre gaps --quarantined` prints.

    Each row has `open_time` (UTC ms), `start` (Istanbul), `reasons` (codes), `said` (in words), `detail`, and `raw`:
    the bar as it came, as text.
    """
    rows = []
    for event in log.read(kinds={"quarantine"}, key=series_key(symbol, timeframe)):
        bad = event.payload
        if isinstance(bad, BarQuarantined):
            rows.append(
                {
                    "open_time": event.event_time,
                    "start": _when(event.event_time),
                    "reasons": list(bad.reasons),
                    "said": describe(bad.reasons),
                    "detail": bad.detail,
                    "raw": bad.raw,
                }
            )
    return sorted(rows, key=lambda row: row["open_time"])


def _when(time_ms: int) -> str:
    try:
        return to_text(time_ms)
    except (OverflowError, ValueError, OSError):  # a wrong unit may put it into a year that no calendar has
        return f"{time_ms} ms"
