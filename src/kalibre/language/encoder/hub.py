"""Opens an encoder of a hub, or of a folder that transformers wrote: safetensors alone, no code but transformers' own.

What can go wrong on the way is told apart: no package, no such id, no network, weights as pickle, no head.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.encoder.networks import HubNetwork

HEADS = {
    "sentiment": "AutoModelForSequenceClassification",
    "category": "AutoModelForSequenceClassification",
    "entities": "AutoModelForTokenClassification",
    "answering": "AutoModelForQuestionAnswering",
}
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")


def is_hub_id(model: str) -> bool:
    """Say whether a string could be a hub's id: `owner/name`, or a bare `name`."""
    return _HUB_ID.fullmatch(model) is not None


def open_network(
    task: str, model: str, *, labels: Sequence[str] | None = None, device: str = "cpu"
) -> tuple[HubNetwork, Any, str]:
    """Open a model's network, tokenizer and version.

    Parameters
    ----------
    task, model
        As `load` takes them.
    labels
        Names of the classes for fine-tuning: a missing head is then drawn anew. None asks for a head that is trained.
    device
        Of torch.
    """
    transformers = _transformers(model)
    name, local = _place(model)
    common: dict[str, Any] = {"trust_remote_code": False, "local_files_only": local}
    if labels is not None:
        common |= {
            "num_labels": len(labels),
            "id2label": dict(enumerate(labels)),
            "label2id": {label: number for number, label in enumerate(labels)},
        }
    if task == "answering":
        common = {key: value for key, value in common.items() if "label" not in key}
    kind = getattr(transformers, HEADS[task])
    try:
        network, told = kind.from_pretrained(
            name, use_safetensors=True, output_loading_info=True, ignore_mismatched_sizes=labels is not None, **common
        )
    except _errors() as error:
        raise _reason(model, local, error) from error
    missing = sorted(told.get("missing_keys", ()))
    if missing and labels is None:
        raise ModelError(
            f"{model!r} is an encoder without a trained head for {task} ({missing[0]} is missing): fine-tune it first "
            f"with `kalibre nlp train {task} FILE --family encoder --encoder {model}`, or name one trained for it"
        )
    network.eval()
    tokenizer = open_tokenizer(model)
    version = _version(model, network)
    return HubNetwork(network, tokenizer, device=device), tokenizer, version


def open_tokenizer(model: str) -> Any:
    """Open a model's tokenizer; errors as `load`."""
    transformers = _transformers(model)
    name, local = _place(model)
    try:
        return transformers.AutoTokenizer.from_pretrained(name, trust_remote_code=False, local_files_only=local)
    except _errors() as error:
        raise _reason(model, local, error) from error


def _errors() -> tuple[type[Exception], ...]:
    from safetensors import SafetensorError

    return (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError, SafetensorError)


def _place(model: str) -> tuple[str, bool]:
    folder = Path(model).expanduser()
    if folder.is_dir():
        _refuse_pickle(folder)
        return str(folder), True
    if not is_hub_id(model):
        raise UsageError(f"model {model!r} is neither a folder nor a hub id (owner/name): check the spelling")
    return model, not _reachable(model)


def _reachable(model: str) -> bool:
    """Ask the hub for an id, once: transformers would try for half a minute. Where it is away the cache serves."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        HfApi().model_info(model, timeout=10)
    except RepositoryNotFoundError:
        raise UsageError(
            f"model {model!r} is no folder here, and the hub knows no such id that you may read: check the spelling, "
            "or say builtin:fast"
        ) from None
    except Exception:  # noqa: BLE001  # no network, a proxy, a hub in trouble: whatever it is, the cache may do
        return False
    return True


def _transformers(model: str) -> Any:
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError as error:
        raise ModelError(
            f"model {model!r}, as a folder of transformers or a hub id, needs the packages transformers and torch "
            f"({error}): pip install 'kalibre[hub]', or say builtin:fast"
        ) from error
    return transformers


def _refuse_pickle(folder: Path) -> None:
    if any(folder.glob("*.safetensors")):
        return
    pickled = sorted(path.name for pattern in ("*.bin", "*.pt", "*.ckpt", "*.h5") for path in folder.glob(pattern))
    if pickled:
        raise ModelError(
            f"{str(folder)!r} holds its weights as {pickled[0]!r}, which can run code when it is read: convert it to "
            "safetensors where you trust it (model.save_pretrained(FOLDER)), and name that"
        )
    if not (folder / "config.json").is_file():
        raise UsageError(f"{str(folder)!r} is no model: neither a saved one of Kalibre's nor one of transformers'")
    raise ModelError(f"{str(folder)!r} holds no weights (*.safetensors): restore them")


def _reason(model: str, local: bool, error: BaseException) -> Exception:
    if Path(model).expanduser().is_dir():
        return ModelError(f"the model in {model!r} cannot be read: {_first_line(error)}")
    if "safetensors" in str(error):
        return ModelError(
            f"model {model!r} offers no safetensors: its weights are pickle, which can run code when it is read; "
            "convert it where you trust it (model.save_pretrained(FOLDER)), and name that folder"
        )
    if local:
        return ModelError(
            f"model {model!r} is no folder here, the hub cannot be reached, and it was not fetched before: name a "
            "folder, go online, or say builtin:fast"
        )
    return ModelError(f"model {model!r} cannot be had: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0][:200] if str(error).strip() else 'no reason'}"


def _version(model: str, network: Any) -> str:
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return f"hub:{model}@{str(getattr(network.config, '_commit_hash', '') or 'unknown')[:12]}"
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.safetensors"), folder / "config.json"]):
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return f"folder:{folder.name}@{digest.hexdigest()[:12]}"
