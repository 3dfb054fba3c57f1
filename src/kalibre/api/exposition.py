"""Metrics in Prometheus' text form: base units, and times of last signs of life instead of up-gauges."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kalibre.api.counters import BUCKETS_S

if TYPE_CHECKING:
    from kalibre.api.live import Picture
    from kalibre.api.service import Service

Sample = tuple[Mapping[str, str], float | None]

_FIGURES = {
    "kalibre_ml_model_ece": ("Debiased expected calibration error out of sample, 0 to 1.", ("ece_calibrated",)),
    "kalibre_ml_model_auc": ("Area under the ROC curve out of sample, 0 to 1.", ("walk_forward_auc", "auc")),
    "kalibre_ml_model_sharpe": (
        "Annualised Sharpe ratio after costs out of sample.",
        ("walk_forward_sharpe", "sharpe"),
    ),
}


def exposition(service: Service) -> str:
    """Return every metric of the process.

    Examples
    --------
    >>> from dataclasses import replace
    >>> from kalibre.api.service import Service
    >>> from kalibre.core.settings import Settings
    >>> service = Service(Settings())
    >>> service.live.picture = replace(service.live.picture, ready=True)  # without a thread that reads the log
    >>> "kalibre_kill_engaged 0" in exposition(service).splitlines()
    True
    """
    picture = service.live.picture
    lines: list[str] = []
    _models(lines, service, picture)
    _process(lines, service, picture)
    return "\n".join(lines) + "\n"


def _models(lines: list[str], service: Service, picture: Picture) -> None:
    held = [
        ({"symbol": symbol, "role": role, "model": standing.model.model_id}, standing)
        for symbol, view in picture.series.items()
        for role, standing in view.roles.items()
        if standing.model is not None
    ]
    for name, (text, keys) in _FIGURES.items():
        samples: list[Sample] = []
        for labels, standing in held:
            bundle = standing.model.bundle if standing.model is not None else None
            found = {**bundle.metrics, **bundle.calibration} if bundle is not None else {}
            samples.append((labels, _first(found, keys)))
        _family(lines, name, "gauge", text, samples)
    _family(
        lines,
        "kalibre_ml_prediction_confidence",
        "gauge",
        "Confidence |2p-1| of the newest forecast, 0 to 1.",
        [(labels, None if standing.p_up is None else abs(2.0 * standing.p_up - 1.0)) for labels, standing in held],
    )
    _family(
        lines,
        "kalibre_ml_feature_staleness_seconds",
        "gauge",
        "Seconds since the newest bar closed, on the market's clock.",
        [
            ({"symbol": symbol}, service.staleness_seconds(picture, view.as_of_ms))
            for symbol, view in picture.series.items()
        ],
    )
    _family(
        lines,
        "kalibre_ml_feature_timestamp_seconds",
        "gauge",
        "When the newest bar closed, Unix time.",
        [
            ({"symbol": symbol}, None if view.as_of_ms is None else view.as_of_ms / 1000)
            for symbol, view in picture.series.items()
        ],
    )
    _family(
        lines,
        "kalibre_ml_predictions_total",
        "counter",
        "Answers of predict, by signal.",
        [
            ({"symbol": symbol, "signal": signal}, float(count))
            for (symbol, signal), count in sorted(service.counters.predictions.items())
        ],
    )


def _process(lines: list[str], service: Service, picture: Picture) -> None:
    counters = service.counters
    _family(
        lines,
        "kalibre_kill_engaged",
        "gauge",
        "1 if the kill switch is engaged; without a sample while the log is not read.",
        [({}, float(engaged))] if (engaged := service.engaged(picture)) is not None else [],
    )
    _family(
        lines,
        "kalibre_automation_running",
        "gauge",
        "1 unless paper trading is stopped; without a sample while the log is not read.",
        [({}, float(picture.running))] if picture.ready else [],
    )
    _family(
        lines, "kalibre_log_position", "gauge", "Position of the log that is read up to.", [({}, float(picture.seq))]
    )
    _family(
        lines,
        "kalibre_live_heartbeat_timestamp_seconds",
        "gauge",
        "When the log was last looked at, Unix time.",
        [({}, time.time() - service.live.heartbeat_age_s)],
    )
    _family(lines, "kalibre_event_streams", "gauge", "Open event streams.", [({}, float(service.streams))])
    _family(
        lines,
        "kalibre_http_requests_total",
        "counter",
        "Requests answered, by method, route and status.",
        [
            ({"method": method, "route": route, "status": str(status)}, float(count))
            for (method, route, status), count in sorted(counters.requests.items())
        ],
    )
    name = "kalibre_http_request_duration_seconds"
    lines += [f"# HELP {name} Time from the request's head to the end of the answer.", f"# TYPE {name} histogram"]
    total = 0
    for bound, count in zip((*BUCKETS_S, math.inf), counters.duration_counts, strict=True):
        total += count
        lines.append(f'{name}_bucket{{le="{_number(bound)}"}} {total}')
    lines += [f"{name}_sum {_number(counters.duration_sum_s)}", f"{name}_count {total}"]


def _family(lines: list[str], name: str, kind: str, text: str, samples: Iterable[Sample]) -> None:
    lines += [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        if value is not None:
            inner = ",".join(f'{key}="{_escaped(content)}"' for key, content in labels.items())
            lines.append(f"{name}{{{inner}}} {_number(value)}" if inner else f"{name} {_number(value)}")


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _first(found: Mapping[str, Any], keys: tuple[str, ...]) -> float | None:
    for key in keys:
        value = found.get(key)
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    return None
