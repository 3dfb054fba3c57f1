"""Language models in the registry: a run with the figures, a version with the files, every byte read back."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kalibre.core.errors import RegistryError
from kalibre.registry.store import Registry, _already_exists

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT: Final = "kalibre-text"
_VERSION: Final = "kalibre.text_version"
_FILES: Final = "bundle"
_MOST_PARAMS: Final = 100
_LONGEST_KEY: Final = 200


def register_text_model(registry: Registry, folder: Path, *, made_at_ms: int) -> str:
    """Store a saved language model as a version of its task (`kalibre.text.sentiment`).

    It may be called again after it was interrupted anywhere, and then finishes what it had begun.

    Parameters
    ----------
    registry
        Where.
    folder
        A saved bundle, with its manifest.
    made_at_ms
        Wall time that its figures carry, UTC ms.

    Returns
    -------
    MLflow's number of the version; the one that is there if the model was registered before.

    Raises
    ------
    RegistryError
        If the folder holds no saved model, or MLflow cannot be reached, or gives back other bytes than it was given.
    """
    try:
        manifest = json.loads((folder / "manifest.json").read_bytes())
        task, version, card = str(manifest["task"]), str(manifest["version"]), dict(manifest["card"])
        files = dict(manifest["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RegistryError(
            f"{str(folder)!r} holds no saved language model ({error!r}): name one that `kalibre nlp train` saved"
        ) from error
    name = f"kalibre.text.{task}"
    with registry._asking(f"store language model {version}") as client:
        there = next(
            (
                one
                for one in client.search_model_versions(f"name = '{name}'", max_results=10_000)
                if one.tags.get(_VERSION) == version
            ),
            None,
        )
        if there is not None:
            return str(there.version)
        run_id = _run(client, registry, version, task, card, made_at_ms)
        client.log_artifacts(run_id, str(folder), _FILES)
        _verify(client, run_id, files, version)
        with contextlib.suppress(_already_exists()):
            client.create_registered_model(name)
        source = f"{client.get_run(run_id).info.artifact_uri}/{_FILES}"
        stored = client.create_model_version(name, source=source, run_id=run_id, tags={_VERSION: version})
        client.set_terminated(run_id)
        return str(stored.version)


def _run(
    client: MlflowClient, registry: Registry, version: str, task: str, card: Mapping[str, Any], made_at_ms: int
) -> str:
    from mlflow.entities import Metric, Param

    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        place = (registry._home / "mlartifacts").absolute().as_uri() if registry._local else None
        with contextlib.suppress(_already_exists()):
            client.create_experiment(EXPERIMENT, artifact_location=place)
        experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        raise RegistryError(f"MLflow at {registry.url!r} has no experiment {EXPERIMENT!r} and makes none: mend it")
    begun = client.search_runs([experiment.experiment_id], f"tags.`{_VERSION}` = '{version}'", max_results=1)
    run = begun[0] if begun else client.create_run(experiment.experiment_id, tags={_VERSION: version, "task": task})
    flat = dict(_flat(card))
    figures = {key: value for key, value in flat.items() if isinstance(value, int | float) and math.isfinite(value)}
    words = {key: str(value)[:500] for key, value in flat.items() if key not in figures and value is not None}
    run_id: str = run.info.run_id
    client.log_batch(
        run_id,
        metrics=[Metric(key, float(value), made_at_ms, 0) for key, value in figures.items()],
    )
    # MLflow takes a hundred at a time.
    told = [Param(key, value) for key, value in words.items()]
    for start in range(0, len(told), _MOST_PARAMS):
        client.log_batch(run_id, params=told[start : start + _MOST_PARAMS])
    return run_id


def _flat(card: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in card.items():
        # MLflow takes letters, digits, `_`, `-`, `.`, blanks and `/` in a key.
        name = before + "".join(c if c.isascii() and (c.isalnum() or c in "_-. /") else "_" for c in str(key))
        if len(name) > _LONGEST_KEY:
            # Cut, two keys could be one: what was cut off is still told apart.
            name = f"{name[: _LONGEST_KEY - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        if isinstance(value, Mapping):
            found += _flat(value, f"{name}/")
        elif isinstance(value, list | tuple):
            found.append((name, json.dumps(value, ensure_ascii=False)))
        else:
            found.append((name, value))
    return found


def _verify(client: MlflowClient, run_id: str, files: Mapping[str, str], version: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        fetched = Path(client.download_artifacts(run_id, _FILES, folder))
        for name, digest in files.items():
            if hashlib.sha256((fetched / name).read_bytes()).hexdigest() != digest:
                raise RegistryError(f"MLflow gave back other bytes of {name!r} of {version}: register it again")
