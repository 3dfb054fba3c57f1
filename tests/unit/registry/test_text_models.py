from __future__ import annotations

from pathlib import Path

import pytest

from kalibre.core.errors import RegistryError
from kalibre.core.settings import Settings
from kalibre.language.bundle import LanguageBundle
from kalibre.registry.store import Registry
from kalibre.registry.text_models import EXPERIMENT, register_text_model


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(Settings(home=tmp_path_factory.mktemp("mlflow")))


def _bundle(content: bytes) -> LanguageBundle:
    card = {"figures": {"accuracy": 0.75, "macro_f1": 0.7}, "licence": "MIT", "trained_until": "2026-01-01"}
    return LanguageBundle(task="sentiment", family="fast", files={"weights.bin": content}, card=card)


def test_a_model_is_stored_with_its_figures_and_only_once(registry: Registry, tmp_path: Path) -> None:
    folder = _bundle(b"one").save(tmp_path)
    first = register_text_model(registry, folder, made_at_ms=1_700_000_000_000)
    assert register_text_model(registry, folder, made_at_ms=1_800_000_000_000) == first
    other = register_text_model(registry, _bundle(b"two").save(tmp_path), made_at_ms=1_700_000_000_000)
    assert other != first
    with registry._asking("look") as client:
        experiment = client.get_experiment_by_name(EXPERIMENT)
        runs = client.search_runs([experiment.experiment_id])
        assert len(runs) == 2
        assert {run.data.metrics["figures/accuracy"] for run in runs} == {0.75}
        assert {run.data.params["licence"] for run in runs} == {"MIT"}


def test_bytes_that_come_back_otherwise_are_noticed(registry: Registry, tmp_path: Path) -> None:
    """A planted failure: a file that does not hold what the manifest says is never registered."""
    folder = _bundle(b"three").save(tmp_path)
    (folder / "weights.bin").write_bytes(b"torn")
    with pytest.raises(RegistryError, match=r"other bytes of .weights\.bin."):
        register_text_model(registry, folder, made_at_ms=0)
