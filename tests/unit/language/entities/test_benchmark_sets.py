"""The benchmark's own check: a scored sentence planted in training text is refused, and taken out where asked."""

import pytest
from benchmarks._entity_sets import Tagged, check_apart, without

from kalibre.core.errors import LanguageError

TRAIN = ["Şirketin yıllık kârı beklentilerin üzerinde arttı .", "Toplantı yarın sabah başkentte yapılacak ."]


def test_apart_passes():
    check_apart(TRAIN, ["Yeni fabrika gelecek yıl üretime başlayacak ."])


@pytest.mark.parametrize(
    "planted", [TRAIN[1], TRAIN[1].upper(), "Toplantı yarın sabah, başkentte yapılacak!", TRAIN[1] + " "]
)
def test_a_planted_test_sentence_is_refused(planted):
    with pytest.raises(LanguageError, match="stands among the training texts"):
        check_apart(TRAIN, ["Yeni fabrika gelecek yıl üretime başlayacak .", planted])


def test_alike_sentences_are_taken_out_of_training():
    train = [Tagged(text.split(), ["O"] * len(text.split())) for text in TRAIN]
    kept = without(train, [Tagged("TOPLANTI yarın sabah başkentte yapılacak".split(), ["O"] * 5)])
    assert kept == train[:1]
