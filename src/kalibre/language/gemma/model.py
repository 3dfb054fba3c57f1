"""Gemma 3's layers as plain functions of named tensors: read forwards only, or both ways with adapters (LoRA).

The lower layers are frozen and read as they were trained, each piece seeing those before it; nothing in them changes
while a head is tuned, so their states are reckoned once. The upper layers see the whole text and carry the adapters:
two thin matrices beside each projection, the second zero at the start, so that an untrained adapter changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from kalibre.language.gemma.source import Settings

Weights = Mapping[str, Any]
PROJECTIONS = ("into", "out", "up", "down")


def embedded(weights: Weights, settings: Settings, ids: Any) -> Any:
    """Return the pieces' states before the first layer."""
    import torch

    table = weights["pieces"]
    # Gemma rounds the factor to the numbers that it reckons in.
    return table[ids] * torch.tensor(math.sqrt(settings.width), dtype=table.dtype)


def layers(
    weights: Weights,
    settings: Settings,
    state: Any,
    places: Any,
    there: Any,
    which: range,
    *,
    forwards: bool,
    adapters: Weights | None = None,
    scale: float = 1.0,
) -> Any:
    """Run some of the layers.

    Parameters
    ----------
    weights, settings
        The frozen ones.
    state
        Shape (texts, positions, width).
    places
        Where each position stands in its text, shape (texts, positions).
    there
        True where there is one, False where it is filled up.
    which
        Numbers of the layers.
    forwards
        Whether a position sees only itself and those before it.
    adapters, scale
        `LAYER.PROJECTION.a` and `.b`, and what their product counts.
    """
    near, far = _masks(settings, places, there, forwards)
    turns = {whole: _turns(settings, places, whole, state.dtype) for whole in (True, False)}
    for layer in which:
        whole = settings.whole(layer)
        state = _layer(weights, settings, layer, state, far if whole else near, turns[whole], adapters, scale)
    return state


def normed(state: Any, weight: Any, epsilon: float) -> Any:
    """Divide by the root of the mean square, times a gain."""
    from torch.nn import functional

    return functional.rms_norm(state, (state.shape[-1],), weight, epsilon)


def fresh_adapters(settings: Settings, which: range, rank: int, seed: int) -> dict[str, Any]:
    """Return adapters that change nothing yet."""
    import torch

    draw = torch.Generator().manual_seed(seed)
    sizes = {
        "into": (settings.width, (settings.heads + 2 * settings.kv_heads) * settings.head),
        "out": (settings.heads * settings.head, settings.width),
        "up": (settings.width, 2 * settings.inner),
        "down": (settings.inner, settings.width),
    }
    found: dict[str, Any] = {}
    for layer in which:
        for name, (inside, outside) in sizes.items():
            found[f"{layer}.{name}.a"] = torch.randn((rank, inside), generator=draw) / math.sqrt(inside)
            found[f"{layer}.{name}.b"] = torch.zeros((outside, rank))
    return found


def _layer(
    weights: Weights,
    settings: Settings,
    layer: int,
    state: Any,
    mask: Any,
    turns: tuple[Any, Any],
    adapters: Weights | None,
    scale: float,
) -> Any:
    from torch.nn import functional

    def through(name: str, x: Any) -> Any:
        found = functional.linear(x, weights[f"{layer}.{name}"])
        if adapters is None:
            return found
        a, b = adapters[f"{layer}.{name}.a"].to(x.dtype), adapters[f"{layer}.{name}.b"].to(x.dtype)
        return found + functional.linear(functional.linear(x, a) * scale, b)

    def norm(name: str, x: Any) -> Any:
        return normed(x, weights[f"{layer}.{name}"], settings.epsilon)

    texts, positions, _ = state.shape
    sizes = [settings.heads * settings.head, settings.kv_heads * settings.head, settings.kv_heads * settings.head]
    query, key, value = through("into", norm("norm1", state)).split(sizes, dim=-1)

    def apart(x: Any) -> Any:
        return x.view(texts, positions, -1, settings.head).transpose(1, 2)

    query, key = _turned(norm("q_norm", apart(query)), turns), _turned(norm("k_norm", apart(key)), turns)
    shared = settings.heads // settings.kv_heads
    key, value = (x.repeat_interleave(shared, dim=1) for x in (key, apart(value)))
    seen = functional.scaled_dot_product_attention(
        query, key, value, attn_mask=mask, scale=1.0 / math.sqrt(settings.head)
    )
    state = state + norm("norm2", through("out", seen.transpose(1, 2).reshape(texts, positions, -1)))
    gate, up = through("up", norm("norm3", state)).split([settings.inner, settings.inner], dim=-1)
    return state + norm("norm4", through("down", functional.gelu(gate, approximate="tanh") * up))


def _masks(settings: Settings, places: Any, there: Any, forwards: bool) -> tuple[Any, Any]:
    """Return who sees whom in the layers with a window, and in those that see the whole text."""
    apart = places[:, :, None] - places[:, None, :]
    far = there[:, None, :].expand(apart.shape)
    if forwards:
        far = far & (apart >= 0)
    near = far & (apart.abs() < settings.window)
    return near[:, None], far[:, None]


def _turns(settings: Settings, places: Any, whole: bool, dtype: Any) -> tuple[Any, Any]:
    import torch

    steps = torch.arange(0, settings.head, 2, dtype=torch.float32, device=places.device) / settings.head
    theta = settings.theta if whole else settings.local_theta
    angles = places[:, None, :, None].float() * (1.0 / theta**steps)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(dtype), angles.sin().to(dtype)


def _turned(x: Any, turns: tuple[Any, Any]) -> Any:
    import torch

    cosine, sine = turns
    first, second = x.chunk(2, dim=-1)
    return x * cosine + torch.cat([-second, first], dim=-1) * sine
