"""Rules of direction on sentences written for them."""

import pytest

from kalibre.language.sentiment.directions import read
from kalibre.language.sentiment.english import ENGLISH
from kalibre.language.sentiment.lexicon import TURKISH

GOOD = [
    "Enflasyon geriledi",
    "İşsizlik azaldı",
    "Şirketin kârı arttı",
    "Enflasyon beklentilerin altında geldi",
    "Cari açık daraldı",
    "TCMB faizi indirdi",
    "Banka dev ihaleyi kazandı",
    "Gerilim azaldı, borsa yükseldi",
    "Düşen enflasyon piyasaya nefes aldırdı",
    "Kredi notu yükseltildi",
    "Zararı beklenenden düşük kaldı",
    "İşsizlik artmadı",
    "Endişeler hafifledi",
    "Borsa haftayı artıda kapattı",
    "Risk iştahı arttı",
    "Taraflar ateşkes imzaladı",
    "Şirket zarar etmedi",
]
BAD = [
    "Enflasyon yükseldi",
    "Şirketin kârı geriledi",
    "Kâr beklentilerin altında kaldı",
    "Altında sert düşüş",
    "Hedef fiyatını düşürdü",
    "TCMB faizi artırdı",
    "Artan maliyetler kârı baskıladı",
    "Şirket iflas etti",
    "Yükseliş sona erdi",
    "İhracat artmadı",
    "Bankaya para cezası kesildi",
    "Risk primi tırmandı",
    "Borsa değer kaybetti",
]


@pytest.mark.parametrize("text", GOOD)
def test_good_news(text):
    assert read(text, TURKISH).net() > 0.1


@pytest.mark.parametrize("text", BAD)
def test_bad_news(text):
    assert read(text, TURKISH).net() < -0.1


@pytest.mark.parametrize(
    "text", ["Bayram tatili ne zaman başlıyor", "Genel kurul toplantısı yapılacak", "Düşünce kulübü toplandı", ""]
)
def test_nothing_to_say(text):
    assert abs(read(text, TURKISH).net()) < 0.1


def test_weakened_and_asked_count_less():
    plain, weak = read("Endekste düşüş yaşandı", TURKISH).net(), read("Endekste düşüş sınırlı kaldı", TURKISH).net()
    asked = read("Endeks düşecek mi?", TURKISH).net()
    assert plain < weak < 0
    assert plain < asked <= 0


def test_two_assets_part_by_clause():
    found = read("Dolar yükselirken altın düştü", TURKISH).findings
    assert {one.asset: one.weight > 0 for one in found} == {"USD": True, "XAU": False}


@pytest.mark.parametrize(
    "text",
    [
        "Altın düşerken dolar yükseldi",
        "Altın inerken dolar arttı",
        "Altın düştü dolar yükseldi",
        "Altın kaybederken dolar kazandı",
    ],
)
def test_a_converb_or_a_new_subject_begins_a_clause(text):
    found = read(text, TURKISH).findings
    assert {one.asset: one.weight > 0 for one in found} == {"XAU": False, "USD": True}


def test_an_attribute_begins_none():
    (one, *_), two = read("Yükselen dolar kârı artırdı", TURKISH).spans, read("Artan petrol fiyatları düştü", TURKISH)
    assert one == (0, len("Yükselen dolar kârı artırdı"))
    assert two.clauses == 1


def test_snow_is_no_profit():
    assert not read("Kar yağışı arttı", TURKISH).findings or all(
        "kar" not in one.sign for one in read("Kar yağışı arttı", TURKISH).findings
    )


def test_amount_of_a_currency_is_not_the_currency():
    assert not read("Şirket 3 milyon dolar borç ödedi", TURKISH).assets


def test_spans_are_of_the_text():
    text = "ŞİRKETİN KÂRI GERİLEDİ"
    (one,) = read(text, TURKISH).findings
    assert text[one.start : one.end] == "KÂRI GERİLEDİ"
    assert text[slice(*one.word)] == "GERİLEDİ"


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("Inflation falls", 1),
        ("Inflation rises", -1),
        ("Profit rises", 1),
        ("Profit did not rise", -1),
        ("Shares tumble on recession fears", -1),
        ("Airline wins large order", 1),
        ("Rising costs hit the carrier", -1),
        ("Shares hit record low", -1),
        ("Shares hit record high", 1),
        ("Bank shares gain as war fears ease", 1),
    ],
)
def test_english(text, sign):
    assert read(text, ENGLISH).net() * sign > 0.1
