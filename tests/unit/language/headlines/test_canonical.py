from __future__ import annotations

import pytest

from kalibre.language.bundle import shipped
from kalibre.language.headlines.canonical import VERSION, canonical, exact_key, near_key, normalise

SAME = [
    ("THYAO'nun kârı %5,0 arttı", "THYAO kârı yüzde 5 yükseldi"),
    ("SON DAKİKA: Merkez Bankası faizi 250 baz puan artırdı", "TCMB faizi 250 baz puan yükseltti - Bloomberg HT"),
    ("Flaş! Garanti bilançosunu açıkladı (AA)", "GARANTİ BİLANÇOSUNU DUYURDU"),
    ("Dolar 45,10 liraya yükseldi...", "dolar 45.10 TL'ye yükseldi".replace("TL'ye", "liraya")),
    ("$40 mn yatırım", "40 milyon dolar yatırım"),
    ("[ÖZEL HABER] Dolar yükselecek mi?", "Dolar yükselecek mi"),
    ("🚨 Borsa yükseldi!", "Borsa arttı"),
    ("Faiz 0,50 puan", "faiz 0,5 puan"),
    ("Şirket bir anlaşma imzaladı", "Şirket anlaşma imzaladı"),
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
    # Signs before numbers, wherever they stand and however they are drawn.
    ("Kâr %-2,3", "Kâr %2,3"),
    ("Endeks (-2,3)", "Endeks (2,3)"),
    ("Endeks –2,3", "Endeks 2,3"),
    ("Endeks:-5", "Endeks:5"),
    ("Kur -₺5", "Kur ₺5"),
    ("Result -$5", "Result $5"),
    ("Result $-5", "Result $5"),
    # Pictures and comparisons that turn what is said.
    ("Borsa 📈", "Borsa 📉"),
    ("BIST ▲ %2", "BIST ▼ %2"),
    ("Endeks ↑ 2", "Endeks ↓ 2"),
    ("F/K > 5", "F/K < 5"),
    ("AKBNK=GARAN", "AKBNK≠GARAN"),
    ("Fiyat ≥5", "Fiyat ≤5"),
    ("🇺🇸 CPI", "🇪🇺 CPI"),
    ("Faiz ½ puan", "Faiz ¼ puan"),
    ("₿5", "5"),
    # Names in brackets, letters of a share, names that look like a wire's tail or a filler.
    ("[THYAO] kâr açıkladı", "[GARAN] kâr açıkladı"),
    ("BRK.A rose", "BRK rose"),
    ("A grubu hisse", "Grubu hisse"),
    ("A, B'yi aldı", "B, A'yı aldı"),
    ("Satış: Turkcell-Hürriyet", "Satış: Turkcell"),
    ("Yeni Gimat kâr açıkladı", "Gimat kâr açıkladı"),
    ("Genel kurul salı - sabah", "Genel kurul salı"),
    ("THYAO yükseldi", "THYAO.E yükseldi"),
    ("Mr Powell", "milyar Powell"),
    ("Bulls try", "Bulls lira"),
    # Words that count or say which.
    ("Faiz yüzde bir arttı", "Faiz yüzde arttı"),
    ("Bir milyon lot", "Milyon lot"),
    ("yirmi bir şirket", "yirmi şirket"),
    ("Bu yıl büyüme hızlanacak", "Yıl büyüme hızlanacak"),
    ("Yeni yılda zam", "Yılda zam"),
    ("Yüzde 5 arttı", "Yüzde beşte arttı"),
    ("3 bin lot", "3 milyon lot"),
    # What can be read in two ways.
    ("Deal worth $1,250 mn", "Deal worth $1.25 mn"),
    ("Apple cuts 1,500 jobs", "Apple cuts 1.5 jobs"),
    ("Toplantı 1.10 tarihinde", "Toplantı 1.1 tarihinde"),
    ("Toplantı 10.10'da", "Toplantı 10.1'da"),
    # A question is no statement.
    ("Fed to cut rates?", "Fed to cut rates"),
    ("Dolar yükseldi?", "Dolar yükseldi"),
    ("Dolar yükseldi mi", "Dolar yükseldi"),
    ("Garanti artmaz mı", "Garanti artmadı"),
    # What falls from the sky has not landed, and a profit shared out is not one announced.
    ("THY uçağı Ankara'ya indi", "THY uçağı Ankara'ya düştü"),
    ("İran uçağı indirdi", "İran uçağı düşürdü"),
    ("Şirket kârını paylaştı", "Şirket kârını açıkladı"),
    # English.
    ("Fed does not cut", "Fed does cut"),
    ("Fed didn't cut", "Fed did cut"),
    ("Bulls can't win", "Bulls can win"),
    ("Stock up 5", "Stock 5 up"),
    ("From 10 to 20", "From 20 to 10"),
    ("Q1 profit", "Q2 profit"),
    ("Q1'de kâr", "Q2'de kâr"),
    ("Deal worth more than 5", "Deal worth less than 5"),
    ("Apple buys Samsung", "Samsung buys Apple"),
    ("hisse alımı", "hisse satımı"),
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


def test_the_shipped_horizons_learnt_from_this_form() -> None:
    """Their features are words of the form: other rules, and the weights have to be made anew."""
    assert shipped("horizon", "fast").card["headline_form"] == VERSION
