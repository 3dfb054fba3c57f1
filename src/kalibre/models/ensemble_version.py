"""The ensemble version: the ensemble as it was judged, on record, so that the policy can follow it.

An ensemble has no file that says a probability: its forecasts are events, said by the hub. What is stored is who it was
made of, at which thresholds, costs and limits it was judged, and what the gates found.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from kalibre.core.errors import ModelError
from kalibre.core.settings import CostSettings, RiskSettings
from kalibre.models._storage import plain_json, store_folder

PREFIX: Final = "ensemble-"
VERSION_FILE: Final = "ensemble.json"
_FORMAT: Final = 1
_MODEL_ID: Final = re.compile(rf"{PREFIX}[0-9a-f]{{12}}")
_EXAMPLE_ID: Final = f"{PREFIX}0123456789ab"


def is_ensemble(model_id: str | None) -> bool:
    """Say whether an id names an ensemble version instead of a bundle.

    Examples
    --------
    >>> is_ensemble("ensemble-0123456789ab"), is_ensemble("BTCUSDT-15m-20240131T120000Z-0123abcd"), is_ensemble(None)
    (True, False, False)
    """
    return model_id is not None and model_id.startswith(PREFIX)


@dataclass(frozen=True)
class EnsembleVersion:
    """The ensemble of a series as it was judged.

    Two versions of the same content have the same `digest` and `model_id`.

    Parameters
    ----------
    symbol, timeframe
        The series whose ensemble it is.
    horizon_bars, label
        What its forecasts are about.
    entry_threshold, exit_threshold
        Of `p_up`.
    forecasters
        Who the ensemble was made of, the champion of the day among them; in any order.
    costs, risk
        What the thresholds were chosen for.
    created_at_ms
        UTC milliseconds.
    funded
        Whether recorded funding rates were charged on top of the costs.
    calibration
        `ece_calibrated` and `ece_band` (and more), of its recorded forecasts.
    metrics, gates
        Figures of the judgement and the gates' verdicts.

    Raises
    ------
    ModelError
        If no policy could follow the thresholds, or nobody is named as forecaster.
    """

    symbol: str
    timeframe: str
    horizon_bars: int
    entry_threshold: float
    exit_threshold: float
    forecasters: tuple[str, ...]
    costs: CostSettings
    risk: RiskSettings
    created_at_ms: int
    label: str = "direction"
    funded: bool = False
    calibration: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    gates: Sequence[Mapping[str, Any]] = ()

    def __post_init__(self) -> None:
        """Refuse thresholds that no policy could follow, and an ensemble of nobody."""
        if not 0 <= self.exit_threshold < self.entry_threshold <= 1:
            raise ModelError(
                f"entry_threshold {self.entry_threshold!r} and exit_threshold {self.exit_threshold!r}: both have to be "
                "probabilities, the exit below the entry"
            )
        if not self.forecasters:
            raise ModelError(f"forecasters {self.forecasters!r}: an ensemble is made of at least one; name them")

    @cached_property
    def _content(self) -> bytes:
        content = {
            "format": _FORMAT,
            "symbol": self.symbol,
            "timeframe": self.timeframe,
            "horizon_bars": int(self.horizon_bars),
            "label": self.label,
            "entry_threshold": float(self.entry_threshold),
            "exit_threshold": float(self.exit_threshold),
            # The order in which forecasters are named changes nothing about the ensemble.
            "forecasters": sorted(self.forecasters),
            "costs": self.costs.model_dump(),
            "risk": self.risk.model_dump(),
            "funded": bool(self.funded),
            "calibration": self.calibration,
            "metrics": self.metrics,
            "gates": list(self.gates),
            "created_at_ms": int(self.created_at_ms),
        }
        return json.dumps(plain_json(content), sort_keys=True, indent=1, allow_nan=False).encode()

    @property
    def digest(self) -> str:
        """Sha256 of the content as it is stored."""
        return hashlib.sha256(self._content).hexdigest()

    @property
    def model_id(self) -> str:
        """`ensemble-` and the digest's first twelve digits, fit for a folder's name."""
        return PREFIX + self.digest[:12]


def store_ensemble(models_dir: Path, version: EnsembleVersion) -> Path:
    """Store an ensemble version as a folder named by its id, whole or not at all.

    Parameters
    ----------
    models_dir
        Folder of all models; made if it is not there.
    version
        What to store.

    Returns
    -------
    The version's folder. Storing the same version again changes nothing.

    Raises
    ------
    ModelError
        If the disk is full, the folder cannot be written, or the version's folder is there but damaged.
    """
    folder = models_dir / version.model_id
    if folder.exists():
        load_ensemble(models_dir, version.model_id, version.digest)
        return folder
    return store_folder(models_dir, version.model_id, {VERSION_FILE: version._content})


def load_ensemble(models_dir: Path, model_id: str, digest: str | None = None) -> EnsembleVersion:
    """Read an ensemble version back, after checking every byte of it.

    Parameters
    ----------
    models_dir
        Folder of all models.
    model_id
        As a person or the log gave it; what is no such id never becomes a path.
    digest
        Sha256 that the log recorded for it; with it, even a version replaced as a whole is refused.

    Raises
    ------
    ModelError
        If it is no such id, is not there, is damaged, or is not what the digest says; the message quotes where it
        was looked for.
    """
    if not _MODEL_ID.fullmatch(model_id):
        raise ModelError(
            f"{model_id!r} is no id of an ensemble version, which reads like {_EXAMPLE_ID}, as "
            "`kalibre hub judge` prints it"
        )
    path = models_dir / model_id / VERSION_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"ensemble version {model_id} cannot be read from {str(path)!r}: {error}; restore the folder or run "
            "`kalibre hub judge` again"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found[:12] != model_id.removeprefix(PREFIX) or digest not in (None, found):
        raise ModelError(
            f"ensemble version {model_id} is damaged: {str(path)!r} has digest {found}, not "
            f"{digest or model_id.removeprefix(PREFIX)!r}; restore the folder or run `kalibre hub judge` again"
        )
    try:
        return _read(json.loads(content))
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"ensemble version {model_id} in {str(path)!r} was stored by another version of Kalibre: {error!r}; run "
            "`kalibre hub judge` again"
        ) from error


def _read(content: Mapping[str, Any]) -> EnsembleVersion:
    if content["format"] != _FORMAT:
        raise ModelError(
            f"ensemble version's format {content['format']!r} is not {_FORMAT}: run `kalibre hub judge` again with "
            "this version of Kalibre"
        )
    return EnsembleVersion(
        symbol=content["symbol"],
        timeframe=content["timeframe"],
        horizon_bars=content["horizon_bars"],
        label=content["label"],
        entry_threshold=content["entry_threshold"],
        exit_threshold=content["exit_threshold"],
        forecasters=tuple(content["forecasters"]),
        costs=CostSettings.model_validate(content["costs"]),
        risk=RiskSettings.model_validate(content["risk"]),
        funded=content["funded"],
        calibration=content["calibration"],
        metrics=content["metrics"],
        gates=content["gates"],
        created_at_ms=content["created_at_ms"],
    )
