"""What an ingest did, in numbers: JSON-able, and as rows for a table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from kalibre.bars.reasons import REASONS
from kalibre.core.clock import to_text
from kalibre.core.events import BarClosed, BarQuarantined, CorporateAction, Event, Funding, Gap
from kalibre.core.timeframe import DAY_MS, timeframe_ms


def bar_text(open_time: int, timeframe: str) -> str:
    """Write when a bar opens for a person: Istanbul time, said so; the date alone for bars of days.

    Examples
    --------
    >>> bar_text(1_704_067_200_000, "15m"), bar_text(1_704_067_200_000, "1d")
    ('2024-01-01 03:00 Istanbul', '2024-01-01')
    """
    return to_text(open_time)[:10] if timeframe_ms(timeframe) >= DAY_MS else f"{to_text(open_time)} Istanbul"


@dataclass
class IngestReport:
    """Counts of one ingest of one series; only what was newly written counts, so a second run reports nothing."""

    symbol: str
    timeframe: str
    source: str
    bars_read: int = 0
    bars_written: int = 0
    bars_revised: int = 0
    bars_known: int = 0
    bars_backfilled: int = 0
    no_trade: int = 0
    quarantined: Counter[str] = field(default_factory=Counter)
    gaps_found: int = 0
    bars_missing: int = 0
    gaps_healed: int = 0
    bars_healed: int = 0
    holes: int = 0
    bars_in_holes: int = 0
    actions: list[str] = field(default_factory=list)
    """Corporate actions found, one a day, with the newest word on each."""
    funding_rates: int = 0
    held: tuple[int, ...] = ()
    first_ms: int | None = None
    last_ms: int | None = None
    notes: list[str] = field(default_factory=list)

    def count(self, events: list[Event], before: int) -> None:
        """Add what was stored behind position `before`; what the log knew already is left out."""
        for event in events:
            payload = event.payload
            if isinstance(payload, BarClosed):
                self._count_bar(event, new=event.seq > before)
            elif event.seq <= before:
                continue
            elif isinstance(payload, BarQuarantined):
                self.quarantined.update(payload.reasons)
            elif isinstance(payload, Gap):
                self._count_gap(payload)
            elif isinstance(payload, Funding):
                self.funding_rates += 1
            elif isinstance(payload, CorporateAction):
                self._count_action(event.event_time, payload)

    def _count_bar(self, event: Event, *, new: bool) -> None:
        if not new:
            self.bars_known += 1
            return
        self.bars_revised += event.revision > 0
        self.bars_written += 1
        self.bars_backfilled += event.provenance == "backfilled"
        self.first_ms = event.event_time if self.first_ms is None else min(self.first_ms, event.event_time)
        self.last_ms = event.event_time if self.last_ms is None else max(self.last_ms, event.event_time)

    def _count_action(self, event_time: int, action: CorporateAction) -> None:
        day = to_text(event_time)[:10]
        before = [one for one in self.actions if not one.startswith(day)]
        self.actions = sorted([*before, f"{day} {action.status} factor {action.factor:g}"])

    def _count_gap(self, gap: Gap) -> None:
        if gap.status == "open":
            self.gaps_found += 1
            self.bars_missing += gap.missing_bars
        elif gap.status == "healed":
            self.gaps_healed += 1
            self.bars_healed += gap.missing_bars
        else:
            self.holes += 1
            self.bars_in_holes += gap.missing_bars

    @property
    def wrote_nothing(self) -> bool:
        """True if the log is as it was."""
        gaps = self.gaps_found or self.gaps_healed or self.holes
        return not (self.bars_written or self.quarantined or gaps or self.actions or self.funding_rates)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {
            name: dict(value) if isinstance(value, Counter) else list(value) if isinstance(value, tuple) else value
            for name, value in vars(self).items()
        }

    def rows(self) -> list[tuple[str, str]]:
        """Return label and value of each line of a table, quarantine reasons in words."""
        span = "-"
        if self.first_ms is not None and self.last_ms is not None:
            span = f"{bar_text(self.first_ms, self.timeframe)} to {bar_text(self.last_ms, self.timeframe)}"
        rows = [
            ("series", f"{self.symbol} {self.timeframe} from {self.source}"),
            ("bars written", f"{self.bars_written:,} ({span})"),
            ("already known", f"{self.bars_known:,}"),
            ("revised", f"{self.bars_revised:,}"),
            ("gaps", f"{self.gaps_found:,} with {self.bars_missing:,} missing bars"),
            ("healed", f"{self.gaps_healed:,} with {self.bars_healed:,} bars"),
            ("holes", f"{self.holes:,} with {self.bars_in_holes:,} bars"),
            ("quarantined", f"{self.quarantined.total():,}"),
        ]
        rows += [
            (f"  {code}", f"{count:,}: {REASONS.get(code, code)}") for code, count in self.quarantined.most_common()
        ]
        if self.no_trade:
            rows.append(("no trade", f"{self.no_trade:,} fillers of the source, announced as holes"))
        rows += [("corporate action", action) for action in self.actions]
        if self.funding_rates:
            rows.append(("funding", f"{self.funding_rates:,} settlements"))
        if self.held:
            rows.append(("waiting", f"{len(self.held)} bar(s) until the next confirm them"))
        return rows + [("note", note) for note in self.notes]
