"""What may act: a bundle, whose forecasts are computed, or an ensemble version, whose forecasts the hub records."""

from __future__ import annotations

from pathlib import Path

from kalibre.models.bundle import ModelBundle, load_bundle
from kalibre.models.ensemble_version import EnsembleVersion, is_ensemble, load_ensemble

Acting = ModelBundle | EnsembleVersion


def load_acting(models_dir: Path, model_id: str, digest: str | None = None) -> Acting:
    """Read what an id names, after checking every byte of it.

    Parameters
    ----------
    models_dir, model_id, digest
        As of `load_bundle` and `load_ensemble`.

    Raises
    ------
    RegistryError
        If there is no such bundle.
    ModelError
        If a file is missing, damaged or not what the digest says; the message names it.
    """
    if is_ensemble(model_id):
        return load_ensemble(models_dir, model_id, digest)
    return load_bundle(models_dir, model_id, digest)
