"""The bundle: everything a model needs to act, in one folder whose every byte is accounted for."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from kalibre.core.errors import ModelError, RegistryError
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.models._storage import plain_json, store_folder
from kalibre.models.calibrator import Calibrator
from kalibre.models.ensemble_version import PREFIX, is_ensemble
from kalibre.models.gradient_boosting import GradientBoosting

if TYPE_CHECKING:
    from kalibre.features.engine import FeatureSpec

MODEL_FILE: Final = "model.txt"
BUNDLE_FILE: Final = "bundle.json"
MANIFEST_FILE: Final = "manifest.json"
_FORMAT: Final = 2
_MODEL_ID: Final = re.compile(
    r"[A-Za-z0-9._]+-[0-9]+[smhdw]-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}"
    rf"|{PREFIX}[0-9a-f]{{12}}"
)
_EXAMPLE_ID: Final = "BTCUSDT-15m-20240131T120000Z-0123abcd"
_OLDER_FORMATS: Final = (1,)
"""Format 1 said neither which label was learnt nor whether funding was charged, and its ids would come out different
if that were filled in, so its bundles are refused by name, not guessed at."""


@dataclass(frozen=True)
class ModelBundle:
    """A model as it acts: features it reads, classifier, calibrator, thresholds, costs, and what was found of it.

    Two bundles of the same content have the same `digest` and `model_id`; nothing about where a bundle is stored is
    part of it.

    Parameters
    ----------
    symbol, timeframe
        The series that it was trained on.
    spec
        What the feature engine has to compute.
    feature_fingerprint
        Of the engine's code and spec at training; another fingerprint at serving time means other features.
    classifier, calibrator
        From a feature vector to a score, from the score to `p_up`.
    entry_threshold, exit_threshold
        Of `p_up`.
    horizon_bars, label
        What `p_up` is about: the horizon, and the part of `kalibre.labels` that was learnt.
    costs, risk
        What the thresholds were chosen for.
    funded
        Whether the study charged recorded funding rates on top of the costs.
    calibration
        `ece_calibrated` and `ece_band` (and more), out of sample.
    metrics, gates
        Figures of the study and the gates' verdicts.
    created_at_ms
        UTC milliseconds.
    """

    symbol: str
    timeframe: str
    spec: FeatureSpec
    feature_fingerprint: str
    classifier: GradientBoosting
    calibrator: Calibrator
    entry_threshold: float
    exit_threshold: float
    horizon_bars: int
    costs: CostSettings
    risk: RiskSettings
    created_at_ms: int
    label: str = "direction"
    funded: bool = False
    calibration: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    gates: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        """Refuse thresholds that no policy could follow."""
        if not 0 <= self.exit_threshold < self.entry_threshold <= 1:
            raise ModelError(
                f"entry_threshold {self.entry_threshold!r} and exit_threshold {self.exit_threshold!r}: both have to be "
                "probabilities, the exit below the entry"
            )

    @cached_property
    def _files(self) -> dict[str, bytes]:
        files = {MODEL_FILE: self.classifier.text.encode(), BUNDLE_FILE: self._content()}
        return {**files, MANIFEST_FILE: _manifest(files[MODEL_FILE], files[BUNDLE_FILE])}

    def _content(self) -> bytes:
        content = {
            "format": _FORMAT,
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "spec": self.spec.as_dict(),
            "feature_fingerprint": self.feature_fingerprint,
            "classifier": {
                "class_weights": dict(self.classifier.class_weights),
                "stop_metric": dict(self.classifier.stop_metric),
            },
            "calibrator": self.calibrator.as_dict(),
            "entry_threshold": float(self.entry_threshold),
            "exit_threshold": float(self.exit_threshold),
            "horizon_bars": int(self.horizon_bars),
            "label": self.label,
            "funded": bool(self.funded),
            "costs": self.costs.model_dump(),
            "risk": self.risk.model_dump(),
            "calibration": self.calibration,
            "metrics": self.metrics,
            "gates": list(self.gates),
            "created_at_ms": int(self.created_at_ms),
        }
        return json.dumps(plain_json(content), sort_keys=True, indent=1, allow_nan=False).encode()

    @property
    def digest(self) -> str:
        """Sha256 of the manifest, which holds the sha256 of everything else."""
        return hashlib.sha256(self._files[MANIFEST_FILE]).hexdigest()

    @property
    def model_id(self) -> str:
        """Symbol, timeframe, time of making (UTC) and the digest's first eight digits, fit for a folder's name."""
        made = datetime.fromtimestamp(self.created_at_ms / 1000, tz=UTC).strftime("%Y%m%dT%H%M%SZ")
        return f"{re.sub(r'[^A-Za-z0-9._]', '_', self.symbol)}-{self.timeframe}-{made}-{self.digest[:8]}"

    def score(self, values: FloatArray) -> FloatArray:
        """Return the uncalibrated probability of up, shape (n_rows,), for features of shape (n_rows, n_columns)."""
        return self.classifier.predict_proba(values)

    def predict(self, values: FloatArray) -> FloatArray:
        """Return the calibrated probability of up.

        Parameters
        ----------
        values
            Shape (n_rows, n_columns), or (n_columns,) for one row.

        Returns
        -------
        Shape (n_rows,); NaN for a row with a value that is not finite.

        Raises
        ------
        ModelError
            If the number of columns is not the model's; the message quotes both.
        """
        return self.calibrator.apply(self.classifier.predict_proba(np.atleast_2d(values)))

    def save(self, models_dir: Path) -> Path:
        """Store the bundle as a folder named by its id, whole or not at all.

        Parameters
        ----------
        models_dir
            Folder of all models; made if it is not there.

        Returns
        -------
        The bundle's folder. Saving the same bundle again changes nothing.

        Raises
        ------
        ModelError
            If the disk is full, the folder cannot be written, or the bundle's folder is there but damaged.
        """
        folder = models_dir / self.model_id
        if folder.exists():
            load_bundle(models_dir, self.model_id, self.digest)
            return folder
        return store_folder(models_dir, self.model_id, self._files)


def load_bundle(models_dir: Path, model_id: str, digest: str | None = None) -> ModelBundle:
    """Read a bundle back, after checking every byte of it.

    Parameters
    ----------
    models_dir
        Folder of all models.
    model_id
        Name of the bundle's folder.
    digest
        Sha256 that the log recorded for it; with it, even a bundle replaced as a whole is refused.

    Raises
    ------
    RegistryError
        If there is no such model; the message lists what there is.
    ModelError
        If a file is missing, damaged or not what the digest says; the message names it. Also for the id of an ensemble
        version, whose forecasts no bundle can compute.
    """
    if is_ensemble(model_id):
        raise ModelError(
            f"{model_id!r} is an ensemble version: its forecasts are recorded by the hub and cannot be computed from a "
            "bundle; read them with `kalibre hub league`, or name a model of its own"
        )
    there = models_dir.glob("[!.]*") if models_dir.is_dir() else ()
    stored_ids = [path.name for path in there if not is_ensemble(path.name)]
    folder = models_dir / known_model_id(model_id, stored_ids, where=models_dir)
    try:
        stored = {name: (folder / name).read_bytes() for name in (MODEL_FILE, BUNDLE_FILE, MANIFEST_FILE)}
    except OSError as error:
        raise ModelError(f"model {model_id} is damaged: {error}; restore the folder or train again") from error
    for older in _OLDER_FORMATS:
        if stored[MANIFEST_FILE] == _manifest(stored[MODEL_FILE], stored[BUNDLE_FILE], bundle_format=older):
            raise ModelError(
                f"model {model_id} is whole, but of format {older}, this version reads {_FORMAT}: train again"
            )
    if stored[MANIFEST_FILE] != _manifest(stored[MODEL_FILE], stored[BUNDLE_FILE]):
        raise ModelError(
            f"model {model_id} is damaged: {_damaged(stored)} does not match {MANIFEST_FILE}; restore the folder or "
            "train again"
        )
    found = hashlib.sha256(stored[MANIFEST_FILE]).hexdigest()
    if digest not in (None, found) or not model_id.endswith(found[:8]):
        raise ModelError(
            f"model {model_id} has digest {found}, not {digest or model_id[-8:]!r}: another model lies in its folder; "
            "restore it or train again"
        )
    try:
        return _read(json.loads(stored[BUNDLE_FILE]), stored[MODEL_FILE].decode())
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"model {model_id} was stored by another version of Kalibre: {error!r}; train again"
        ) from error


def known_model_id(model_id: str, stored: Iterable[str], *, where: Path) -> str:
    """Return a model id that names something stored; whatever else a caller was given never becomes a path.

    Parameters
    ----------
    model_id
        As a person or the log gave it.
    stored, where
        The ids that there are, and the folder that holds them.

    Raises
    ------
    RegistryError
        If it is no id, or none that is stored; the message quotes it and lists those that are.

    Examples
    --------
    >>> known_model_id("../../etc", [], where=Path("models"))
    Traceback (most recent call last):
    kalibre.core.errors.RegistryError: model '../../etc' is not in 'models' and is no model id, which reads like ...
    """
    there = sorted(stored)
    form = "" if _MODEL_ID.fullmatch(model_id) else f" and is no model id, which reads like {_EXAMPLE_ID}"
    if form or model_id not in there:
        known = f"there is {', '.join(there)}" if there else "there is none yet: run `kalibre train`"
        raise RegistryError(f"model {model_id!r} is not in {str(where)!r}{form}; {known}")
    return model_id


def _read(content: Mapping[str, Any], text: str) -> ModelBundle:
    from kalibre.features.engine import FeatureSpec

    if content["format"] != _FORMAT:
        raise ModelError(f"bundle format {content['format']!r} is not {_FORMAT}: train again with this version")
    return ModelBundle(
        symbol=content["symbol"],
        timeframe=content["timeframe"],
        spec=FeatureSpec.from_dict(content["spec"]),
        feature_fingerprint=content["feature_fingerprint"],
        classifier=GradientBoosting.from_text(text, **content["classifier"]),
        calibrator=Calibrator.from_dict(content["calibrator"]),
        entry_threshold=content["entry_threshold"],
        exit_threshold=content["exit_threshold"],
        horizon_bars=content["horizon_bars"],
        label=content["label"],
        funded=content["funded"],
        costs=CostSettings.model_validate(content["costs"]),
        risk=RiskSettings.model_validate(content["risk"]),
        calibration=content["calibration"],
        metrics=content["metrics"],
        gates=content["gates"],
        created_at_ms=content["created_at_ms"],
    )


def _manifest(model: bytes, bundle: bytes, *, bundle_format: int = _FORMAT) -> bytes:
    """Return the one manifest that fits the two files: comparing it byte by byte checks the manifest as well."""
    files = {
        name: {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in ((MODEL_FILE, model), (BUNDLE_FILE, bundle))
    }
    return (json.dumps({"files": files, "format": bundle_format}, sort_keys=True, indent=1) + "\n").encode()


def _damaged(stored: Mapping[str, bytes]) -> str:
    try:
        files = json.loads(stored[MANIFEST_FILE])["files"]
        bad = [
            name
            for name in (MODEL_FILE, BUNDLE_FILE)
            if files[name]["sha256"] != hashlib.sha256(stored[name]).hexdigest()
        ]
    except (KeyError, TypeError, ValueError):
        return MANIFEST_FILE
    return " and ".join(bad) or MANIFEST_FILE
