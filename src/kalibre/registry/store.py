"""The registry: a version per bundle in MLflow, with its figures, its gates, its files and the aliases that name it.

MLflow is where people look models up, and a second place where their files are kept. Which model acts is said by the
log's promotions alone; an alias that MLflow was not there to take is brought in line later (`reconcile`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kalibre.core.errors import ModelError, RegistryError
from kalibre.core.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from kalibre.models.bundle import ModelBundle

EXPERIMENT: Final = "kalibre"
_BUNDLE: Final = "bundle"
_ID: Final = "kalibre.model_id"
_DIGEST: Final = "kalibre.digest"

# Nothing is reported home, and a server that is down is known to be down in seconds, not in minutes.
_ENVIRONMENT: Final = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}


@dataclass(frozen=True)
class Version:
    """One registered bundle. `version` is MLflow's number within the series, `passed` whether every gate did."""

    model_id: str
    digest: str
    version: str
    aliases: tuple[str, ...]
    passed: bool
    created_at_ms: int


class Registry:
    """MLflow as Kalibre uses it; SQLite in `home` by default, a server by `registry_url`.

    Every method may be called again after it was interrupted anywhere, and then finishes what it had begun.

    Parameters
    ----------
    settings
        `registry_url`, or `home` for the database and the artifacts.

    Raises
    ------
    RegistryError
        From every method, if MLflow cannot be reached or refuses; the message quotes the address.
    """

    def __init__(self, settings: Settings) -> None:
        self._home = settings.home
        self.url = settings.registry_url or f"sqlite:///{(settings.home / 'mlflow.db').absolute()}"
        self._local = not settings.registry_url

    @cached_property
    def _client(self) -> MlflowClient:
        for name, value in _ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        from mlflow import MlflowClient

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        if self._local:
            self._home.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=self.url, registry_uri=self.url)

    @contextlib.contextmanager
    def _asking(self, what: str) -> Iterator[MlflowClient]:
        try:
            with warnings.catch_warnings():
                # Deprecations inside MLflow are no news to a user of this program.
                warnings.simplefilter("ignore")
                yield self._client
        except _failures() as error:
            raise RegistryError(
                f"MLflow at {self.url!r} could not {what}: {type(error).__name__}: {str(error)[:300]}; start it, mend "
                "registry_url, or free space, then run the command again"
            ) from error

    # --- versions -----------------------------------------------------------------------------------------------------

    def register(self, bundle: ModelBundle, folder: Path) -> Version:
        """Store a bundle as a version of its series, and check what was stored by reading it back.

        Parameters
        ----------
        bundle
            A verified bundle.
        folder
            Its files, as `ModelBundle.save` returned them.

        Returns
        -------
        The version; the one that is there if the bundle was registered before.
        """
        name = registered_name(bundle.symbol, bundle.timeframe)
        with self._asking(f"store model {bundle.model_id}") as client:
            found = self._find(client, name, bundle.model_id)
            if found is None:
                run_id = self._run(client, bundle)
                client.log_artifacts(run_id, str(folder), _BUNDLE)
                self._verify(client, run_id, bundle)
                source = f"{client.get_run(run_id).info.artifact_uri}/{_BUNDLE}"
                with contextlib.suppress(_already_exists()):
                    client.create_registered_model(name)
                found = client.create_model_version(name, source=source, run_id=run_id, tags=_tags(bundle))
                client.set_terminated(run_id)
            return self._version(client, name, found)

    def _find(self, client: MlflowClient, name: str, model_id: str) -> ModelVersion | None:
        versions = client.search_model_versions(f"name = '{name}'", max_results=10_000)
        return next((version for version in versions if version.tags.get(_ID) == model_id), None)

    def _run(self, client: MlflowClient, bundle: ModelBundle) -> str:
        """Return the run that describes a bundle: one that was interrupted, or a new one."""
        from mlflow.entities import Metric, Param, RunTag

        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is not None:
            experiment_id = experiment.experiment_id
        else:
            place = (self._home / "mlartifacts").absolute().as_uri() if self._local else None
            with contextlib.suppress(_already_exists()):
                client.create_experiment(EXPERIMENT, artifact_location=place)
            made_now = client.get_experiment_by_name(EXPERIMENT)
            if made_now is None:
                raise RegistryError(f"MLflow at {self.url!r} has no experiment {EXPERIMENT!r} and makes none: mend it")
            experiment_id = made_now.experiment_id
        begun = client.search_runs([experiment_id], f"tags.`{_ID}` = '{bundle.model_id}'", max_results=1)
        run = begun[0] if begun else client.create_run(experiment_id, tags={_ID: bundle.model_id})
        made = bundle.created_at_ms
        client.log_batch(
            run.info.run_id,
            metrics=[Metric(key, value, made, 0) for key, value in _metrics(bundle).items()],
            params=[Param(key, value) for key, value in _params(bundle).items()],
            tags=[RunTag(key, value) for key, value in {**_tags(bundle), **_gate_tags(bundle)}.items()],
        )
        run_id: str = run.info.run_id
        return run_id

    def _verify(self, client: MlflowClient, run_id: str, bundle: ModelBundle) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self._download(client, run_id, Path(folder), bundle.model_id, bundle.digest)

    def _download(self, client: MlflowClient, run_id: str, folder: Path, model_id: str, digest: str) -> Path:
        """Bring a bundle's files into a folder named by its id, and check every byte."""
        from kalibre.models.bundle import load_bundle

        fetched = Path(client.download_artifacts(run_id, _BUNDLE, str(folder)))
        there = folder / model_id
        fetched.rename(there)
        load_bundle(folder, model_id, digest)
        return there

    def _version(self, client: MlflowClient, name: str, version: ModelVersion) -> Version:
        aliases = client.get_registered_model(name).aliases
        return Version(
            model_id=version.tags[_ID],
            digest=version.tags[_DIGEST],
            version=str(version.version),
            aliases=tuple(sorted(alias for alias, number in aliases.items() if str(number) == str(version.version))),
            passed=version.tags.get("kalibre.gates_passed") == "true",
            created_at_ms=int(version.tags["kalibre.created_at_ms"]),
        )

    def versions(self, symbol: str, timeframe: str) -> list[Version]:
        """Return every version of a series, oldest first."""
        name = registered_name(symbol, timeframe)
        with self._asking(f"list the versions of {name}") as client:
            found = client.search_model_versions(f"name = '{name}'", max_results=10_000)
            ours = sorted((v for v in found if _ID in v.tags), key=lambda v: int(v.version))
            return [self._version(client, name, version) for version in ours]

    def restore(self, symbol: str, timeframe: str, model_id: str, models_dir: Path) -> Path:
        """Bring a bundle's folder back from MLflow's copy, every byte checked.

        Raises
        ------
        RegistryError
            Also if no such version is registered.
        """
        name = registered_name(symbol, timeframe)
        with self._asking(f"bring back model {model_id}") as client:
            version = self._find(client, name, model_id)
            if version is None:
                raise RegistryError(f"model {model_id!r} is not registered in MLflow at {self.url!r}: train it again")
            models_dir.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".restoring-", dir=models_dir) as folder:
                there = self._download(client, str(version.run_id), Path(folder), model_id, version.tags[_DIGEST])
                target = models_dir / model_id
                if target.exists():
                    shutil.rmtree(target)
                there.rename(target)
            return target

    # --- aliases ------------------------------------------------------------------------------------------------------

    def alias(self, symbol: str, timeframe: str, alias: str) -> str | None:
        """Return the id of the model that holds an alias, None if none does."""
        held = [version for version in self.versions(symbol, timeframe) if alias in version.aliases]
        return held[0].model_id if held else None

    def set_alias(self, symbol: str, timeframe: str, alias: str, model_id: str | None) -> None:
        """Give an alias to a registered model, or with None take it from all.

        Raises
        ------
        RegistryError
            Also if the model is not registered.
        """
        name = registered_name(symbol, timeframe)
        with self._asking(f"give {alias} of {name} to {model_id}") as client:
            if model_id is None:
                if client.search_registered_models(f"name = '{name}'"):
                    client.delete_registered_model_alias(name, alias)
                return
            version = self._find(client, name, model_id)
            if version is None:
                raise RegistryError(
                    f"model {model_id!r} is not registered in MLflow at {self.url!r}: register it first"
                )
            client.set_registered_model_alias(name, alias, str(version.version))


def registered_name(symbol: str, timeframe: str) -> str:
    """Return MLflow's name of a series; two series never share one.

    Letters, digits, `.`, `_` and `-` stand for themselves, which leaves the names of plain symbols as they are. Of
    everything else, and of `~` itself, each byte is written as `~` and two hexadecimal digits: MLflow takes no slash
    and no colon, and a percent sign would be decoded on its way through a URL.

    Examples
    --------
    >>> registered_name("BTCUSDT", "15m"), registered_name("BTC/USDT", "15m"), registered_name("BTC_USDT", "15m")
    ('kalibre.BTCUSDT.15m', 'kalibre.BTC~2FUSDT.15m', 'kalibre.BTC_USDT.15m')
    """
    escaped = re.sub(
        r"[^A-Za-z0-9._-]", lambda found: "".join(f"~{byte:02X}" for byte in found[0].encode("utf-8")), symbol
    )
    return f"kalibre.{escaped}.{timeframe}"


def _failures() -> tuple[type[Exception], ...]:
    """Return everything that MLflow raises when it, its database, its server or its disk fails."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    return (MlflowException, RequestException, SQLAlchemyError, OSError, ModelError)


def _already_exists() -> type[Exception]:
    from mlflow.exceptions import MlflowException

    return MlflowException


def _tags(bundle: ModelBundle) -> dict[str, str]:
    passed = bool(bundle.gates) and all(gate["passed"] for gate in bundle.gates)
    return {
        _ID: bundle.model_id,
        _DIGEST: bundle.digest,
        "kalibre.gates_passed": "true" if passed else "false",
        "kalibre.created_at_ms": str(bundle.created_at_ms),
    }


def _gate_tags(bundle: ModelBundle) -> dict[str, str]:
    return {f"gate.{gate['name']}": json.dumps(dict(gate), sort_keys=True)[:5000] for gate in bundle.gates}


def _params(bundle: ModelBundle) -> dict[str, str]:
    return {
        "symbol": bundle.symbol,
        "timeframe": bundle.timeframe,
        "horizon_bars": str(bundle.horizon_bars),
        "entry_threshold": repr(bundle.entry_threshold),
        "exit_threshold": repr(bundle.exit_threshold),
        "n_columns": str(len(bundle.classifier.columns)),
        "rounds": str(bundle.classifier.best_round),
        "feature_fingerprint": bundle.feature_fingerprint,
        **{f"costs.{name}": str(value) for name, value in bundle.costs.model_dump().items()},
        **{f"risk.{name}": str(value) for name, value in bundle.risk.model_dump().items()},
    }


def _metrics(bundle: ModelBundle) -> dict[str, float]:
    found: Mapping[str, Any] = {**bundle.metrics, **bundle.calibration}
    return {
        name: float(value)
        for name, value in found.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
