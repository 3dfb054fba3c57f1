"""What fine-tuning trains: the project's encoder or one of a hub, each with a head, behind one small face.

A network turns pieces into logits; a codec turns a text, or a question and a passage, into pieces and says which
characters each covers. The loop in `heads` knows nothing else, so that a hub's encoder is tuned by the same command.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.language.encoder.hiding import mixed
from kalibre.language.encoder.model import EncoderSettings, Weights, hidden
from kalibre.language.encoder.pieces import Pieces

HeadKind = Literal["text", "pieces"]
"""A head over the whole text (sentiment, category), or over each piece (entities, and both ends of an answer)."""


@dataclass(frozen=True)
class Encoded:
    """A window of pieces. `spans` are the characters each covers, None for signs and for a question's pieces."""

    ids: list[int]
    spans: list[tuple[int, int] | None]


class Codec(Protocol):
    """Cuts texts into windows of pieces."""

    def windows(self, text: str, *, question: str | None = None, length: int, stride: int = 0) -> list[Encoded]:
        """Return at least one window; together they cover the text, each overlapping the last by `stride` pieces."""
        ...


class OwnCodec:
    """The project's tokenizer: a sign before, one behind, and one between question and passage."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces

    def windows(self, text: str, *, question: str | None = None, length: int, stride: int = 0) -> list[Encoded]:
        """Return the windows; a question is cut to a quarter of one."""
        lead = [self.pieces.cls]
        if question is not None:
            lead += [*self.pieces.ids(question)[: length // 4], self.pieces.sep]
        ids, spans = self.pieces.encode(text)
        room = max(1, length - len(lead) - 1)
        step = max(1, room - min(stride, room // 2))
        found: list[Encoded] = []
        for at in range(0, max(len(ids), 1), step):
            none: list[tuple[int, int] | None] = [None] * len(lead)
            found.append(Encoded([*lead, *ids[at : at + room], self.pieces.sep], [*none, *spans[at : at + room], None]))
            if at + room >= len(ids):
                break
        return found


class HubCodec:
    """A fast tokenizer of transformers."""

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise ModelError(
                f"the tokenizer of {getattr(tokenizer, 'name_or_path', 'the model')!r} cannot say where its pieces "
                "stand: name a model with a fast tokenizer (tokenizer.json)"
            )
        self.tokenizer = tokenizer

    def windows(self, text: str, *, question: str | None = None, length: int, stride: int = 0) -> list[Encoded]:
        """Return the windows as the tokenizer frames them; a question is cut to a quarter of one."""
        pair = (text,) if question is None else (self._cut(question, length // 4), text)
        room = length // 2
        found = self.tokenizer(
            *pair,
            truncation=True if question is None else "only_second",
            max_length=length,
            stride=min(stride, room // 2),
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        part = 0 if question is None else 1
        return [
            Encoded(
                list(ids),
                [
                    (int(span[0]), int(span[1])) if whose == part else None
                    for span, whose in zip(offsets, found.sequence_ids(number), strict=True)
                ],
            )
            for number, (ids, offsets) in enumerate(zip(found["input_ids"], found["offset_mapping"], strict=True))
        ]

    def _cut(self, text: str, most: int) -> str:
        offsets = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        return text if len(offsets) <= most else text[: int(offsets[most - 1][1])]


class Network(Protocol):
    """An encoder with a head, in training."""

    rate: float
    pad: int

    def logits(self, ids: Any, mask: Any, dropout: float) -> Any:
        """Return logits, shape (texts, classes) or (texts, pieces, classes)."""
        ...

    def depths(self) -> list[list[Any]]:
        """Return the tensors to be trained by depth: the head first, the piece table last."""
        ...

    def state(self) -> dict[str, Any]:
        """Return a copy of all tensors."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set all tensors."""
        ...

    def train(self, on: bool) -> None:
        """Switch dropout on or off, where the network keeps its own."""
        ...


class OwnNetwork:
    """The project's encoder with a linear head."""

    rate = 4e-4

    def __init__(
        self,
        weights: Mapping[str, Any],
        settings: EncoderSettings,
        kind: HeadKind,
        classes: int,
        *,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        import torch

        self.settings, self.kind = settings, kind
        self.weights: Weights = {
            name: tensor.clone().to(device) for name, tensor in weights.items() if not name.startswith("guess.")
        }
        draw = torch.Generator().manual_seed(seed)
        self.weights["head.weight"] = (torch.randn((classes, settings.width), generator=draw) * 0.02).to(device)
        self.weights["head.bias"] = torch.zeros(classes, device=device)
        for tensor in self.weights.values():
            tensor.requires_grad_(True)
        self.pad = settings.vocabulary

    def logits(self, ids: Any, mask: Any, dropout: float) -> Any:
        """Return the head's logits; a whole text is the mean over its pieces."""
        from torch.nn import functional

        state = hidden(self.weights, self.settings, ids, mask, dropout=dropout)
        if self.kind == "text":
            weight = mask[:, :, None].to(state.dtype)
            state = (state * weight).sum(1) / weight.sum(1)
        state = functional.dropout(state, dropout, training=dropout > 0)
        return functional.linear(state, self.weights["head.weight"], self.weights["head.bias"])

    def depths(self) -> list[list[Any]]:
        """Head, layers from the last to the first, piece table."""
        groups = [["head.weight", "head.bias", "norm"]]
        groups += [
            [name for name in self.weights if name.startswith(f"layer{layer}.")]
            for layer in range(self.settings.layers - 1, -1, -1)
        ]
        groups.append(["pieces", "pieces_norm"])
        return [[self.weights[name] for name in names] for names in groups]

    def state(self) -> dict[str, Any]:
        """Copy the tensors."""
        return {name: tensor.detach().clone() for name, tensor in self.weights.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the tensors."""
        import torch

        with torch.no_grad():
            for name, tensor in self.weights.items():
                tensor.copy_(state[name])

    def train(self, on: bool) -> None:
        """Nothing to switch: dropout is an argument."""


class HubNetwork:
    """A model of transformers with a head of the right kind (`AutoModelForSequenceClassification`, ...)."""

    rate = 3e-5

    def __init__(self, model: Any, tokenizer: Any, *, device: str = "cpu") -> None:
        self.model = model.to(device)
        self.pad = int(tokenizer.pad_token_id or 0)
        self._sep = tokenizer.sep_token_id
        self._types = getattr(model.config, "type_vocab_size", 0) == 2 and self._sep is not None

    def logits(self, ids: Any, mask: Any, dropout: float) -> Any:
        """Return logits; both ends of an answer as two classes of each piece. Dropout is the model's own."""
        import torch

        told = {"input_ids": ids, "attention_mask": mask.long()}
        if self._types:
            # BERT numbers what stands before and behind the first sign between: question and passage.
            between = ids == self._sep
            told["token_type_ids"] = ((between.cumsum(1) - between.long()) > 0).long()
        found = self.model(**told)
        if hasattr(found, "start_logits"):
            return torch.stack([found.start_logits, found.end_logits], dim=-1)
        return found.logits

    def depths(self) -> list[list[Any]]:
        """Group by the number of the layer in a parameter's name; what has none is the head, or the piece table."""
        import re

        layers: dict[int, list[Any]] = {}
        for name, tensor in self.model.named_parameters():
            number = re.search(r"\.(?:layer|layers|h|block)\.(\d+)\.", name)
            depth = int(number.group(1)) if number else (-1 if "embed" in name else 10_000)
            layers.setdefault(depth, []).append(tensor)
        return [layers[depth] for depth in sorted(layers, reverse=True)]

    def state(self) -> dict[str, Any]:
        """Copy the tensors."""
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set the tensors."""
        self.model.load_state_dict(dict(state))

    def train(self, on: bool) -> None:
        """Switch the model's dropout."""
        self.model.train(on)

    def files(self, tokenizer: Any) -> dict[str, bytes]:
        """Return the tuned model as transformers stores it, weights as safetensors: a folder for `model=`."""
        with tempfile.TemporaryDirectory() as folder:
            self.model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            return {path.name: path.read_bytes() for path in sorted(Path(folder).iterdir()) if path.is_file()}


def outputs(network: Network, texts: Sequence[Sequence[int]], *, batch: int = 32) -> list[NDArray[np.float32]]:
    """Return a network's logits of each text: (classes,) or (pieces, classes)."""
    import torch

    device = network.depths()[0][0].device
    order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
    found: list[NDArray[np.float32]] = [np.zeros(0, dtype=np.float32)] * len(texts)
    network.train(False)
    with torch.no_grad(), mixed(device):
        for begin in range(0, len(order), batch):
            chosen = order[begin : begin + batch]
            ids, mask = filled([texts[at] for at in chosen], network.pad, device)
            logits = network.logits(ids, mask, 0.0).float().cpu().numpy()
            for row, at in enumerate(chosen):
                found[at] = logits[row] if logits.ndim == 2 else logits[row, : len(texts[at])]
    return found


def filled(texts: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Any, Any]:
    """Fill texts up to one length: pieces, and where they stand."""
    import torch

    longest = max(len(ids) for ids in texts)
    table = np.full((len(texts), longest), pad, dtype=np.int64)
    for row, ids in enumerate(texts):
        table[row, : len(ids)] = ids
    lengths = torch.tensor([len(ids) for ids in texts])
    mask = torch.arange(longest)[None, :] < lengths[:, None]
    return torch.from_numpy(table).to(device), mask.to(device)
