"""Muon: momentum whose step is brought to the nearest orthogonal matrix, for the weight matrices of the layers.

All matrices of one shape are stepped together, so that a small encoder does not wait for a thousand tiny kernels.

References
----------
Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks"; scale by Liu et al. (2025),
arXiv:2502.16982, which lets the learning rate be AdamW's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(matrices: Any, rounds: int = 5) -> Any:
    """Bring matrices, shape (count, rows, columns), near the orthogonal ones with the same directions.

    Five rounds of a Newton-Schulz iteration of degree five: singular values end between about 0.7 and 1.2.
    """
    import torch

    first, second, third = _COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    turned = matrices.transpose(1, 2) if tall else matrices
    turned = turned.to(torch.bfloat16) if matrices.is_cuda else turned
    turned = turned / (turned.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(rounds):
        square = turned @ turned.transpose(1, 2)
        turned = first * turned + (second * square + third * square @ square) @ turned
    return (turned.transpose(1, 2) if tall else turned).to(matrices.dtype)


class Muon:
    """The optimiser.

    Parameters
    ----------
    matrices
        Leaf tensors of two dimensions that require a gradient.
    rate, momentum, decay
        Learning rate (of AdamW's size), momentum, and the weight decay a step in units of the rate.
    """

    def __init__(
        self, matrices: Sequence[Any], *, rate: float = 2e-3, momentum: float = 0.95, decay: float = 0.05
    ) -> None:
        self.rate, self._momentum, self._decay = rate, momentum, decay
        groups: dict[tuple[int, ...], list[Any]] = {}
        for matrix in matrices:
            groups.setdefault(tuple(matrix.shape), []).append(matrix)
        self._groups = list(groups.values())
        self._moved: list[Any] = [None] * len(self._groups)

    def step(self) -> None:
        """Step all matrices by their gradients."""
        import torch

        with torch.no_grad():
            for number, group in enumerate(self._groups):
                slope = torch.stack([matrix.grad for matrix in group])
                moved = self._moved[number]
                moved = torch.zeros_like(slope) if moved is None else moved
                moved = moved.lerp(slope, 1.0 - self._momentum)
                self._moved[number] = moved
                # Nesterov: look ahead along the momentum.
                stepped = orthogonal(slope.lerp(moved, self._momentum))
                scale = 0.2 * max(slope.shape[1:]) ** 0.5
                for matrix, step in zip(group, stepped, strict=True):
                    matrix.mul_(1.0 - self.rate * self._decay).sub_(step, alpha=self.rate * scale)
