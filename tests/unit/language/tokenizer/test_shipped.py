"""The shipped tokenizer on real Turkish: everything comes back, in few pieces."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from kalibre.language.tokenizer.storage import load


@pytest.mark.real_data
def test_real_texts_come_back_in_few_pieces(shared_data: Path):
    tokenizer = load("builtin")
    files = sorted((shared_data / "turkish").glob("*/*.xz"))
    assert len(files) >= 15
    for path in files:
        with lzma.open(path, "rt", encoding="utf-8") as stream:
            text = stream.read(100_000)
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == text, path.name
        assert len(ids) < 3.5 * len(text.split()), path.name


def test_any_numbers_are_some_text():
    tokenizer = load("builtin")
    for number in range(tokenizer.size):
        assert isinstance(tokenizer.decode([number]), str)
        assert isinstance(tokenizer.decode([number, number]), str)
