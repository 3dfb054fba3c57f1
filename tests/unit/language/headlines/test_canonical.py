from __future__ import annotations

import pytest

from kalibre.language.headlines.canonical import canonical, exact_key, near_key, normalise

SAME = [
    ("THYAO'nun kârı %5,0 arttı", "THYAO kârı yüzde 5 yükseldi"),
    ("SON DAKİKA: Merkez Bankası faizi 250 baz puan artırdı", "TCMB faizi 250 baz puan yükseltti - Bloomberg HT"),
    ("Flaş! Garanti bilançosunu açıkladı (AA)", "GARANTİ BİLANÇOSUNU DUYURDU"),
    ("Dolar 45,10 liraya yükseldi...", "dolar 45.10 TL'ye yükseldi".replace("TL'ye", "liraya")),
    ("$40 mn yatırım", "40 milyon dolar yatırım"),
    ("Ihracat 1.250 milyon euro oldu", "ıhracat 1250 mn avro oldu"),
]
OTHER = [
    ("Garanti kârını artırdı", "Garanti kârını artırmadı"),
    ("Garanti kârını artırdı", "Garanti kârını düşürdü"),
    ("BIST 100 %2,3 düştü", "BIST 100 %2,4 düştü"),
    ("BIST 100 -%2,3", "BIST 100 %2,3"),
    ("Dolar 45,10 liraya yükseldi", "Dolar 45,10 lira yükseldi"),
    ("ABD'den İran'a saldırı", "ABD'ye İran'dan saldırı"),
    ("GARAN temettü dağıtacak", "AKBNK temettü dağıtacak"),
    ("Toplantı 14 Mayıs'ta", "Toplantı 15 Mayıs'ta"),
    ("Toplantı pazartesi yapılacak", "Toplantı salı yapılacak"),
    ("Faiz artırımı bekleniyor", "Faiz artırımı beklenmiyor"),
    ("Şirket zarar etti", "Şirket zarar etmedi"),
    ("Borsa yükseldi, dolar düştü", "Borsa düştü, dolar yükseldi"),
    ("Apple Samsung'u geçti", "Samsung Apple'ı geçti"),
    ("Anlaşma var", "Anlaşma yok"),
    ("Kâr 1.250 milyon TL", "Kâr 1,250 milyon TL"),
    ("Başkan oldu", "Başkan öldü"),
    ("3 milyon dolar", "3 milyar dolar"),
    ("3 milyon dolar", "3 milyon euro"),
    ("Üretim yükselecek", "Üretim yükseldi"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_says_the_same_has_one_key(one: str, other: str) -> None:
    assert canonical(one) == canonical(other)
    assert near_key(one) == near_key(other)
    assert exact_key(one) != exact_key(other)


@pytest.mark.parametrize(("one", "other"), OTHER)
def test_a_number_date_name_negation_or_direction_makes_another_headline(one: str, other: str) -> None:
    assert near_key(one) != near_key(other)


def test_exact_keys_ignore_what_cannot_be_seen() -> None:
    assert exact_key("İş  Bankası\u200b \r\n") == exact_key("iş bankası")
    assert normalise("IŞIK İNCİ") == "ışık inci"


def test_what_has_no_words_left_keeps_a_key_of_its_own() -> None:
    assert near_key("🚀") != near_key("📉")
    assert near_key("bu") != near_key("şu")
