"""What a task is fine-tuned from, and what the result runs on: the project's encoder, one of a hub, or Gemma's extra.

All make networks for `heads.tune` and turn the tuned one into plain files; a task's `encoder.py` does not know which
it has. From the project's encoder comes an int8 ONNX file, which needs no torch; from a hub's, its folder; from Gemma,
adapters that go with weights from elsewhere.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.bundle import WEIGHTS, LanguageBundle
from kalibre.language.encoder.model import EncoderSettings, from_safetensors
from kalibre.language.encoder.networks import (
    Codec,
    HeadKind,
    HubCodec,
    Network,
    OwnCodec,
    OwnNetwork,
    outputs,
)
from kalibre.language.encoder.pieces import Pieces
from kalibre.language.encoder.session import Session
from kalibre.language.gemma.source import GEMMA, GEMMA_FILE

WEIGHTS_FILE, TOKENIZER_FILE, GRAPH_FILE = "encoder.safetensors", "tokenizer.model", "model.onnx"
SETTINGS_FILE = "settings.json"
SHIPPED = WEIGHTS / "encoder"
"""Where the pretrained encoder lies when one has been trained: safetensors and tokenizer."""


Texts = Sequence[Sequence[int]]


class Foundation(Protocol):
    """An encoder that a task can be fine-tuned from."""

    @property
    def name(self) -> str:
        """What it is called in cards."""
        ...

    @property
    def codec(self) -> Codec:
        """Cuts texts into windows."""
        ...

    @property
    def length(self) -> int:
        """Longest window."""
        ...

    def network(self, kind: HeadKind, labels: Sequence[str], seed: int, device: str) -> Network:
        """Return a fresh network with an untrained head."""
        ...

    def files(
        self, network: Any, kind: HeadKind, texts: Sequence[Sequence[int]]
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """Return the tuned network as files, and figures of how true they are to it on some texts."""
        ...


@dataclass(frozen=True)
class OwnFoundation:
    """The project's encoder."""

    weights: Mapping[str, Any]
    settings: EncoderSettings
    pieces: Pieces
    name: str = "kalibre-encoder"

    def __post_init__(self) -> None:
        if self.pieces.size != self.settings.vocabulary:
            raise ModelError(
                f"a tokenizer of {self.pieces.size} pieces does not go with an encoder of {self.settings.vocabulary}: "
                "name the one it was pretrained with"
            )

    @property
    def codec(self) -> Codec:
        """Cuts texts into windows."""
        return OwnCodec(self.pieces)

    @property
    def length(self) -> int:
        """Longest window."""
        return self.settings.length

    def network(self, kind: HeadKind, labels: Sequence[str], seed: int, device: str) -> Network:
        """Return the encoder with a head for the labels."""
        return OwnNetwork(self.weights, self.settings, kind, len(labels), seed=seed, device=device)

    def files(
        self, network: Any, kind: HeadKind, texts: Sequence[Sequence[int]]
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """Return ONNX file and tokenizer; refused where the rounded file does not say what torch says."""
        from kalibre.language.encoder.export import check_parity, parity, to_onnx

        tuned = network.state()
        content = to_onnx(tuned, self.settings, kind)
        figures = check_parity(parity(content, tuned, self.settings, kind, texts), relative=0.25, agree=0.95)
        return {GRAPH_FILE: content, TOKENIZER_FILE: self.pieces.model}, {"onnx_beside_torch": dict(figures)}


@dataclass(frozen=True)
class HubFoundation:
    """An encoder of a hub or of a folder of transformers, for one task."""

    task: str
    model: str
    length: int = 384

    @property
    def name(self) -> str:
        """The folder's or the hub's name."""
        return self.model

    @property
    def codec(self) -> Codec:
        """Cuts texts into windows."""
        return HubCodec(self._tokenizer())

    def network(self, kind: HeadKind, labels: Sequence[str], seed: int, device: str) -> Network:
        """Return the encoder with a head for the labels, drawn by the seed."""
        import torch

        from kalibre.language.encoder.hub import open_network

        torch.manual_seed(seed)
        return open_network(self.task, self.model, labels=labels, device=device)[0]

    def files(
        self, network: Any, kind: HeadKind, texts: Sequence[Sequence[int]]
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """Return the folder that transformers writes."""
        return network.files(self._tokenizer()), {}

    def _tokenizer(self) -> Any:
        from kalibre.language.encoder.hub import open_tokenizer

        return open_tokenizer(self.model)


def foundation(task: str, encoder: str | Path = "builtin:encoder", texts: Iterable[str] = ()) -> Foundation:
    """Return what a task is fine-tuned from.

    Parameters
    ----------
    task
        One of `TASKS`.
    encoder
        `builtin:encoder`; `builtin:gemma`; a folder that `pretrain` wrote (safetensors and tokenizer) or of
        transformers; a hub id.
    texts
        What it will be tuned on: Gemma keeps the pieces of these beside its usual ones, the others keep all.

    Raises
    ------
    UsageError
        If there is none of that name; also where the project's encoder has not been trained yet.
    ModelError
        If it cannot be read.
    """
    if str(encoder) == GEMMA:
        # The extra is the only part under terms of its own: nothing of it is read unless it is asked for.
        from kalibre.language.gemma.foundation import foundation as gemma

        return gemma(texts)
    folder = SHIPPED if str(encoder) == "builtin:encoder" else Path(encoder).expanduser()
    if (folder / WEIGHTS_FILE).is_file():
        _need_torch()
        return open_foundation(folder)
    if folder == SHIPPED:
        raise UsageError(
            "encoder 'builtin:encoder' is not shipped with this release (its pretraining wants a GPU: see "
            "docs/encoder.md): name a folder or a hub id, or train builtin:fast"
        )
    _need_torch()
    return HubFoundation(task, str(encoder))


def _need_torch() -> None:
    if find_spec("torch") is None:
        raise ModelError("fine-tuning an encoder needs the package torch: pip install 'kalibre[encoder]'")


def open_foundation(folder: Path) -> OwnFoundation:
    """Read a pretrained encoder's folder."""
    try:
        content, tokenizer = (folder / WEIGHTS_FILE).read_bytes(), (folder / TOKENIZER_FILE).read_bytes()
    except OSError as error:
        raise ModelError(f"the encoder in {str(folder)!r} cannot be read ({error}): restore it") from error
    weights, settings = from_safetensors(content)
    return OwnFoundation(weights, settings, Pieces(tokenizer))


# --- at work ----------------------------------------------------------------------------------------------------------


class Runner(Protocol):
    """What a bundle of an encoder family runs on."""

    codec: Codec
    length: int

    def run(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits of one window."""
        ...


class _OnnxRunner:
    def __init__(self, graph: bytes, tokenizer: bytes, length: int, threads: int) -> None:
        self.codec: Codec = OwnCodec(Pieces(tokenizer))
        self.length = length
        self._session = Session(graph, threads=threads)

    def run(self, ids: Sequence[int]) -> NDArray[np.float32]:
        return self._session.run(ids)


class _HubRunner:
    def __init__(self, task: str, files: Mapping[str, bytes], length: int) -> None:
        from kalibre.language.encoder.hub import open_network

        with tempfile.TemporaryDirectory() as folder:
            for name, content in files.items():
                (Path(folder) / name).write_bytes(content)
            self._network, tokenizer, _ = open_network(task, folder)
        self.codec: Codec = HubCodec(tokenizer)
        self.length = length

    def run(self, ids: Sequence[int]) -> NDArray[np.float32]:
        return outputs(self._network, [list(ids)])[0]


def settings_of(bundle: LanguageBundle) -> dict[str, Any]:
    """Read a bundle's settings.

    Raises
    ------
    ModelError
        If they are no JSON object.
    """
    try:
        found = json.loads(bundle.file(SETTINGS_FILE))
        return {**found, "length": int(found["length"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"the settings of {bundle.version} cannot be read ({error}): restore it or train anew"
        ) from error


def runner(bundle: LanguageBundle, *, threads: int = 1) -> Runner:
    """Return what a bundle runs on."""
    length = settings_of(bundle)["length"]
    if GRAPH_FILE in bundle.files:
        return _OnnxRunner(bundle.file(GRAPH_FILE), bundle.file(TOKENIZER_FILE), length, threads)
    if GEMMA_FILE in bundle.files:
        from kalibre.language.gemma.foundation import GemmaRunner

        return GemmaRunner(bundle.file(GEMMA_FILE), length)
    return _HubRunner(
        bundle.task, {name: content for name, content in bundle.files.items() if name != SETTINGS_FILE}, length
    )


def bundled(
    task: str,
    found: Foundation,
    network: Any,
    kind: HeadKind,
    texts: Texts,
    settings: Mapping[str, Any],
    card: Mapping[str, Any],
) -> LanguageBundle:
    """Return a tuned network as a bundle of the task's encoder family."""
    files, figures = found.files(network, kind, texts)
    stored = {"length": found.length, **settings}
    files[SETTINGS_FILE] = (json.dumps(stored, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode()
    return LanguageBundle(task=task, family="encoder", files=files, card={"encoder": found.name, **figures, **card})
