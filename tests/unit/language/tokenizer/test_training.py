"""Training: sizes that the text supports, borders that hold, and the same tokenizer every time."""

from __future__ import annotations

import random

import pytest

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.tokenizer.training import SIGNS, Trained, train
from kalibre.language.tokenizer.words import Part


def test_too_little_text_gives_a_smaller_vocabulary_and_says_so(trained: Trained):
    small = train([Part("toy", ["Borsa güne yükselişle başladı. THYAO'nun kârı arttı."] * 30)])
    assert small.tokenizer.size < 32_000 == small.asked
    assert f"32000 pieces were asked for and {small.tokenizer.size} learnt" in small.note
    text = "THYAO'nun bambaşka bir 2024 haberi 🚀"
    assert small.tokenizer.decode(small.tokenizer.encode(text)) == text
    assert trained.note == "" or trained.tokenizer.size < 800


def test_unigram_shrinks_too():
    small = train([Part("toy", ["Borsa güne yükselişle başladı. THYAO'nun kârı arttı."] * 30)], kind="unigram")
    assert small.tokenizer.size < 32_000
    assert small.note


def test_no_piece_crosses_an_apostrophe_or_a_digit(trained: Trained):
    cut = trained.tokenizer.pieces
    for name in ("THYAO", "Bambaşka", "XYZ"):
        whole = cut(f"{name}'nun")
        assert "'nun" in whole
        assert "".join(whole[: whole.index("'nun")]).strip("\u2581") == name
    assert cut("2023 14,5") == ["\u25812", "0", "2", "3", "\u25811", "4", ",", "5"]
    assert not any(len(piece.strip("\u2581")) > 1 and any(map(str.isdigit, piece)) for piece in _vocabulary(trained))


def test_letters_have_pieces_however_rare(trained: Trained):
    assert not any(piece.startswith("<0x") for piece in trained.tokenizer.pieces("XBANK wq Ğ € ₺ “Ö”"))


def test_the_order_of_texts_does_not_matter(trained: Trained):
    texts = [f"kur{i % 7} arttı{i % 5} bugün" for i in range(300)]
    mixed = texts[:]
    random.Random(4).shuffle(mixed)
    one, other = (train([Part("toy", given)], vocabulary=600) for given in (texts, mixed))
    assert one.tokenizer.model == other.tokenizer.model
    assert one.digest == other.digest


def test_the_signs_of_an_encoder_are_there(trained: Trained):
    assert [trained.tokenizer.number(sign) for sign in ("<pad>", "<unk>", "<s>", "</s>", *SIGNS)] == list(range(7))
    assert trained.tokenizer.number("<mask>") not in trained.tokenizer.encode("<mask>")


@pytest.mark.parametrize("texts", [[], [""], [" \n\t"], ["\x00", "\ud800"]])
def test_nothing_to_learn_from_is_refused(texts: list[str]):
    with pytest.raises(ModelError, match="hold no word"):
        train([Part("empty", texts)])


@pytest.mark.parametrize("wrong", [{"vocabulary": 10}, {"vocabulary": 10**6}, {"kind": "wordpiece"}, {"coverage": 0.2}])
def test_wrong_options_are_refused(wrong: dict[str, object]):
    with pytest.raises(UsageError, match=str(next(iter(wrong.values())))):
        train([Part("toy", ["kur"])], **wrong)  # type: ignore[arg-type]


def _vocabulary(trained: Trained) -> list[str]:
    return [piece for piece in trained.tokenizer._pieces if not piece.startswith("<0x")]
