"""Fine-tuning: a head and the encoder under it learn a task, stopped early on the task's own metric.

Class weights are bounded, deep layers learn slower than the head, and R-Drop (two passes under different dropout must
agree) can be asked for. Nothing is chosen on what is later scored: the caller gives a validation set of its own.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.language.encoder.hiding import mixed
from kalibre.language.encoder.networks import Network, filled

NONE = -100
"""The label of a piece that is not to be judged."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """Pieces of one text and what is to be said.

    Exactly one of the three is given: `label` of the text, `labels` of each piece (`NONE`: not judged), or `span`, the
    first and last piece of the answer ((0, 0) where the passage does not hold it), with `allowed` saying on which
    pieces an answer may begin or end.
    """

    ids: list[int]
    label: int | None = None
    labels: list[int] | None = None
    span: tuple[int, int] | None = None
    allowed: list[bool] | None = None


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How to fine-tune.

    Attributes
    ----------
    epochs, patience
        Rounds at most, and how many without a better metric end it.
    rate
        Learning rate of the head; the network's own where None.
    layer_decay
        Each layer further down learns at this share of the rate above it.
    warmup, weight_decay, dropout, smoothing, clip
        As usual.
    rdrop
        Weight of R-Drop's term; 0 is without.
    batch
        Examples a step.
    most_weight
        Bound of a class's weight to either side: between its inverse and itself.
    freeze_pieces
        Leave the piece table as it is: most of a small encoder's numbers, and little text to learn them from.
    seeds
        Runs; the best by the metric is kept, and all are told.
    minutes
        End after this many, whatever was reached; the rate has fallen by then.
    device
        Of torch; the GPU where there is one.
    """

    epochs: int = 12
    patience: int = 3
    rate: float | None = None
    layer_decay: float = 0.9
    warmup: float = 0.1
    weight_decay: float = 0.01
    dropout: float = 0.1
    smoothing: float = 0.0
    clip: float = 1.0
    rdrop: float = 0.0
    batch: int = 16
    most_weight: float = 3.0
    freeze_pieces: bool = False
    seeds: tuple[int, ...] = (0,)
    minutes: float | None = None
    device: str | None = None

    def on(self) -> str:
        """Return the device to train on."""
        import torch

        return self.device or ("cuda" if torch.cuda.is_available() else "cpu")


@dataclass
class Tuned:
    """The best network, its metric, its seed, and what every round of every seed brought."""

    network: Any
    metric: float
    seed: int
    rounds: list[dict[str, Any]] = field(default_factory=list)


def class_weights(labels: Sequence[int], classes: int, most: float = 3.0) -> NDArray[np.float32]:
    """Return weights that raise rare classes: the root of how much rarer than even, bounded to either side.

    Examples
    --------
    >>> class_weights([0] * 96 + [1] * 4, 2).round(2)
    array([0.72, 3.  ], dtype=float32)
    """
    counts = np.bincount([label for label in labels if label >= 0], minlength=classes).astype(np.float64)
    if not counts.sum():
        raise ModelError("there is no label to learn from: name examples with labels")
    even = counts.sum() / classes
    weights = np.sqrt(even / np.maximum(counts, 1.0))
    bounded: NDArray[np.float32] = np.clip(weights, 1.0 / most, most).astype(np.float32)
    return bounded


def tune(
    network: Callable[[int], Network],
    examples: Sequence[Example],
    metric: Callable[[Network], float],
    tuning: Tuning,
    *,
    told: Callable[[dict[str, Any]], None] = lambda point: None,
) -> Tuned:
    """Fine-tune.

    Parameters
    ----------
    network
        Makes a fresh network for a seed.
    examples
        To learn from.
    metric
        The task's metric on the caller's validation set, higher is better.
    tuning
        How.
    told
        Called after every round.

    Raises
    ------
    ModelError
        If there are no examples, the loss is not finite, or no round of any seed has a metric above zero: it has
        learnt nothing.
    """
    if not examples:
        raise ModelError("there is nothing to fine-tune on: name examples")
    best: Tuned | None = None
    kept: dict[str, Any] = {}
    rounds: list[dict[str, Any]] = []
    until = None if tuning.minutes is None else time.monotonic() + 60 * tuning.minutes
    for seed in tuning.seeds:
        made = network(seed)
        run = _Run(made, examples, tuning, seed, until)
        stale, own_best = 0, -math.inf
        for epoch in range(tuning.epochs):
            loss = run.epoch()
            found = metric(made)
            point = {"seed": seed, "epoch": epoch, "loss": round(loss, 4), "metric": round(found, 4)}
            rounds.append(point)
            told(point)
            if best is None or found > best.metric:
                best, kept = Tuned(made, found, seed, rounds), made.state()
            stale = 0 if found > own_best else stale + 1
            own_best = max(own_best, found)
            if stale >= tuning.patience or (until is not None and time.monotonic() > until):
                break
        if until is not None and time.monotonic() > until:
            break
    if best is None or not best.metric > 0:
        raise ModelError(
            f"fine-tuning has learnt nothing: the metric is {best.metric if best else None} at best over "
            f"{len(rounds)} rounds; lower the rate, bring more examples or better weights to begin from"
        )
    best.network.restore(kept)
    best.network.train(False)
    return best


class _Run:
    """One seed: optimiser, order of the examples, rate."""

    def __init__(
        self, network: Network, examples: Sequence[Example], tuning: Tuning, seed: int, until: float | None
    ) -> None:
        import torch

        self._began, self._until = time.monotonic(), until
        self._network, self._examples, self._tuning = network, examples, tuning
        self._order = np.random.default_rng(seed)
        torch.manual_seed(seed)
        rate = tuning.rate or network.rate
        depths = network.depths()
        if tuning.freeze_pieces:
            for tensor in depths[-1]:
                tensor.requires_grad_(False)
            depths = depths[:-1]
        self._tensors = [tensor for group in depths for tensor in group]
        self._device = self._tensors[0].device
        groups = [
            {
                "params": [tensor for tensor in group if (tensor.dim() > 1) == matrix],
                "lr": rate * tuning.layer_decay**depth,
                "weight_decay": tuning.weight_decay if matrix else 0.0,
            }
            for depth, group in enumerate(depths)
            for matrix in (True, False)
        ]
        self._optimiser = torch.optim.AdamW(groups, betas=(0.9, 0.98))
        self._heights = [group["lr"] for group in self._optimiser.param_groups]
        self._steps = max(1, tuning.epochs * -(-len(examples) // tuning.batch))
        self._step = 0
        self._labels = [label for example in examples for label in _labels(example)]
        self._weights: Any = None

    def epoch(self) -> float:
        """Go over the examples once, in batches of like length, or until the clock says so; return the mean loss."""
        import torch

        batch, until = self._tuning.batch, self._until
        order = self._order.permutation(len(self._examples))
        losses: list[Any] = []
        self._network.train(True)
        for chunk in np.array_split(order, max(1, len(order) // (batch * 16))):
            alike = sorted(chunk.tolist(), key=lambda at: len(self._examples[at].ids))
            for begin in self._order.permutation(np.arange(0, len(alike), batch)).tolist():
                if until is None or not losses or time.monotonic() < until:
                    losses.append(self._advance([self._examples[at] for at in alike[begin : begin + batch]]))
        loss = float(torch.stack(losses).mean())
        if not math.isfinite(loss):
            raise ModelError(f"the loss of fine-tuning is {loss}: lower the rate ({self._tuning.rate or 'default'})")
        return loss

    def _advance(self, batch: list[Example]) -> Any:
        import torch

        share = self._share()
        warmup = self._tuning.warmup
        rise = share / warmup if share < warmup else max(0.05, (1 - share) / (1 - warmup))
        for group, height in zip(self._optimiser.param_groups, self._heights, strict=True):
            group["lr"] = height * max(rise, 1.0 / self._steps)
        ids, mask = filled([example.ids for example in batch], self._network.pad, self._device)
        with mixed(self._device):
            logits = self._network.logits(ids, mask, self._tuning.dropout)
            again = self._network.logits(ids, mask, self._tuning.dropout) if self._tuning.rdrop else None
        loss = self._loss(logits.float(), batch)
        if again is not None:
            loss = (loss + self._loss(again.float(), batch)) / 2
            loss = loss + self._tuning.rdrop * _disagreement(logits.float(), again.float(), mask)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self._tensors, self._tuning.clip)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)
        self._step += 1
        return loss.detach()

    def _share(self) -> float:
        """Return how much of the run is over: by its steps, or by the clock where that ends it sooner."""
        by_steps = self._step / self._steps
        if self._until is None:
            return by_steps
        by_clock = (time.monotonic() - self._began) / max(self._until - self._began, 1e-9)
        return min(1.0, max(by_steps, by_clock))

    def _loss(self, logits: Any, batch: list[Example]) -> Any:
        import torch
        from torch.nn import functional

        smooth = self._tuning.smoothing
        if self._weights is None and self._labels:
            weights = class_weights(self._labels, logits.shape[-1], self._tuning.most_weight)
            self._weights = torch.from_numpy(weights).to(self._device)
        if logits.dim() == 2:
            wanted = torch.tensor([example.label for example in batch], device=self._device)
            return functional.cross_entropy(logits, wanted, weight=self._weights, label_smoothing=smooth)
        if batch[0].span is None:
            wanted = torch.full(logits.shape[:2], NONE, dtype=torch.int64)
            for row, example in enumerate(batch):
                wanted[row, : len(example.ids)] = torch.tensor(example.labels)
            wanted = wanted.to(self._device).flatten()
            flat = logits.flatten(0, 1)
            return functional.cross_entropy(
                flat, wanted, weight=self._weights, ignore_index=NONE, label_smoothing=smooth
            )
        shut = torch.ones(logits.shape[:2], dtype=torch.bool)
        for row, example in enumerate(batch):
            shut[row, : len(example.ids)] = ~torch.tensor(example.allowed)
        open_only = logits.masked_fill(shut.to(self._device)[:, :, None], -1e4)
        ends = torch.tensor([example.span for example in batch], device=self._device)
        return sum(functional.cross_entropy(open_only[:, :, end], ends[:, end]) for end in (0, 1)) / 2


def _labels(example: Example) -> list[int]:
    if example.label is not None:
        return [example.label]
    return [label for label in example.labels or [] if label >= 0]


def _disagreement(first: Any, second: Any, mask: Any) -> Any:
    """Symmetric Kullback-Leibler divergence of two passes, a text or piece."""
    from torch.nn import functional

    one, two = functional.log_softmax(first, -1), functional.log_softmax(second, -1)
    apart = ((one.exp() - two.exp()) * (one - two)).sum(-1) / 2
    return apart.mean() if apart.dim() == 1 else (apart * mask).sum() / mask.sum()
