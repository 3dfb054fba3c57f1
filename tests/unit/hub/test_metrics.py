"""What the hub measures, as Prometheus' own client library reads it."""

from __future__ import annotations

import math
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from kalibre.core.errors import HubError
from kalibre.hub.metrics import BY_NAME, CATALOGUE, exposition
from kalibre.hub.roster import samples
from kalibre.hub.worker_process import Heart

texts = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029")
)


@given(st.dictionaries(st.tuples(st.sampled_from(CATALOGUE), texts), st.floats(allow_nan=False), max_size=20))
def test_another_reader_reads_what_was_written(values: dict[tuple[object, str], float]) -> None:
    given_samples = [
        (metric.name, dict.fromkeys(metric.labels, text), value)  # type: ignore[attr-defined]
        for (metric, text), value in values.items()
        if metric.labels or not text  # type: ignore[attr-defined]
    ]
    found = [
        (sample.name, sample.labels, sample.value)
        for family in text_string_to_metric_families(exposition(given_samples))
        for sample in family.samples
    ]
    place = {metric.name: at for at, metric in enumerate(CATALOGUE)}
    assert found == sorted(given_samples, key=lambda sample: place[sample[0]])


def test_kinds_and_texts_are_told() -> None:
    families = list(
        text_string_to_metric_families(exposition((m.name, dict.fromkeys(m.labels, "x"), 1) for m in CATALOGUE))
    )
    assert len(families) == len(CATALOGUE) == len(BY_NAME)
    for family, metric in zip(families, CATALOGUE, strict=True):
        assert (family.type, family.documentation) == (metric.kind, metric.text)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.text.endswith(".")


@pytest.mark.parametrize(
    ("sample", "said"),
    [
        (("kalibre_hub_made_up", {}, 1.0), "is no metric of the hub"),
        (("kalibre_hub_jobs", {}, 1.0), "carries the labels"),
        (("kalibre_hub_log_head", {"worker": "a"}, 1.0), "carries the labels"),
    ],
)
def test_what_is_not_in_the_catalogue_is_refused(sample: tuple[str, dict[str, str], float], said: str) -> None:
    with pytest.raises(HubError, match=said):
        exposition([sample])


def test_a_sample_stands_once_and_an_unknown_value_not_at_all() -> None:
    with pytest.raises(HubError, match="given twice"):
        exposition([("kalibre_hub_log_head", {}, 1.0)] * 2)
    assert exposition([("kalibre_hub_log_head", {}, None)]) == ""
    assert "NaN" in exposition([("kalibre_hub_log_head", {}, math.nan)])


def test_heartbeats_are_measured_and_who_has_stopped_is_not(tmp_path: Path) -> None:
    beating, stopped = Heart("beating", tmp_path, restarts=2), Heart("stopped", tmp_path)
    stopped.close()
    measured = {(name, labels["worker"]): value for name, labels, value in samples(tmp_path)}
    beating.close()
    assert {worker for _, worker in measured} == {"beating"}
    assert measured["kalibre_hub_worker_restarts_total", "beating"] == 2.0
    assert abs(measured["kalibre_hub_worker_heartbeat_timestamp_seconds", "beating"] - time.time()) < 5
    exposition(samples(tmp_path))
