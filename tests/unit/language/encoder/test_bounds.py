"""What pretraining is given: numbers out of range and packed text that cannot be are refused before anything runs."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.encoder.blocks import Blocks, from_bytes, to_bytes
from kalibre.language.encoder.pretrain import Recipe


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"minutes": 0}, "minutes = 0"),
        ({"minutes": float("inf")}, "minutes = inf"),
        ({"rate": float("nan")}, "rate = nan"),
        ({"batch": 0}, "batch = 0"),
        ({"steps": 0}, "steps = 0"),
        ({"look_steps": -1}, "look_steps = -1"),
        ({"decay": 1.5}, "decay = 1.5"),
        ({"hide": 0.0}, "hides nothing"),
        ({"hide": 1.0}, "hides nothing or everything"),
    ],
)
def test_recipes_out_of_range_are_refused(told: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Recipe(**told)


def blocks(**other: Any) -> Blocks:
    rows = np.arange(32, dtype=np.uint16).reshape(4, 8)
    return Blocks(**{"train": rows, "held_out": rows[:1], "size": 40, **other})


@pytest.mark.parametrize(
    "other",
    [
        {"train": np.zeros((4, 8), dtype=np.int64)},
        {"train": np.zeros(32, dtype=np.uint16)},
        {"train": np.zeros((0, 8), dtype=np.uint16)},
        {"held_out": np.zeros((1, 9), dtype=np.uint16)},
        {"held_out": np.full((1, 8), 44, dtype=np.uint16)},
        {"size": 27},
    ],
)
def test_packed_text_that_cannot_be_is_refused(other: dict[str, Any]) -> None:
    assert from_bytes(to_bytes(blocks())).size == 40
    with pytest.raises(ModelError, match="packed text"):
        from_bytes(to_bytes(blocks(**other)))


@pytest.mark.parametrize("content", [b"", b"PK", b"\x00" * 200, to_bytes(blocks())[:-40]])
def test_what_is_no_packed_text_is_refused(content: bytes) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        from_bytes(content)


def test_a_flipped_byte_is_seen_or_harmless() -> None:
    whole = to_bytes(blocks())
    for at in range(0, len(whole), 7):
        torn = bytearray(whole)
        torn[at] ^= 0xFF
        with contextlib.suppress(ModelError):
            assert from_bytes(bytes(torn)).train.max() < 44
