"""What is tuned: adapters on Gemma's upper layers and a head, behind the face that `encoder.heads` knows.

A text is a row of words, each one number of a growing list (`Words`); below, a word is its pieces, above, the state of
its last piece, which has read the word whole. So the upper layers, which are tuned, run over two to three times fewer
places, and the frozen states below are kept from round to round.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kalibre.language.encoder.networks import Encoded, HeadKind
from kalibre.language.gemma.model import embedded, fresh_adapters, layers, normed
from kalibre.language.gemma.source import Base
from kalibre.language.gemma.vocabulary import Vocabulary, parts

PAD, BEGIN = 0, 1
LONGEST_WORD = 24
"""Pieces of a word; a longer one counts as several."""


@dataclass(frozen=True)
class Plan:
    """Which layers are used, and how they are adapted.

    Attributes
    ----------
    below
        Layers that stay frozen and read forwards, piece by piece.
    above
        Layer before which it ends; those between are adapted and read both ways, word by word.
    rank, scale
        Of the adapters.
    """

    below: int = 8
    above: int = 16
    rank: int = 32
    scale: float = 1.0

    @property
    def adapted(self) -> range:
        """Numbers of the layers with adapters."""
        return range(self.below, self.above)


class Words:
    """Numbers for words; a word keeps its number until `most` others have come after it."""

    def __init__(self, most: int = 2_000_000) -> None:
        self._most = most
        self._pieces: OrderedDict[int, tuple[int, ...]] = OrderedDict()
        self._numbers: dict[tuple[int, ...], int] = {}
        self._next = BEGIN + 1

    def number(self, pieces: tuple[int, ...]) -> int:
        """Return a word's number."""
        found = self._numbers.get(pieces)
        if found is None:
            found, self._next = self._next, self._next + 1
            self._numbers[pieces], self._pieces[found] = found, pieces
            if len(self._pieces) > self._most:
                _, oldest = self._pieces.popitem(last=False)
                self._numbers.pop(oldest, None)
        return found

    def pieces(self, number: int) -> tuple[int, ...]:
        """Return a word's pieces."""
        return self._pieces[number]


class Below:
    """States behind the frozen layers, kept up to `most` bytes."""

    def __init__(self, most: int = 3 << 30) -> None:
        self.kept: dict[tuple[int, ...], tuple[Any, Any]] = {}
        self._room = most

    def keep(self, segment: tuple[int, ...], found: tuple[Any, Any]) -> None:
        """Keep a text's states if there is room."""
        size = sum(tensor.numel() * tensor.element_size() for tensor in found)
        if size <= self._room:
            self._room -= size
            self.kept[segment] = found


@dataclass(frozen=True)
class Checkpoint:
    """A file that what is tuned is written to every so many steps, and that a later run begins from."""

    path: Path
    every: int = 200

    def write(self, state: Mapping[str, Any]) -> None:
        """Write adapters and head, whole or not at all."""
        from safetensors.torch import save_file

        beside = self.path.with_suffix(".new")
        save_file({name: tensor.contiguous().cpu() for name, tensor in state.items()}, beside)
        beside.replace(self.path)

    def read(self) -> dict[str, Any]:
        """Read adapters and head."""
        from safetensors.torch import load_file

        found: dict[str, Any] = load_file(self.path)
        return found


class GemmaCodec:
    """Cuts texts into windows of words."""

    def __init__(self, vocabulary: Vocabulary, words: Words) -> None:
        self.vocabulary, self.words = vocabulary, words

    def windows(self, text: str, *, question: str | None = None, length: int, stride: int = 0) -> list[Encoded]:
        """Return the windows: a sign, the question and another sign, the words; a question takes at most a quarter."""
        lead = [BEGIN]
        if question is not None:
            lead += [*self._read(question)[0][: length // 4], BEGIN]
        ids, spans = self._read(text)
        room = max(1, length - len(lead))
        step = max(1, room - min(stride, room // 2))
        none: list[tuple[int, int] | None] = [None] * len(lead)
        found: list[Encoded] = []
        for at in range(0, max(len(ids), 1), step):
            found.append(Encoded([*lead, *ids[at : at + room]], [*none, *spans[at : at + room]]))
            if at + room >= len(ids):
                break
        return found

    def _read(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        ids: list[int] = []
        spans: list[tuple[int, int]] = []
        for part in parts(text):
            pieces = self.vocabulary.of(text, part)
            for at in range(0, len(pieces), LONGEST_WORD):
                ids.append(self.words.number(pieces[at : at + LONGEST_WORD]))
                spans.append((part.start, part.end))
        return ids, spans


class GemmaNetwork:
    """The base, adapters and a head. Only adapters and head are trained, stored and set."""

    rate = 6e-4
    pad = PAD

    def __init__(
        self,
        base: Base,
        words: Words,
        kind: HeadKind,
        classes: int,
        plan: Plan,
        *,
        seed: int = 0,
        device: str = "cpu",
        below: Below | None = None,
        checkpoint: Checkpoint | None = None,
    ) -> None:
        import torch

        self.plan, self.kind, self.base, self.device = plan, kind, base, device
        self._words, self._checkpoint = words, checkpoint
        self._steps, self._training = 0, False
        self._frozen = {name: tensor.to(device) for name, tensor in base.weights.items()}
        draw = torch.Generator().manual_seed(seed)
        self.tuned: dict[str, Any] = {
            "head.weight": torch.randn((classes, base.settings.width), generator=draw) * 0.02,
            "head.bias": torch.zeros(classes),
            **fresh_adapters(base.settings, plan.adapted, plan.rank, seed),
        }
        self.tuned = {name: tensor.to(device).requires_grad_(True) for name, tensor in self.tuned.items()}
        self._below = Below(most=0) if below is None else below
        if checkpoint is not None and checkpoint.path.is_file():
            self.restore(checkpoint.read())

    def logits(self, ids: Any, mask: Any, dropout: float) -> Any:
        """Return the head's logits; a whole text is the mean over its words."""
        from torch.nn import functional

        self._tick()
        state = self.states(ids, mask)
        if self.kind == "text":
            weight = mask[:, :, None].to(state.dtype)
            state = (state * weight).sum(1) / weight.sum(1)
        state = functional.dropout(state, dropout, training=dropout > 0)
        return functional.linear(state, self.tuned["head.weight"], self.tuned["head.bias"])

    def states(self, ids: Any, mask: Any) -> Any:
        """Return the words' states behind the last layer used, in 32 bits and of length one a number on average."""
        from torch.nn import functional

        settings = self.base.settings
        low, places = self._lower(ids.tolist(), mask.sum(1).tolist(), ids.shape[1])
        high = layers(
            self._frozen,
            settings,
            low,
            places,
            mask,
            self.plan.adapted,
            forwards=False,
            adapters=self.tuned,
            scale=self.plan.scale,
        )
        high = normed(high, self._frozen["norm"], settings.epsilon).float()
        return functional.rms_norm(high, (settings.width,), None, settings.epsilon)

    def depths(self) -> list[list[Any]]:
        """Head, adapters from the last layer to the first, and no piece table: it stays as it is."""
        groups = [["head.weight", "head.bias"]]
        groups += [
            [name for name in self.tuned if name.startswith(f"{layer}.")] for layer in reversed(self.plan.adapted)
        ]
        return [*([self.tuned[name] for name in names] for names in groups), []]

    def state(self) -> dict[str, Any]:
        """Copy adapters and head."""
        return {name: tensor.detach().clone() for name, tensor in self.tuned.items()}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Set adapters and head."""
        import torch

        with torch.no_grad():
            for name, tensor in self.tuned.items():
                tensor.copy_(state[name])

    def train(self, on: bool) -> None:
        """Count steps, and store what is reached now and then, while it is trained."""
        self._training = on

    def _tick(self) -> None:
        if self._training and self._checkpoint is not None:
            self._steps += 1
            if self._steps % self._checkpoint.every == 0:
                self._checkpoint.write(self.state())

    # --- the frozen layers --------------------------------------------------------------------------------------------

    def _lower(self, rows: Sequence[Sequence[int]], lengths: Sequence[int], longest: int) -> tuple[Any, Any]:
        """Return the words' states behind the frozen layers and their places, filled up."""
        import torch

        cut = [_segments(row[:length]) for row, length in zip(rows, lengths, strict=True)]
        known = self._read([segment for segments in cut for segment in segments])
        dtype = self._frozen["pieces"].dtype
        state = torch.zeros((len(rows), longest, self.base.settings.width), dtype=dtype, device=self.device)
        places = torch.zeros((len(rows), longest), dtype=torch.int64, device=self.device)
        for row, segments in enumerate(cut):
            at, before = 0, 0
            for segment in segments:
                found, ends = known[segment]
                state[row, at : at + len(segment)] = found
                places[row, at : at + len(segment)] = ends + before
                at, before = at + len(segment), before + int(ends[-1]) + 1
        return state, places

    def _read(self, segments: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], tuple[Any, Any]]:
        import torch

        found = {segment: self._below.kept[segment] for segment in segments if segment in self._below.kept}
        wanted = sorted({segment for segment in segments if segment not in found}, key=self._long)
        with torch.no_grad():
            for begin in range(0, len(wanted), 16):
                found |= self._forwards(wanted[begin : begin + 16])
        for segment in wanted:
            self._below.keep(segment, found[segment])
        return found

    def _long(self, segment: tuple[int, ...]) -> int:
        return sum(len(self._pieces(number)) for number in segment)

    def _pieces(self, number: int) -> tuple[int, ...]:
        return (self.base.vocabulary.begin,) if number == BEGIN else self._words.pieces(number)

    def _forwards(self, segments: Sequence[tuple[int, ...]]) -> dict[tuple[int, ...], tuple[Any, Any]]:
        import torch

        rows = [[piece for number in segment for piece in self._pieces(number)] for segment in segments]
        longest = max(map(len, rows))
        ids = torch.zeros((len(rows), longest), dtype=torch.int64)
        for row, pieces in enumerate(rows):
            ids[row, : len(pieces)] = torch.tensor(pieces)
        ids = ids.to(self.device)
        places = torch.arange(longest, device=self.device).expand(ids.shape)
        there = places < torch.tensor([len(pieces) for pieces in rows], device=self.device)[:, None]
        state = embedded(self._frozen, self.base.settings, ids)
        state = layers(self._frozen, self.base.settings, state, places, there, range(self.plan.below), forwards=True)
        found = {}
        for row, segment in enumerate(segments):
            ends = torch.tensor([len(self._pieces(number)) for number in segment], device=self.device).cumsum(0) - 1
            found[segment] = (state[row, ends].clone(), ends)
        return found


def _segments(row: Sequence[int]) -> list[tuple[int, ...]]:
    """Cut a row at the signs, each of which begins a text of its own below."""
    found: list[list[int]] = []
    for number in row:
        if number == BEGIN or not found:
            found.append([])
        found[-1].append(number)
    return [tuple(segment) for segment in found]
