"""Pieces: every text is given back, and each piece says which characters it covers."""

import io

import pytest
from tests.fakes.torch_stack import import_or_skip

from kalibre.core.errors import ModelError
from kalibre.language.encoder.pieces import SIGNS, Pieces, toy_tokenizer
from kalibre.language.tokenizer.pieces import Tokenizer

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
        "iki\n\nsatır\r\n\ttam",
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
    _, spans = pieces.encode("a\ud800b")
    assert [span for span in spans if span[0] < span[1]] == [(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)]


def test_pieces_are_the_tokenizers_own(pieces: Pieces) -> None:
    tokenizer = Tokenizer(pieces.model)
    for text in ("Borsa güne\nyükselişle  başladı.\t%4,5", "\u2581x", ""):
        assert pieces.encode(text)[0] == pieces.ids(text) == tokenizer.encode(text)


def trained(**changes: object) -> bytes:
    written = io.BytesIO()
    settings = {
        "vocab_size": 290,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "byte_fallback": True,
        "hard_vocab_limit": False,
        "minloglevel": 2,
    }
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["kur arttı", "faiz düştü"] * 30), model_writer=written, **{**settings, **changes}
    )
    return written.getvalue()


@pytest.mark.parametrize("blank", [True, False])
def test_a_blank_before_every_text_covers_nothing(blank: bool) -> None:
    text = "kur düştü 😀\nkur"
    _, spans = Pieces(trained(add_dummy_prefix=blank)).encode(text)
    assert {at for start, end in spans for at in range(start, end)} == set(range(len(text)))
    assert spans[-1][1] == len(text)


def test_a_tokenizer_that_changes_texts_is_refused() -> None:
    with pytest.raises(ModelError, match="does not give"):
        Pieces(trained(normalization_rule_name="nmt_nfkc"))
    with pytest.raises(ModelError, match="no pieces for bytes"):
        Pieces(trained(byte_fallback=False, vocab_size=30))


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
