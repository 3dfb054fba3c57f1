"""Hiding whole words of packed text, and how well an encoder guesses what stood there."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from kalibre.language.encoder.blocks import Blocks
from kalibre.language.encoder.model import EncoderSettings, Weights, guesses, hidden
from kalibre.language.encoder.pieces import MASK, Pieces


def hide(ids: Any, starts: Any, size: int, share: float, generator: Any) -> tuple[Any, Any, Any]:
    """Hide whole words of packed blocks.

    Parameters
    ----------
    ids
        Shape (blocks, length), pieces on any device.
    starts
        Shape (pieces and signs,): whether a piece begins a word.
    size
        Pieces of the tokenizer; numbers from there on are signs and stay.
    share
        Of the words.
    generator
        Of the same device.

    Returns
    -------
    The blocks with hidden words (of their pieces 8 in 10 masked, 1 in 10 another piece, 1 in 10 left), the flat places
    to be guessed, always equally many, and the pieces that stood there, -100 where a place is only filling.
    """
    import torch

    device = ids.device
    words = starts[ids].long().cumsum(1)
    drawn = torch.rand((ids.shape[0], ids.shape[1] + 1), device=device, generator=generator)
    chosen = (drawn.gather(1, words) < share) & (ids < size)
    many = max(1, math.ceil(ids.numel() * share * 1.15))
    places = torch.argsort(chosen.flatten().byte(), descending=True, stable=True)[:many]
    wanted = torch.where(chosen.flatten()[places], ids.flatten()[places], -100)
    how = torch.rand(ids.shape, device=device, generator=generator)
    other = torch.randint(0, size, ids.shape, device=device, generator=generator)
    shown = torch.where(chosen & (how < 0.8), size + MASK, ids)
    return torch.where(chosen & (how >= 0.9), other, shown), places, wanted


def hidden_loss(weights: Weights, settings: EncoderSettings, shown: Any, places: Any, wanted: Any) -> Any:
    """Return the mean loss, in nats, of guessing what stood at the places."""
    from torch.nn import functional

    states = hidden(weights, settings, shown)
    logits = guesses(weights, states.reshape(-1, settings.width)[places])
    return functional.cross_entropy(logits.float(), wanted, ignore_index=-100)


def held_out_loss(
    weights: Weights, settings: EncoderSettings, blocks: Blocks, pieces: Pieces, *, batch: int = 64, most: int = 512
) -> tuple[float, float]:
    """Return loss in nats and share guessed rightly on the held-out blocks, the same words hidden at every look."""
    import torch

    device = weights["pieces"].device
    generator = torch.Generator(device="cpu").manual_seed(77)
    starts = torch.from_numpy(pieces.starts)
    losses, rights, many = 0.0, 0.0, 0
    with torch.no_grad(), mixed(device):
        for at in range(0, min(len(blocks.held_out), most), batch):
            ids = torch.from_numpy(blocks.held_out[at : at + batch].astype(np.int64))
            shown, places, wanted = hide(ids, starts, blocks.size, 0.3, generator)
            keep = wanted >= 0
            shown, places, wanted = shown.to(device), places[keep].to(device), wanted[keep].to(device)
            logits = guesses(weights, hidden(weights, settings, shown).reshape(-1, settings.width)[places]).float()
            losses += float(torch.nn.functional.cross_entropy(logits, wanted, reduction="sum"))
            rights += float((logits.argmax(-1) == wanted).sum())
            many += len(wanted)
    return losses / max(many, 1), rights / max(many, 1)


def mixed(device: Any) -> Any:
    """Return the context in which a GPU reckons in bfloat16; on a CPU it changes nothing."""
    import torch

    kind = torch.device(device).type
    return torch.autocast(kind, dtype=torch.bfloat16, enabled=kind == "cuda")
