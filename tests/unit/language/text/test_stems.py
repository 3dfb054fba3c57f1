import pytest

from kalibre.language.text.stems import stem, stems


@pytest.mark.parametrize(
    "forms",
    [
        "faiz faizi faizler faizlerin faizlere faizden faizlerini",
        "banka bankanın bankalar bankaların bankada bankaya bankası",
        "kitap kitabı kitabından kitaplar",
        "şirket şirketi şirketin şirketler şirketinin",
        "vergi vergisi verginin vergiler",
        "borç borcu borçlar borcunun",
        "TCMB TCMB'nin TCMB'den",
        "yükseldi yükseliyor yükselecek yükselmiş",
        "FİYAT fiyatı Fiyatlar fiyatının",
    ],
)
def test_forms_meet(forms):
    assert len({stem(word) for word in forms.split()}) == 1


@pytest.mark.parametrize(("one", "other"), [("kanun", "kan"), ("madde", "mad"), ("artış", "art"), ("yıl", "yılan")])
def test_others_do_not(one, other):
    assert stem(one) != stem(other)


def test_a_text():
    assert stems("2023'te faizler, enflasyonu %5 düşürdü!") == ["2023", "faiz", "enflasyon", "5", "düşür"]
    assert stems("") == []
    assert stems("a" * 100_000) == ["a" * 100_000]
