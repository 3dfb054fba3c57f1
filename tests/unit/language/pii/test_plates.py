"""Plates: found where something says so or nothing else can be meant, and not in ordinary prose."""

import pytest

from kalibre.language.pii import find


def plates(text: str) -> list[str]:
    return [one.text for one in find(text, ("PLATE",))]


@pytest.mark.parametrize(
    "text",
    [
        "Fonda 30 ABD 70 Avrupa hissesi var",
        "Puan 10 FED 25 baz artırdı",
        "Sunucu 32 CPU 512 bellek ile geliyor",
        "Kanun 12 TBK 299 hükmü",
        "Sayfa 10 AND 20 arası",
        "SELECT * FROM t WHERE x BETWEEN 34 AND 200",
        "TOPLAM 34 GOL 99 MAC",
        "Akü 12 V 7000 mAh kapasiteli",
        "Sınav 10 A 2023 sınıfı mezunları",
        "UEFA 21 U 2024 kadrosu",
        "Tablet 50 MG 100 adet kutuda",
        "Bina 10 KAT 150 daire",
        "Karar 28 KAS 2024 günü açıklandı",
    ],
)
def test_ordinary_prose_is_left(text: str):
    assert plates(text) == []


@pytest.mark.parametrize(
    ("text", "plate"),
    [
        ("Dün 42 KRT 17 ile gittik, araba rahattı", "42 KRT 17"),
        ("Otoparkta 10 BZT 812 önümü kapattı", "10 BZT 812"),
        ("27 A 3386 için trafik cezası kesildi", "27 A 3386"),
        ("araçtaki 42MB947", "42MB947"),
        ("Kapıda 42KRT17 vardı", "42KRT17"),
        ("Kapıda 34 KRT 17 vardı", "34 KRT 17"),
        ("Kapıda 06 KRT 178 vardı", "06 KRT 178"),
        ("42 KRT 178", "42 KRT 178"),
        ("Giriş: 42 KRT 178, çıkış yok", "42 KRT 178"),
        ("42 KRT 178 - 14:30 giriş", "42 KRT 178"),
    ],
)
def test_what_is_one_is_found(text: str, plate: str):
    assert plates(text) == [plate]


def test_of_a_list_none_is_forgotten():
    assert plates("34ABC123 35 AB 123, 42 KRT 178 ve saire") == ["34ABC123", "35 AB 123", "42 KRT 178"]
