"""One suite over both sides of the registry's seam: MLflow on SQLite, and a real MLflow server on loopback."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.models import gates_failing, small_bundle

from kalibre.core.errors import RegistryError
from kalibre.core.settings import Settings
from kalibre.models.bundle import load_bundle
from kalibre.registry.store import Registry

COLUMNS = ("realised_volatility_20", "rsi_14", "log_return_1")


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a real MLflow server; yields its address."""
    folder = tmp_path_factory.mktemp("mlflow")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/server.db", "--artifacts-destination", str(folder / "kept")]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while not _answers(f"{address}/health"):
            assert server.poll() is None, (folder / "server.log").read_text()
            assert time.monotonic() < deadline, (folder / "server.log").read_text()
            time.sleep(0.1)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait(30)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as response:
            return response.status == 200
    except (urllib.error.URLError, OSError):
        return False


def _runs(registry: Registry, model_id: str) -> list[Any]:
    with registry._asking("look at runs") as client:
        experiment = client.get_experiment_by_name("kalibre")
        assert experiment is not None
        return list(client.search_runs([experiment.experiment_id], f"tags.`kalibre.model_id` = '{model_id}'"))


@pytest.fixture(scope="session", params=["sqlite", "server"])
def settings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return settings of one side; MLflow makes its database once, so the tests use symbols of their own."""
    url = request.getfixturevalue("mlflow_server") if request.param == "server" else ""
    return Settings(home=tmp_path_factory.mktemp(request.param), registry_url=url)


def test_a_bundle_becomes_one_version_with_figures_gates_and_files(settings: Settings) -> None:
    registry = Registry(settings)
    symbol = "ONE"
    bundle = small_bundle(symbol=symbol, columns=COLUMNS, gates=gates_failing("ece"))
    folder = bundle.save(settings.models_dir)

    first = registry.register(bundle, folder)
    again = registry.register(bundle, folder)

    assert first == again
    assert (first.model_id, first.digest, first.passed) == (bundle.model_id, bundle.digest, False)
    assert registry.versions(symbol, "15m") == [first]
    (run,) = _runs(registry, bundle.model_id)
    assert run.data.metrics["auc"] == 0.61
    assert run.data.metrics["ece_calibrated"] == 0.012
    assert run.data.params["entry_threshold"] == "0.55"
    assert '"passed": false' in run.data.tags["gate.ece"]
    assert run.info.status == "FINISHED"


def test_aliases_move_and_go(settings: Settings) -> None:
    registry = Registry(settings)
    symbol = "TWO"
    bundles = [small_bundle(symbol=symbol, columns=COLUMNS, created_at_ms=1_000_000 * n) for n in (1, 2)]
    for bundle in bundles:
        registry.register(bundle, bundle.save(settings.models_dir))
    first, second = (bundle.model_id for bundle in bundles)

    assert registry.alias(symbol, "15m", "champion") is None
    registry.set_alias(symbol, "15m", "champion", first)
    registry.set_alias(symbol, "15m", "challenger", second)
    assert registry.alias(symbol, "15m", "champion") == first
    registry.set_alias(symbol, "15m", "champion", second)
    assert [version.aliases for version in registry.versions(symbol, "15m")] == [(), ("challenger", "champion")]
    registry.set_alias(symbol, "15m", "champion", None)
    registry.set_alias(symbol, "15m", "champion", None)
    assert registry.alias(symbol, "15m", "champion") is None


def test_files_come_back_byte_for_byte(settings: Settings) -> None:
    registry = Registry(settings)
    symbol = "SAFE"
    bundle = small_bundle(symbol=symbol, columns=COLUMNS)
    folder = bundle.save(settings.models_dir)
    before = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    registry.register(bundle, folder)
    shutil.rmtree(folder)

    registry.restore(symbol, "15m", bundle.model_id, settings.models_dir)

    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()} == before
    assert load_bundle(settings.models_dir, bundle.model_id, bundle.digest).digest == bundle.digest
    assert not [path.name for path in settings.models_dir.iterdir() if path.name.startswith(".")]


def test_a_copy_damaged_on_the_way_is_never_registered(settings: Settings) -> None:
    registry = Registry(settings)
    symbol = "BAD"
    bundle = small_bundle(symbol=symbol, columns=COLUMNS)
    folder = bundle.save(settings.models_dir)
    text = (folder / "model.txt").read_bytes()
    (folder / "model.txt").write_bytes(text[:-2] + b"!\n")

    with pytest.raises(RegistryError, match=r"model\.txt"):
        registry.register(bundle, folder)
    assert registry.versions(symbol, "15m") == []

    # The interrupted run is taken up again, not left beside a second one.
    (folder / "model.txt").write_bytes(text)
    registry.register(bundle, folder)
    assert len(_runs(registry, bundle.model_id)) == 1


def test_symbols_that_look_alike_keep_their_models_apart(settings: Settings) -> None:
    registry = Registry(settings)
    alike = ("ETH/USD:X", "ETH_USD_X", "ETH~2FUSD:X")
    for number, symbol in enumerate(alike, 1):
        bundle = small_bundle(symbol=symbol, columns=COLUMNS, created_at_ms=1_000_000 * number)
        registry.register(bundle, bundle.save(settings.models_dir))
        registry.set_alias(symbol, "15m", "champion", bundle.model_id)
    champions = {registry.alias(symbol, "15m", "champion") for symbol in alike}
    assert len(champions) == len(alike)
    assert all(len(registry.versions(symbol, "15m")) == 1 for symbol in alike)


def test_unknown_models_are_named(settings: Settings) -> None:
    registry = Registry(settings)
    with pytest.raises(RegistryError, match="NOBODY-1"):
        registry.set_alias("NOBODY", "15m", "champion", "NOBODY-1")
    with pytest.raises(RegistryError, match="NOBODY-1"):
        registry.restore("NOBODY", "15m", "NOBODY-1", settings.models_dir)
    assert registry.versions("NOBODY", "15m") == []
    registry.set_alias("NOBODY", "15m", "champion", None)


def test_a_server_that_is_down_is_named_in_seconds(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    registry = Registry(Settings(home=tmp_path, registry_url=address))
    with pytest.raises(RegistryError, match=address):
        registry.versions("BTCUSDT", "15m")
