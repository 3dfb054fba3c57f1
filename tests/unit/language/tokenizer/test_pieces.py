"""Round trips, pieces and what is refused."""

from __future__ import annotations

import pytest

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.tokenizer.pieces import Tokenizer
from kalibre.language.tokenizer.training import Trained

ODD = [
    "",
    " ",
    "   a   b  ",
    "\n",
    "\n\n a\r\n\tb\t\t",
    "\u2581\u2581 \u2581a \u2581",
    "\ud800x\udfff \udc00",
    "\x00\x01\x02\x7f\x85\u2028\u2029",
    "👩‍👩‍👧 🚀🚀",
    "<s></s><unk><pad><mask><0x0A>",
    "\ufeffa\u200f\u202e",
    "⁇ |||||",
    "\U0010ffff\ue000",
    "İIıi Ğğ I\u0307",
    "日本語 العربية",
    "THYAO'nun 2023’te %4,5'lik",
]


@pytest.mark.parametrize("text", ODD)
def test_round_trip(trained: Trained, text: str):
    ids = trained.tokenizer.encode(text)
    assert trained.tokenizer.decode(ids) == text
    assert trained.tokenizer.unknown(ids) == 0


def test_ten_megabytes_come_back(trained: Trained):
    text = "Borsa İstanbul'da endeks 10.250 puan.\n" * 250_000  # 10 MB
    assert trained.tokenizer.decode(trained.tokenizer.encode(text)) == text


def test_binary_read_as_latin_comes_back(trained: Trained):
    text = bytes(range(256)).decode("latin-1") * 3
    assert trained.tokenizer.decode(trained.tokenizer.encode(text)) == text


def test_a_word_is_the_same_after_a_line_break(trained: Trained):
    line = trained.tokenizer.pieces("borsa faiz")
    assert trained.tokenizer.pieces("borsa faiz\nborsa faiz") == [*line, "<0x0A>", *line]


def test_bytes_from_elsewhere_do_not_fail(trained: Trained):
    assert trained.tokenizer.decode([trained.tokenizer.number("<0xFF>")]) == "\ufffd"
    assert trained.tokenizer.decode([]) == ""


@pytest.mark.parametrize("number", [-1, 10**6])
def test_a_number_that_is_no_piece_is_refused(trained: Trained, number: int):
    with pytest.raises(UsageError, match=f"{number} is no piece"):
        trained.tokenizer.decode([number])


def test_a_piece_that_is_none_is_refused(trained: Trained):
    with pytest.raises(UsageError, match="'qqqq' is no piece"):
        trained.tokenizer.number("qqqq")


@pytest.mark.parametrize("model", [b"", b"no model", b"\x00" * 100])
def test_what_is_no_model_is_refused(model: bytes):
    with pytest.raises(ModelError, match="the tokenizer"):
        Tokenizer(model)


def test_a_torn_model_is_refused(trained: Trained):
    with pytest.raises(ModelError, match="the tokenizer"):
        Tokenizer(trained.tokenizer.model[: len(trained.tokenizer.model) // 2])
