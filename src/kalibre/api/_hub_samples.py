"""What the hub measures, gathered for Prometheus from heartbeats, the board and the log's own positions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kalibre.core.errors import KalibreError
from kalibre.core.events import series_key
from kalibre.core.hub_events import Score, WorkerState

if TYPE_CHECKING:
    from kalibre.api.service import Service
    from kalibre.hub.metrics import Sample


def hub_samples(service: Service) -> Iterator[Sample]:
    """Yield every sample of the hub's metrics that is known now."""
    from kalibre.hub.roster import samples

    yield from samples(service.settings.home / "run")
    for name, value in service.hub.cells("worker/").items():
        if isinstance(value, WorkerState):
            yield "kalibre_hub_worker_error", {"worker": name}, float(value.state == "error")
    market = service.settings.market
    for symbol in market.symbols:
        yield from _of_series(service, symbol, series_key(symbol, market.timeframe))
    try:
        yield from _of_log(service)
    except KalibreError:  # what is known without the log is told all the same
        return


def _of_series(service: Service, symbol: str, key: str) -> Iterator[Sample]:
    hub = service.hub
    for name, score in hub.cells(f"{key}/score/").items():
        if isinstance(score, Score):
            labels = {"symbol": symbol, "forecaster": name}
            yield "kalibre_hub_forecaster_log_loss", labels, score.log_loss
            yield "kalibre_hub_forecaster_ece", labels, score.ece
            yield "kalibre_hub_forecaster_accuracy", labels, score.accuracy
    gaps = hub.cell(f"{key}/gaps")
    yield "kalibre_hub_gaps_open", {"symbol": symbol}, float(gaps.value["open"]) if gaps is not None else 0.0


def _of_log(service: Service) -> Iterator[Sample]:
    from kalibre.hub.worker import JUDGED
    from kalibre.learners.base import enabled_learners
    from kalibre.log.jobs import Jobs

    log = service.log()
    yield "kalibre_hub_log_head", {}, float(log.head())
    # A counter may never fall: the log counts its events, while the board keeps the newest ones only.
    counts, market = log.counts({"drift", "quarantine"}), service.settings.market
    symbols = {series_key(symbol, market.timeframe): symbol for symbol in market.symbols}
    for key, symbol in symbols.items():
        yield "kalibre_hub_quarantined_total", {"symbol": symbol}, float(counts.get(("quarantine", key), 0))
    for (kind, key), count in counts.items():
        # The key of an alarm is series|forecaster|test.
        series, *rest = key.rsplit("|", 2)
        if kind == "drift" and series in symbols and len(rest) == 2:
            labels = {"symbol": symbols[series], "forecaster": rest[0], "test": rest[1]}
            yield "kalibre_hub_drift_alarms_total", labels, float(count)
    for name in (*enabled_learners(service.settings), *JUDGED):
        progress = log.progress(name)
        if progress is not None:
            yield "kalibre_hub_position", {"projection": name}, float(progress.seq)
    for state, count in Jobs(log).counts().items():
        yield "kalibre_hub_jobs", {"state": state}, float(count)
