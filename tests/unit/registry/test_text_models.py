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


def test_a_card_of_any_size_and_kind_is_stored(registry: Registry, tmp_path: Path) -> None:
    card = {
        "figures": {f"class {n}": n / 300 for n in range(300)},
        "words": {f"set {n}": "a" * 900 for n in range(150)},
        "nothing": float("nan"),
        "ünlü %": "çok",
        "long" * 100: {"a": 1, "b": 2},
        "deep": {"a": {"b": {"c": [1, 2]}}},
    }
    folder = LanguageBundle(task="category", family="fast", files={"weights.bin": b"four"}, card=card).save(tmp_path)
    first = register_text_model(registry, folder, made_at_ms=0)
    assert register_text_model(registry, folder, made_at_ms=0) == first
    with registry._asking("look") as client:
        run = client.get_run(client.get_model_version("kalibre.text.category", first).run_id)
    assert len(run.data.metrics) == 302, "two long keys are two"
    assert len(run.data.params) >= 152


def test_a_folder_without_a_model_is_told(registry: Registry, tmp_path: Path) -> None:
    for content in (None, b"{}", b"[", b'{"task": 1}'):
        if content is not None:
            (tmp_path / "manifest.json").write_bytes(content)
        with pytest.raises(RegistryError, match="holds no saved language model"):
            register_text_model(registry, tmp_path, made_at_ms=0)
