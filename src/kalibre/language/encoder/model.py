"""The encoder: settings, weights as plain named tensors, and the way from pieces to hidden states as one function.

A small encoder of today's make: pre-norm with RMS normalisation, rotary positions, normalised queries and keys, a gated
MLP, no biases, input and output pieces tied. Weights are a flat dictionary, so that safetensors, the optimiser, the
ONNX export and the tests see the same names. Whether a word is hidden in the middle of a text is all that it learns
from; it sees a whole text at once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from kalibre.core.errors import ModelError
from kalibre.language.encoder.pieces import SIGNS

EPSILON = 1e-6
Weights = dict[str, Any]
"""Tensors of torch by name."""


class EncoderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The shape of an encoder.

    Attributes
    ----------
    vocabulary
        Pieces of the tokenizer, without the encoder's own signs.
    width, layers, heads, inner
        Of the hidden state, how many layers, attention heads, and width of the gated MLP.
    length
        Longest text in pieces, signs included.
    rotary_base
        Base of the rotary positions' wavelengths.
    """

    vocabulary: int
    width: int = 384
    layers: int = 8
    heads: int = 6
    inner: int = 1024
    length: int = 512
    rotary_base: float = 10_000.0

    @property
    def rows(self) -> int:
        """Rows of the piece table: pieces and signs, rounded up to 64 for the matrix units."""
        return -(-(self.vocabulary + SIGNS) // 64) * 64

    @property
    def parameters(self) -> int:
        """How many numbers the encoder has, the masked-word head included."""
        layer = 4 * self.width**2 + 3 * self.width * self.inner + 2 * self.width
        return self.rows * (self.width + 1) + self.layers * layer + self.width**2 + 2 * self.width


def check_settings(settings: EncoderSettings) -> EncoderSettings:
    """Return the settings if an encoder can have them.

    Raises
    ------
    ModelError
        If the heads do not divide the width into even parts, or a number is below 1.
    """
    numbers = (settings.vocabulary, settings.width, settings.layers, settings.heads, settings.inner, settings.length)
    if min(numbers) < 1 or settings.width % (2 * settings.heads):
        raise ModelError(
            f"an encoder cannot have {settings}: all numbers at least 1, and the width a multiple of twice the heads"
        )
    return settings


def read_settings(content: bytes) -> EncoderSettings:
    """Read settings from JSON.

    Raises
    ------
    ModelError
        If they are not settings of an encoder.
    """
    try:
        return check_settings(msgspec.json.decode(content, type=EncoderSettings))
    except msgspec.MsgspecError as error:
        raise ModelError(f"the encoder's settings cannot be read ({error}): restore them or train anew") from error


def shapes(settings: EncoderSettings) -> dict[str, tuple[int, ...]]:
    """Return the shape of each weight by name, in the order in which they are drawn.

    Examples
    --------
    >>> len(shapes(EncoderSettings(vocabulary=100, width=8, heads=2, layers=1, inner=16)))
    14
    """
    width, inner = settings.width, settings.inner
    found: dict[str, tuple[int, ...]] = {"pieces": (settings.rows, width), "pieces_norm": (width,)}
    for layer in range(settings.layers):
        name = f"layer{layer}."
        found |= {
            name + "attention_norm": (width,),
            **{name + part: (width, width) for part in ("query", "key", "value", "attended")},
            name + "mlp_norm": (width,),
            name + "gate": (inner, width),
            name + "up": (inner, width),
            name + "down": (width, inner),
        }
    return found | {
        "norm": (width,),
        "guess.dense": (width, width),
        "guess.bias": (settings.rows,),
    }


def initial(settings: EncoderSettings, seed: int = 0) -> Weights:
    """Draw the weights that training begins from: the same for the same seed."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    weights: Weights = {}
    for name, shape in shapes(check_settings(settings)).items():
        if name.endswith("norm"):
            weights[name] = torch.ones(shape)
        elif len(shape) == 1:
            weights[name] = torch.zeros(shape)
        else:
            spread = 0.02 if name == "pieces" else shape[1] ** -0.5
            # What is added to the stream begins small, the smaller the deeper the encoder.
            if name.endswith(("attended", "down")):
                spread /= (2 * settings.layers) ** 0.5
            weights[name] = torch.empty(shape).normal_(0.0, spread, generator=generator)
    return weights


def rotation(settings: EncoderSettings, length: int, device: Any = None) -> tuple[Any, Any]:
    """Return cosine and sine of the rotary positions, shape (length, width / heads) each."""
    import torch

    half = settings.width // settings.heads // 2
    rates = settings.rotary_base ** (-torch.arange(half, dtype=torch.float64) / half)
    angles = torch.arange(length, dtype=torch.float64)[:, None] * rates[None, :]
    angles = torch.cat([angles, angles], dim=1)
    return angles.cos().float().to(device), angles.sin().float().to(device)


def hidden(
    weights: Mapping[str, Any],
    settings: EncoderSettings,
    ids: Any,
    mask: Any = None,
    *,
    dropout: float = 0.0,
    vectors: Any = None,
) -> Any:
    """Return the hidden states of texts.

    Parameters
    ----------
    weights, settings
        Of the encoder.
    ids
        Shape (texts, pieces), integers.
    mask
        Shape (texts, pieces), true where a piece stands and false where the batch is filled up; None where every place
        is taken, as in pretraining's packed blocks.
    dropout
        Share of each sublayer's output dropped; 0 outside fine-tuning.
    vectors
        Piece vectors to begin from in place of the table's.

    Returns
    -------
    Shape (texts, pieces, width).
    """
    import torch
    from torch.nn import functional

    length = ids.shape[1]
    cosine, sine = rotation(settings, length, ids.device)
    seen = None if mask is None else mask.bool()[:, None, None, :]
    state = functional.embedding(ids, weights["pieces"]) if vectors is None else vectors
    if torch.is_autocast_enabled(ids.device.type):
        state = state.to(torch.get_autocast_dtype(ids.device.type))
    state = normed(state, weights["pieces_norm"])
    split = (*ids.shape, settings.heads, settings.width // settings.heads)
    for layer in range(settings.layers):
        part = {name: weights[f"layer{layer}.{name}"] for name in _PARTS}
        entering = normed(state, part["attention_norm"])
        query, key, value = (
            functional.linear(entering, part[name]).view(split).transpose(1, 2) for name in ("query", "key", "value")
        )
        query, key = (_turned(normed(vector), cosine, sine).to(value.dtype) for vector in (query, key))
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        attended = functional.linear(attended.transpose(1, 2).reshape(state.shape), part["attended"])
        state = state + functional.dropout(attended, dropout, training=dropout > 0)
        entering = normed(state, part["mlp_norm"])
        gated = functional.silu(functional.linear(entering, part["gate"])) * functional.linear(entering, part["up"])
        added = functional.linear(gated, part["down"])
        state = state + functional.dropout(added, dropout, training=dropout > 0)
    return normed(state, weights["norm"])


_PARTS = ("attention_norm", "query", "key", "value", "attended", "mlp_norm", "gate", "up", "down")


def guesses(weights: Mapping[str, Any], states: Any) -> Any:
    """Return the logits of every piece for hidden states, shape (..., rows)."""
    from torch.nn import functional

    dense = normed(functional.gelu(functional.linear(states, weights["guess.dense"])))
    return functional.linear(dense, weights["pieces"]) + weights["guess.bias"]


def normed(vector: Any, gain: Any = None) -> Any:
    """Scale vectors to a root mean square of 1, then by the gain; in 32 bits whatever comes in."""
    long = vector.float()
    scaled = long * (long.square().mean(-1, keepdim=True) + EPSILON).rsqrt()
    return (scaled if gain is None else scaled * gain).to(vector.dtype)


def _turned(vector: Any, cosine: Any, sine: Any) -> Any:
    import torch

    first, second = vector.chunk(2, dim=-1)
    return vector * cosine + torch.cat([-second, first], dim=-1) * sine


# --- on the disk ------------------------------------------------------------------------------------------------------


def to_safetensors(weights: Mapping[str, Any], settings: EncoderSettings, *, half: bool = False) -> bytes:
    """Write weights and settings as one safetensors file; `half` stores 16 bits a number."""
    from safetensors.torch import save

    stored = {
        name: (tensor.detach().half() if half else tensor.detach().float()).cpu().contiguous()
        for name, tensor in weights.items()
    }
    return bytes(save(stored, metadata={"settings": msgspec.json.encode(settings).decode()}))


def from_safetensors(content: bytes) -> tuple[Weights, EncoderSettings]:
    """Read what `to_safetensors` wrote; every number as 32 bits.

    Raises
    ------
    ModelError
        If it is no such file, or its weights do not fit its settings, or one is not finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        length = int.from_bytes(content[:8], "little")
        header = json.loads(content[8 : 8 + length])
        settings = read_settings(str(header["__metadata__"]["settings"]).encode())
        weights = {name: tensor.float() for name, tensor in load(content).items()}
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModelError(
            f"the encoder's weights cannot be read ({error}): name a safetensors file that Kalibre wrote"
        ) from error
    wanted = shapes(settings)
    for name, shape in wanted.items():
        if name not in weights or tuple(weights[name].shape) != shape:
            found = tuple(weights[name].shape) if name in weights else "nothing"
            raise ModelError(f"weight {name!r} is {found} and its settings say {shape}: restore the file or train anew")
        if not bool(torch.isfinite(weights[name]).all()):
            raise ModelError(f"weight {name!r} holds numbers that are not finite: restore the file or train anew")
    return {name: weights[name] for name in wanted}, settings
