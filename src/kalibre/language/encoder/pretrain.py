"""Pretraining: guess the words that were hidden, for a given number of minutes, from the weights of the last run.

A run is bounded by time, since a lent machine is. It begins anew or from the weights of an earlier run alone: the
optimiser warms up again within a few dozen steps. The rate rises, stays, and falls at the end, where most of the gain
shows; runs that others follow may leave the fall out (`decay=0`). Whole words are hidden, never their rests alone.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.encoder.blocks import Blocks
from kalibre.language.encoder.hiding import held_out_loss, hidden_loss, hide, mixed
from kalibre.language.encoder.model import EncoderSettings, Weights, initial
from kalibre.language.encoder.muon import Muon
from kalibre.language.encoder.pieces import Pieces

_BAD_STEPS = 10
"""Steps in a row whose slope is not finite before a run gives up."""
_RIPE_STEPS = 200
"""Steps, and a fifth of the run, after which a run must beat bare piece frequencies."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to pretrain.

    Attributes
    ----------
    minutes, steps
        The run ends with whichever is reached first. Counted in steps, a run is the same every time; without, the rate
        rises and falls with the clock.
    batch
        Blocks a step.
    rate, floor
        Learning rate of the matrices at its height, and where it falls to at the end, as a share.
    pieces_rate
        Of the piece table and the gains, by AdamW.
    warmup, decay
        Share of the run in which the rate rises and falls.
    hide
        Share of the words hidden.
    weight_decay, clip
        Weight decay, and the length to which a longer slope is cut.
    seed
        Of order, hiding and, where the run begins anew, weights. A run that goes on wants another seed than the last.
    look_s
        Seconds between two looks at the held-out loss, and `look_steps` steps where that is given.
    compiled
        Whether torch compiles the step; it goes on without where that fails.

    Raises
    ------
    UsageError
        If one is out of range.
    """

    minutes: float = 8.0
    steps: int | None = None
    batch: int = 128
    rate: float = 3e-3
    floor: float = 0.02
    pieces_rate: float = 3e-3
    warmup: float = 0.03
    decay: float = 0.35
    hide: float = 0.3
    weight_decay: float = 0.05
    clip: float = 1.0
    seed: int = 0
    look_s: float = 20.0
    look_steps: int | None = None
    compiled: bool = False

    def __post_init__(self) -> None:
        above_zero = {name: getattr(self, name) for name in ("minutes", "rate", "pieces_rate", "clip", "look_s")}
        for name, value in above_zero.items():
            if not 0 < value < math.inf:
                raise UsageError(f"{name} = {value!r} of a recipe is out of range: choose more than 0")
        for name in ("steps", "batch", "look_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UsageError(f"{name} = {value!r} of a recipe is out of range: choose 1 or more")
        for name in ("floor", "warmup", "decay", "hide", "weight_decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"{name} = {getattr(self, name)!r} of a recipe is no share: choose 0 to 1")
        if not 0 < self.hide < 1:
            raise UsageError(f"hide = {self.hide!r} of a recipe hides nothing or everything: choose for example 0.3")


@dataclass
class Pretrained:
    """What a run gave: weights, the curve (a dictionary a look), and how it went."""

    weights: Weights
    settings: EncoderSettings
    curve: list[dict[str, Any]] = field(default_factory=list)

    @property
    def lines(self) -> str:
        """The curve as JSON lines."""
        return "".join(json.dumps(point) + "\n" for point in self.curve)


def height(progress: float, *, warmup: float, decay: float, floor: float) -> float:
    """Return the learning rate as a share of its height, for the share of the run that has passed.

    Examples
    --------
    >>> [height(at, warmup=0.1, decay=0.4, floor=0.0) for at in (0.05, 0.5, 0.8, 1.0)]
    [0.5, 1.0, 0.5, 0.0]
    """
    if progress < warmup:
        return progress / warmup
    if decay <= 0 or progress < 1 - decay:
        return 1.0
    return floor + (1 - floor) * max(0.0, round((1 - progress) / decay, 12))


def pretrain(
    blocks: Blocks,
    pieces: Pieces,
    settings: EncoderSettings,
    recipe: Recipe,
    *,
    begin: Weights | None = None,
    device: str | None = None,
    told: Callable[[dict[str, Any]], None] = lambda point: None,
    keep: Callable[[Weights], None] | None = None,
    keep_s: float = 120.0,
) -> Pretrained:
    """Pretrain an encoder.

    Parameters
    ----------
    blocks, pieces
        Packed text, and the tokenizer it was packed with.
    settings, recipe
        Shape of the encoder and how to train it.
    begin
        Weights of an earlier run; drawn anew where None.
    device
        Of torch; the GPU where there is one.
    told
        Called with each point of the curve: what a look at the held-out blocks found.
    keep
        Called with the weights about every `keep_s` seconds, for a machine that may be taken away.

    Raises
    ------
    ModelError
        If text, tokenizer and settings are not of one kind; if the slope is not finite ten steps in a row; or if,
        after 200 steps and a fifth of the run, the loss is above that of bare piece frequencies, or ever a nat above
        its best: collapsed.
    """
    if not blocks.size == pieces.size == settings.vocabulary:
        raise ModelError(
            f"text of {blocks.size} pieces, a tokenizer of {pieces.size} and an encoder of {settings.vocabulary} do "
            "not go together: pack the text with the tokenizer that the encoder is made for"
        )
    run = _Run(blocks, pieces, settings, recipe, begin, device, told)
    kept = time.monotonic()
    while True:
        run.look()
        if run.progress() >= 1:
            break
        if keep is not None and time.monotonic() - kept >= keep_s:
            keep({name: tensor.detach() for name, tensor in run.weights.items()})
            kept = time.monotonic()
        run.advance()
    weights = {name: tensor.detach() for name, tensor in run.weights.items()}
    return Pretrained(weights, settings, run.curve)


class _Run:
    """One run: weights, optimisers, the order of the text, and the curve so far."""

    def __init__(
        self,
        blocks: Blocks,
        pieces: Pieces,
        settings: EncoderSettings,
        recipe: Recipe,
        begin: Weights | None,
        device: str | None,
        told: Callable[[dict[str, Any]], None],
    ) -> None:
        import torch

        self._blocks, self._pieces, self._settings, self._recipe, self._told = blocks, pieces, settings, recipe, told
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        drawn = begin or initial(settings, recipe.seed)
        self.weights = {name: tensor.clone().to(device).requires_grad_(True) for name, tensor in drawn.items()}
        matrices = [tensor for name, tensor in self.weights.items() if tensor.dim() == 2 and name != "pieces"]
        others = [tensor for name, tensor in self.weights.items() if tensor.dim() == 1 or name == "pieces"]
        self._muon = Muon(matrices, decay=recipe.weight_decay)
        self._adam = torch.optim.AdamW(others, betas=(0.9, 0.98), weight_decay=0.0, fused=device == "cuda")
        self._device = device
        self._generator = torch.Generator(device=device).manual_seed(recipe.seed)
        self._order = np.random.default_rng(recipe.seed)
        self._text = torch.from_numpy(blocks.train.astype(np.int32)).to(device)
        self._starts = torch.from_numpy(pieces.starts).to(device)
        self._loss: Any = torch.compile(hidden_loss) if recipe.compiled else hidden_loss
        self._unigram = blocks.unigram_nats
        self._begun = self._looked = time.monotonic()
        self._queue: list[int] = []
        self._losses: list[Any] = []
        self._step = self._bad = 0
        self._best = math.inf
        self.curve: list[dict[str, Any]] = []

    def progress(self) -> float:
        """Return the share of the run that has passed: of its steps where they are given, else of its time."""
        passed = (time.monotonic() - self._begun) / (60 * self._recipe.minutes)
        if self._recipe.steps is None or passed >= 1:
            return passed
        return self._step / self._recipe.steps

    def look(self) -> None:
        """Look at the held-out blocks where that is due, note a point of the curve, and stop a run that has died."""
        import torch

        every = self._recipe.look_steps
        due = self._step % every == 0 if every else time.monotonic() - self._looked >= self._recipe.look_s
        progress = self.progress()
        if not (due or self._step == 0 or progress >= 1):
            return
        loss, right = held_out_loss(self.weights, self._settings, self._blocks, self._pieces)
        point = {
            "step": self._step,
            "seconds": round(time.monotonic() - self._begun, 1),
            "pieces": self._step * self._recipe.batch * self._text.shape[1],
            "train": round(float(torch.stack(self._losses).mean()), 4) if self._losses else None,
            "held_out": round(loss, 4),
            "right": round(right, 4),
            "unigram": round(self._unigram, 4),
        }
        self.curve.append(point)
        self._told(point)
        self._best, self._looked, self._losses = min(self._best, loss), time.monotonic(), []
        check_alive(loss, self._best, self._unigram, ripe=progress >= 0.2 and self._step >= _RIPE_STEPS)

    def advance(self) -> None:
        """Take one step."""
        import torch

        recipe = self._recipe
        share = height(self.progress(), warmup=recipe.warmup, decay=recipe.decay, floor=recipe.floor)
        self._muon.rate = recipe.rate * max(share, 1e-3)
        self._adam.param_groups[0]["lr"] = recipe.pieces_rate * max(share, 1e-3)
        ids = self._text[self._rows()].long()
        shown, places, wanted = hide(ids, self._starts, self._blocks.size, recipe.hide, self._generator)
        with mixed(self._device):
            loss = self._forward(shown, places, wanted)
        loss.backward()
        length = torch.nn.utils.clip_grad_norm_(list(self.weights.values()), recipe.clip)
        self._losses.append(loss.detach())
        if bool(torch.isfinite(length)):
            self._muon.step()
            self._adam.step()
            self._bad = 0
        else:
            self._bad += 1
            if self._bad >= _BAD_STEPS:
                raise ModelError(
                    f"the slope was not finite in {self._bad} steps in a row (step {self._step}): lower the rate "
                    f"({recipe.rate}), and begin from the last weights that were kept"
                )
        for tensor in self.weights.values():
            tensor.grad = None
        self._step += 1

    def _rows(self) -> list[int]:
        batch = self._recipe.batch
        while len(self._queue) < batch:
            self._queue += self._order.permutation(len(self._text)).tolist()
        rows, self._queue = self._queue[:batch], self._queue[batch:]
        return rows

    def _forward(self, shown: Any, places: Any, wanted: Any) -> Any:
        try:
            return self._loss(self.weights, self._settings, shown, places, wanted)
        except Exception:
            if self._step or not self._recipe.compiled:
                raise
            # A compiler that fails on this machine costs speed, not the run.
            self._loss = hidden_loss
            return self._loss(self.weights, self._settings, shown, places, wanted)


def check_alive(loss: float, best: float, unigram: float, *, ripe: bool) -> None:
    """Stop a run that has died.

    Raises
    ------
    ModelError
        If the held-out loss is not finite, has risen a nat above its best, or, in a run that is `ripe`, is not below
        that of bare piece frequencies.
    """
    if not math.isfinite(loss):
        raise ModelError(f"the held-out loss is {loss}: the weights are lost; lower the rate, begin from earlier ones")
    if ripe and loss > unigram * 1.02:
        raise ModelError(
            f"the held-out loss is {loss:.3f}, no better than bare piece frequencies ({unigram:.3f}): the encoder "
            "has collapsed; lower the rate or lengthen the warm-up"
        )
    if loss > best + 1.0:
        raise ModelError(
            f"the held-out loss rose from {best:.3f} to {loss:.3f}: the run diverges; lower the rate, begin from "
            "earlier weights"
        )
