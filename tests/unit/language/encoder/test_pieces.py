"""Pieces: every text is given back, and each piece says which characters it covers."""

import io

import pytest
from tests.fakes.torch_stack import import_or_skip

from kalibre.core.errors import ModelError
from kalibre.language.encoder.pieces import SIGNS, Pieces, toy_tokenizer

(sentencepiece,) = import_or_skip("sentencepiece")


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return Pieces(toy_tokenizer())


@pytest.mark.parametrize(
    "text",
    [
        "Borsa güne yükselişle başladı.",
        "THYAO'nun kârı %4,5 arttı",
        "İIıi ŞĞÇÖÜ â î û",
        " iki  boşluk\tsekme\nsatır ",
        "\x00\x01\u200f\u202e😀👍🏽 ﷽",
        "漢字と仮名",
        "\u2581 kendi işareti",
        "",
        " ",
    ],
)
def test_spans_cover_every_character_in_order(pieces: Pieces, text: str) -> None:
    ids, spans = pieces.encode(text)
    assert len(ids) == len(spans)
    assert [span for span in spans if span[0] > span[1]] == []
    covered = sorted({at for start, end in spans for at in range(start, end)})
    assert covered == list(range(len(text)))
    assert spans == sorted(spans)


def test_lone_surrogates_keep_their_place(pieces: Pieces) -> None:
    ids, spans = pieces.encode("a\ud800b")
    assert spans[-1] == (2, 3)
    assert ids == pieces.encode("a\ufffdb")[0]


def test_a_tokenizer_with_a_blank_before_every_text_is_read_too() -> None:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["kur arttı", "faiz düştü"] * 30),
        model_writer=written,
        vocab_size=290,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        byte_fallback=True,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    found = Pieces(written.getvalue())
    text = "kur düştü 😀"
    _, spans = found.encode(text)
    assert {at for start, end in spans for at in range(start, end)} == set(range(len(text)))


def test_a_tokenizer_that_changes_texts_is_refused() -> None:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["kur arttı", "faiz düştü"] * 30),
        model_writer=written,
        vocab_size=30,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    with pytest.raises(ModelError, match="does not give"):
        Pieces(written.getvalue())


def test_what_is_no_tokenizer_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        Pieces(b"not a model")


def test_starts_know_words_signs_and_marks(pieces: Pieces) -> None:
    ids = pieces.ids("Borsa güne")
    assert pieces.starts[ids].sum() >= 1
    assert pieces.starts.shape == (pieces.size + SIGNS,)
    assert pieces.starts[[pieces.pad, pieces.cls, pieces.sep, pieces.mask]].all()
    continuation = pieces.ids("😀")[1:]
    assert not pieces.starts[continuation].any()
