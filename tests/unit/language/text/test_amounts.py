from decimal import Decimal

import pytest

from kalibre.language.text.amounts import find_amounts


def found(text):
    for one in find_amounts(text):
        assert text[one.start : one.end] == one.text
    return [(one.text, one.type) for one in find_amounts(text)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Kâr 2,5 milyar TL'ye çıktı", "2,5 milyar TL"),
        ("Hisse 18,50 liraya indi", "18,50 lira"),
        ("Tam 10 milyon doların hesabı", "10 milyon dolar"),
        ("10 milyon dolarlık sözleşme", "10 milyon dolar"),
        ("100 bin ABD dolarının karşılığı", "100 bin ABD doları"),
        ("5 milyon Türk Lirası'na", "5 milyon Türk Lirası"),
        ("3 İsviçre frangına", "3 İsviçre frangı"),
        ("40 Japon yenine", "40 Japon yeni"),
        ("300 milyon euro", "300 milyon euro"),
        ("Fiyatı $40'a geldi", "$40"),
        ("Bedel €1,5 milyona bağlandı", "€1,5 milyon"),
        ("EUR 300 milyon kredi", "EUR 300 milyon"),
        ("10-12 milyon TL arası", "10-12 milyon TL"),
        ("10 ila 12 milyon lira", "10 ila 12 milyon lira"),
        ("$40-$45 bandı", "$40-$45"),
        ("5 lira 50 kuruş", "5 lira 50 kuruş"),
        ("iki buçuk milyon euroluk", "iki buçuk milyon euro"),
        ("bin 500 TL", "bin 500 TL"),
        ("yaklaşık 100mn TL", "100mn TL"),
        ("980 milyonTL halka arz", "980 milyonTL"),
        ("zarar -5 milyon TL oldu", "-5 milyon TL"),
        ("ons 1.950 dolar/ons", "1.950 dolar"),
        ("40 MİLYON DOLAR", "40 MİLYON DOLAR"),
        ("50 TL.", "50 TL"),
    ],
)
def test_money(text, name):
    assert found(text) == [(name, "MONEY")]


@pytest.mark.parametrize(
    "text",
    [
        "USD/TRY 18,50 seviyesinde",
        "dolar/TL 18,60",
        "EUR/USD paritesi 1,05",
        "1,05 EUR/USD",
        "endeks 9.850 puana çıktı",
        "50 baz puan indirim",
        "3 yeni ürün ve 5 yenilik",
        "birkaç milyon dolar",
        "milyonlarca lira",
        "1.250 adet sattı",
        "kısa vadede, şu anda, son dönemde",
        "dünya genelinde pazar payı",
        "ara verdi, ekim yaptı, ocakta pişti",
        "Nisan Yılmaz ve Wal-Mart",
        "2000 puan, 1950 seviyesi, 2023 adet",
        "Madde 14. ve 5.3.2 sürümü",
        "",
    ],
)
def test_none(text):
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("%4,5 arttı", "%4,5", "4.5"),
        ("yüzde 5'lik artış", "yüzde 5", "5"),
        ("Yüzde 4,5'e indi", "Yüzde 4,5", "4.5"),
        ("% 0.4 geriledi", "% 0.4", "0.4"),
        ("getiri -%2", "-%2", "-2"),
        ("getiri %-3.5", "%-3.5", "-3.5"),
        ("5% arttı", "5%", "5"),
        ("yüzde on beş buçuk", "yüzde on beş buçuk", "15.5"),
        ("yüzde yüz", "yüzde yüz", "100"),
        ("yüzde sıfır virgül beş", "yüzde sıfır virgül beş", "0.5"),
        ("%25 bin kişide", "%25", "25"),
        ("yüzde 5-6 bandı", "yüzde 5-6", "5"),
        ("%5-%7", "%5-%7", "5"),
    ],
)
def test_percentages(text, name, value):
    (one,) = find_amounts(text)
    assert (one.text, one.type, one.value) == (name, "PERCENT", Decimal(value))


@pytest.mark.parametrize(
    ("text", "name", "iso"),
    [
        ("14 Mayıs 2023'te", "14 Mayıs 2023", "2023-05-14"),
        ("14 Mayıs'ta", "14 Mayıs", "--05-14"),
        ("14 Mayıs 2023 Pazar günü", "14 Mayıs 2023 Pazar günü", "2023-05-14"),
        ("14-16 Mayıs'ta", "14-16 Mayıs", ""),
        ("31 Haziran 2023", "31 Haziran 2023", ""),
        ("14.05.2023 tarihinde", "14.05.2023", "2023-05-14"),
        ("2023-05-14'te", "2023-05-14", "2023-05-14"),
        ("2023 yılında", "2023 yılı", "2023"),
        ("2023'ün", "2023", "2023"),
        ("2014-2020 döneminde", "2014-2020", ""),
        ("3Ç22'de", "3Ç22", "2022-Q3"),
        ("2022/3Ç bilançosu", "2022/3Ç", "2022-Q3"),
        ("4Ç22T kârı", "4Ç22T", "2022-Q4"),
        ("2022 3. çeyrekte", "2022 3. çeyrek", "2022-Q3"),
        ("2015 yılı birinci çeyreğinde", "2015 yılı birinci çeyreği", "2015-Q1"),
        ("bu yılın ikinci çeyreğinde", "bu yılın ikinci çeyreği", ""),
        ("geçen yılın aynı dönemine göre", "geçen yılın aynı dönemi", ""),
        ("Ocak ayının ilk yarısında", "Ocak ayının ilk yarısı", ""),
        ("Ocak ayında", "Ocak ayı", "--01"),
        ("Mayıs 2023'te", "Mayıs 2023", "2023-05"),
        ("mayısta", "mayıs", "--05"),
        ("fiyat Ekim'de arttı", "Ekim", "--10"),
        ("pazartesi günü", "pazartesi günü", ""),
        ("pazar gününe", "pazar günü", ""),
        ("Cuma gününün ardından", "Cuma günü", ""),
        ("saat 14.00'te", "saat 14.00", "T14:00"),
        ("14:30'da", "14:30", "T14:30"),
        ("bugünkü", "bugün", ""),
        ("dün sabah", "dün sabah", ""),
        ("Dün gece yarısından", "Dün gece yarısı", ""),
        ("geçen haftaki", "geçen hafta", ""),
        ("bir önceki yıla", "bir önceki yıl", ""),
        ("bu sabah", "bu sabah", ""),
        ("üç yıl boyunca", "üç yıl boyunca", ""),
        ("12 aylık", "12 ay", ""),
        ("son 4 yılın", "son 4 yıl", ""),
    ],
)
def test_times(text, name, iso):
    (one,) = find_amounts(text)
    assert (one.text, one.type, one.iso) == (name, "TIME", iso)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("0$0", ["0$"]),
        ("5 $10", ["$10"]),
        ("5$ 10", ["5$"]),
        ("10$20$ 30", ["10$", "20$"]),
        ("5 TL 10 TL", ["5 TL", "10 TL"]),
        ("2 USD 3", ["2 USD"]),
        ("ürün 100 TL 2 adet", ["100 TL"]),
        ("%5 %6", ["%5", "%6"]),
    ],
)
def test_a_currency_belongs_to_one_number(text, pieces):
    assert [one.text for one in find_amounts(text)] == pieces


@pytest.mark.parametrize(
    ("text", "value", "upper", "currency"),
    [
        ("10-12 milyon TL", 10e6, 12e6, "TRY"),
        ("800-900 bin TL", 8e5, 9e5, "TRY"),
        ("900 bin-1 milyon TL", 9e5, 1e6, "TRY"),
        ("$1,950", 1950, None, "USD"),
        ("5 lira 50 kuruş", 5.5, None, "TRY"),
        ("12 kuruş", 0.12, None, "TRY"),
        ("elli sente", 0.5, None, "USD"),
        ("-25 kuruşluk", -0.25, None, "TRY"),
        ("3 İsviçre frangı", 3, None, "CHF"),
        ("£2.5 milyar", 2.5e9, None, "GBP"),
        ("-5 milyon TL", -5e6, None, "TRY"),
    ],
)
def test_what_money_is_worth(text, value, upper, currency):
    (one,) = find_amounts(text)
    assert (float(one.value), None if one.upper is None else float(one.upper), one.currency) == (value, upper, currency)


def test_a_sentence_with_everything():
    text = "THYAO’nun 3Ç22 kârı yüzde 12,5 artışla 1,2 milyar TL’ye çıktı; hisse dün $2,10’dan %-3 ile kapandı."
    assert found(text) == [
        ("3Ç22", "TIME"), ("yüzde 12,5", "PERCENT"), ("1,2 milyar TL", "MONEY"), ("dün", "TIME"), ("$2,10", "MONEY"),
        ("%-3", "PERCENT"),
    ]  # fmt: skip
