"""The hub's metrics: a catalogue of what there is, and Prometheus' text form of what is measured.

Rules and dashboards may name what stands here and what `kalibre.api.exposition` writes, and nothing else: a test holds
them to it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from kalibre.core.errors import HubError

Sample = tuple[str, Mapping[str, str], float | None]
"""Name of a metric, its labels, its value; None where it is not known, which writes no line."""


@dataclass(frozen=True)
class Metric:
    """A metric: its name with the unit, its kind, what it says, and the labels that each sample carries."""

    name: str
    kind: Literal["counter", "gauge"]
    text: str
    labels: tuple[str, ...] = ()


_FORECASTER = ("symbol", "forecaster")

CATALOGUE = (
    Metric(
        "kalibre_hub_worker_heartbeat_timestamp_seconds", "gauge", "When a worker last beat, Unix time.", ("worker",)
    ),
    Metric("kalibre_hub_worker_restarts_total", "counter", "How often a worker was started again.", ("worker",)),
    Metric("kalibre_hub_worker_rss_bytes", "gauge", "Resident memory of a worker.", ("worker",)),
    Metric("kalibre_hub_worker_cpu_seconds_total", "counter", "Processor time that a worker has used.", ("worker",)),
    Metric("kalibre_hub_worker_error", "gauge", "1 while a worker is in error: it was given up for now.", ("worker",)),
    Metric("kalibre_hub_position", "gauge", "Position of the log up to which a projection has read.", ("projection",)),
    Metric("kalibre_hub_log_head", "gauge", "Position of the newest event of the log."),
    Metric("kalibre_hub_forecaster_log_loss", "gauge", "Log-loss of the newest scored period, in nats.", _FORECASTER),
    Metric("kalibre_hub_forecaster_ece", "gauge", "Calibration error of the newest scored period.", _FORECASTER),
    Metric("kalibre_hub_forecaster_accuracy", "gauge", "Accuracy of the newest scored period, 0 to 1.", _FORECASTER),
    Metric("kalibre_hub_drift_alarms_total", "counter", "Alarms of a drift test.", (*_FORECASTER, "test")),
    Metric("kalibre_hub_jobs", "gauge", "Jobs by state: queued, running, done, failed, skipped.", ("state",)),
    Metric("kalibre_hub_gaps_open", "gauge", "Gaps in the bars that are not healed yet.", ("symbol",)),
    Metric("kalibre_hub_quarantined_total", "counter", "Bars kept aside because a check failed.", ("symbol",)),
)
"""Everything that the hub measures, in the order in which it is written."""

BY_NAME = {metric.name: metric for metric in CATALOGUE}


def exposition(samples: Iterable[Sample]) -> str:
    """Write samples in Prometheus' text form, family by family in the catalogue's order.

    Raises
    ------
    HubError
        If a sample names no metric of the catalogue, carries other labels than it, or is there twice: Prometheus would
        refuse everything else along with it.

    Examples
    --------
    >>> print(exposition([("kalibre_hub_jobs", {"state": "queued"}, 2.0)]), end="")
    # HELP kalibre_hub_jobs Jobs by state: queued, running, done, failed, skipped.
    # TYPE kalibre_hub_jobs gauge
    kalibre_hub_jobs{state="queued"} 2
    """
    families: dict[str, dict[tuple[str, ...], float]] = {}
    for name, labels, value in samples:
        metric = BY_NAME.get(name)
        if metric is None:
            raise HubError(f"{name!r} is no metric of the hub: add it to the catalogue in kalibre/hub/metrics.py")
        if set(labels) != set(metric.labels):
            raise HubError(f"{name!r} carries the labels {sorted(labels)}: its own are {sorted(metric.labels)}")
        if value is None:
            continue
        family = families.setdefault(name, {})
        key = tuple(labels[label] for label in metric.labels)
        if key in family:
            raise HubError(f"{name!r} is given twice for {dict(labels)}: give each sample once")
        family[key] = value
    lines: list[str] = []
    for metric in CATALOGUE:
        if metric.name not in families:
            continue
        lines += [f"# HELP {metric.name} {metric.text}", f"# TYPE {metric.name} {metric.kind}"]
        for key, value in families[metric.name].items():
            inner = ",".join(
                f'{label}="{_escaped(content)}"' for label, content in zip(metric.labels, key, strict=True)
            )
            lines.append(f"{metric.name}{{{inner}}} {_number(value)}" if inner else f"{metric.name} {_number(value)}")
    return "".join(line + "\n" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))
