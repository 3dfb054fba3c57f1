"""`retrain`: trains a challenger on the stored bars, and lets the gates judge it.

The same as `kalibre train` and `kalibre promote --challenger`: the model is stored and judged; where a gate refuses,
the refusal is recorded; and it runs in shadow. Who acts is changed by a person, or by a payload that says `act`, and
then only if every gate lets it.

An attempt that was killed half way is done again from the same bars with the same dates, and so gives the same model:
bars that closed at least one bar before the job was due, as they were recorded before it was first begun. The earlier
attempt has looked at the final window and recorded that, but nobody was told what was seen: to this job, and to no
other one, such a look counts as not taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, cast

import msgspec

from kalibre.core.bars import Bars
from kalibre.core.clock import ManualClock
from kalibre.core.errors import DatasetError, PromotionRefusedError, UsageError
from kalibre.core.events import Event
from kalibre.core.settings import Settings
from kalibre.core.timeframe import DAY_MS, timeframe_ms
from kalibre.hub.job_context import JobContext
from kalibre.log.failpoints import failpoint
from kalibre.log.protocol import EventLog, Transaction

_SHOWN = frozenset({"look", "trial"})
_KNOWN = frozenset({"symbol", "timeframe", "days", "act", "by", "reason"})


class Retrain:
    """Trains a challenger for `symbol` (and `timeframe`, on the last `days`), told `by` whom and for what `reason`."""

    name: ClassVar[str] = "retrain"

    def run(self, payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        """Train, judge, and let the model run in shadow; the result names it and what the gates said."""
        from kalibre.registry.candidates import train_candidate
        from kalibre.registry.promotion import failed_gates, promote
        from kalibre.registry.store import Registry

        settings, symbol, days = _read(payload, context.settings)
        bars = _bars(context, settings, symbol, days)
        clock = ManualClock(context.job.due_ms)
        log = cast(EventLog, _AttemptLog(context.log, context.mark))
        candidate = train_candidate(log, bars, settings, progress=context.progress, clock=clock)
        context.check()
        model = candidate.bundle.model_id
        failpoint("retrain.trained")
        failed = failed_gates(candidate.bundle, settings)
        note = f"{payload.get('reason') or 'asked for'} ({context.mark})"
        alias: Literal["champion", "challenger"] = "champion" if failed or payload.get("act") else "challenger"
        by, registry = str(payload.get("by") or self.name), Registry(settings)
        try:
            promote(context.log, registry, settings, model, note=note, by=by, alias=alias, clock=clock)
            verdict = f"every gate lets it act; it is {alias}"
        except PromotionRefusedError as refused:  # recorded with each gate and its figure; it runs in shadow
            verdict = str(refused)
        failpoint("retrain.promoted")
        context.result.update(model=model, verdict=verdict, bars=f"{len(bars)}", failed=", ".join(sorted(failed)))
        return []


def _read(payload: Mapping[str, Any], settings: Settings) -> tuple[Settings, str, int | None]:
    """Return the settings for the symbol and timeframe that a payload names, the symbol, and the days to learn from."""
    market = settings.market
    symbol, timeframe = payload.get("symbol") or market.symbols[0], payload.get("timeframe") or market.timeframe
    days = payload.get("days")
    unknown = sorted(set(payload) - _KNOWN)
    if unknown or not isinstance(symbol, str) or not isinstance(timeframe, str) or not _is_count(days):
        raise UsageError(
            f"a retrain cannot be told {dict(payload)!r}: it takes {', '.join(sorted(_KNOWN))}, days as a whole number"
        )
    timeframe_ms(timeframe)
    chosen = market.model_copy(update={"symbols": (symbol,), "timeframe": timeframe})
    return settings.model_copy(update={"market": chosen}), symbol, days


def _is_count(days: Any) -> bool:
    return days is None or (isinstance(days, int) and not isinstance(days, bool) and days > 0)


def _bars(context: JobContext, settings: Settings, symbol: str, days: int | None) -> Bars:
    """Load the bars that every attempt of a job learns from."""
    from kalibre.bars.history import load_bars

    timeframe, job = settings.market.timeframe, context.job
    # The last bar may have been on its way when the job became due: it is left to the next one.
    last_open = job.due_ms - 2 * timeframe_ms(timeframe)
    bars = load_bars(
        context.log,
        symbol,
        timeframe,
        start_ms=None if days is None else last_open - days * DAY_MS,
        end_ms=last_open + 1,
        as_of=job.began_ms - 1,
        mirror_dir=settings.home / "mirror",
    )
    if not len(bars):
        raise DatasetError(
            f"the log holds no bar of {symbol!r} {timeframe} that had closed when the job was due: run `kalibre ingest "
            f"--symbol {symbol} --timeframe {timeframe}`"
        )
    return bars


class _AttemptLog:
    """A log in which the looks and trials of a job's earlier attempts are not seen, as if they had never been begun.

    What this attempt appends is marked as the job's (by provenance, which is no content). Asked for the trials of one
    very history it shows all: what is recorded already is then not recorded again.
    """

    def __init__(self, log: EventLog, mark: str) -> None:
        self._log, self._mark = log, mark

    def read(self, *, kinds: Collection[str] | None = None, key: str | None = None, **named: Any) -> list[Event]:
        return self._seen(self._log.read(kinds=kinds, key=key, **named), kinds, key)

    def append(self, events: Iterable[Event], **named: Any) -> list[Event]:
        return self._log.append(self._marked(events), **named)

    @contextmanager
    def transaction(self, *, durable: bool = False) -> Iterator[Transaction]:
        with self._log.transaction(durable=durable) as transaction:
            yield cast(Transaction, _AttemptTransaction(transaction, self))

    def _marked(self, events: Iterable[Event]) -> list[Event]:
        return [msgspec.structs.replace(event, provenance=self._mark) for event in events]

    def _seen(self, events: list[Event], kinds: Collection[str] | None, key: str | None) -> list[Event]:
        if key is not None or kinds is None or not _SHOWN.intersection(kinds):
            return events
        return [event for event in events if event.kind not in _SHOWN or event.provenance != self._mark]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)


class _AttemptTransaction:
    """A transaction of such a log."""

    def __init__(self, transaction: Transaction, owner: _AttemptLog) -> None:
        self._transaction, self._owner = transaction, owner

    def read(self, *, kinds: Collection[str] | None = None, key: str | None = None, **named: Any) -> list[Event]:
        return self._owner._seen(self._transaction.read(kinds=kinds, key=key, **named), kinds, key)

    def append(self, events: Iterable[Event], **named: Any) -> list[Event]:
        return self._transaction.append(self._owner._marked(events), **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)


HANDLER = Retrain()
