"""From weights to what ships: an int8 ONNX file, small enough, and shown to say what torch says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.language.encoder.graph import Kind, build
from kalibre.language.encoder.model import EncoderSettings, hidden
from kalibre.language.encoder.session import Session

LARGEST_BYTES = 30_000_000


def to_onnx(
    weights: Mapping[str, Any], settings: EncoderSettings, kind: Kind = "hidden", *, exact: bool = False
) -> bytes:
    """Write an encoder, with its head where it has one, as an ONNX file.

    Parameters
    ----------
    weights
        Tensors by name; `head.weight` and `head.bias` among them for a kind other than `hidden`.
    settings, kind, exact
        As `graph.build` takes them.

    Raises
    ------
    ModelError
        If the file is larger than what may ship (30 MB), unless `exact`.
    """
    content = build(
        {name: tensor.detach().float().cpu().numpy() for name, tensor in weights.items()}, settings, kind, exact=exact
    )
    if not exact and len(content) > LARGEST_BYTES:
        raise ModelError(
            f"the encoder is {len(content) / 1e6:.1f} MB as int8 ONNX, over the {LARGEST_BYTES / 1e6:.0f} MB that may "
            "ship: make it narrower, shallower or its tokenizer smaller"
        )
    return content


def by_torch(
    weights: Mapping[str, Any], settings: EncoderSettings, kind: Kind, ids: Sequence[int]
) -> NDArray[np.float32]:
    """Return what torch makes of one text, in the shape of the graph's output for it."""
    import torch

    with torch.no_grad():
        state = hidden(weights, settings, torch.tensor([list(ids)], device=weights["pieces"].device))
        if kind != "hidden":
            state = state.mean(1) if kind == "text" else state
            state = state @ weights["head.weight"].T + weights["head.bias"]
    found: NDArray[np.float32] = state[0].float().cpu().numpy()
    return found


def parity(
    content: bytes, weights: Mapping[str, Any], settings: EncoderSettings, kind: Kind, texts: Sequence[Sequence[int]]
) -> dict[str, float]:
    """Compare an ONNX file with torch on texts of pieces.

    Returns
    -------
    `relative`: length of the difference over length of torch's output, root mean square over all; `largest`: largest
    difference of a number; `agree`: share of rows whose largest entry is the same.

    Raises
    ------
    ModelError
        If there are no texts to compare on.
    """
    if not texts:
        raise ModelError("there are no texts to compare torch and ONNX on: name some")
    session = Session(content)
    gaps, sizes, largest, agree = 0.0, 0.0, 0.0, []
    for ids in texts:
        wanted, found = np.atleast_2d(by_torch(weights, settings, kind, ids)), np.atleast_2d(session.run(ids))
        gaps += float(np.square(wanted - found).sum())
        sizes += float(np.square(wanted).sum())
        largest = max(largest, float(np.abs(wanted - found).max()))
        agree.extend((wanted.argmax(-1) == found.argmax(-1)).tolist())
    return {"relative": (gaps / max(sizes, 1e-30)) ** 0.5, "largest": largest, "agree": float(np.mean(agree))}


def check_parity(figures: Mapping[str, float], *, relative: float = 0.1, agree: float = 0.97) -> Mapping[str, float]:
    """Return the figures of `parity` if they are good enough to ship.

    Raises
    ------
    ModelError
        If the ONNX file says something else than torch.
    """
    if not figures["relative"] <= relative or not figures["agree"] >= agree:
        raise ModelError(
            f"the int8 ONNX file does not say what torch says: relative difference {figures['relative']:.4f} (at most "
            f"{relative}), same choice {figures['agree']:.4f} (at least {agree}); export with exact=True to see "
            "whether rounding is to blame"
        )
    return figures
