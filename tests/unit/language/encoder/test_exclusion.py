"""Test texts are kept out of training text: as they are, nearly so, inside a line, and over the end of one."""

import pytest

from kalibre.core.errors import VerificationError
from kalibre.language.encoder.exclusion import exclude, verify

TESTS = [
    "Örnek Bankası yılın üçüncü çeyreğinde beklentilerin üzerinde kâr açıkladı",
    "Deneme Holding fabrikasındaki üretimi iki hafta süreyle durdurdu ve çalışanlarına izin verdi. "
    "Şirketin açıklamasına göre talep düştü.",
]
CLEAN = ["Hava bugün açık ve rüzgârlı olacak.\nYarın yağmur bekleniyor.", "Başka bir metin burada duruyor."]


@pytest.mark.parametrize(
    "planted",
    [
        TESTS[0],
        TESTS[0].upper().replace("İ", "i"),
        "Son dakika: " + TESTS[0] + " ve hisseler yükseldi.",
        "Önceki satır.\n" + TESTS[0].replace("üzerinde", "üstünde") + "\nSonraki satır.",
        # A sentence of a longer test text, alone in a line of its own.
        "Deneme Holding fabrikasındaki üretimi iki hafta süreyle durdurdu ve çalışanlarına izin verdi.",
        # Over the end of a line.
        "Örnek Bankası yılın üçüncü çeyreğinde\nbeklentilerin üzerinde kâr açıkladı",
    ],
)
def test_a_planted_test_text_is_dropped(planted: str) -> None:
    kept = exclude([*CLEAN, planted], TESTS)
    assert kept.lines_dropped >= 1
    assert kept.documents[: len(CLEAN)] == CLEAN
    assert "kâr açıkladı" not in "\n".join(kept.documents)
    assert "Deneme Holding fabrikasındaki" not in "\n".join(kept.documents)
    verify(kept.documents, TESTS)


def test_what_is_clean_stays_as_it_is() -> None:
    kept = exclude(CLEAN, TESTS)
    assert kept.documents == CLEAN
    assert (kept.lines_dropped, kept.lines, kept.owners) == (0, 3, [0, 1])
    assert exclude([TESTS[0], CLEAN[1]], TESTS).owners == [1]
    assert exclude([], TESTS).documents == []
    assert exclude(CLEAN, []).documents == CLEAN


def test_verify_names_what_was_left_in() -> None:
    with pytest.raises(VerificationError, match="Örnek Bankası"):
        verify([*CLEAN, "Bugün " + TESTS[0]], TESTS)
