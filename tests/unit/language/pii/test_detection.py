import pytest

from kalibre.language.pii import KINDS, find, mask

IBAN = "TR330006100519786457841326"


def found(text):
    for one in find(text):
        assert text[one.start : one.end] == one.text
    return [(one.kind, one.text) for one in find(text)]


@pytest.mark.parametrize(
    ("text", "kind", "piece"),
    [
        ("TCKN: 10000000146", "TCKN", "10000000146"),
        ("T.C. kimlik no 100 000 001 46'dır", "TCKN", "100 000 001 46"),
        ("başvuran 10000000146 numaralı kişi", "TCKN", "10000000146"),
        ("vergi no: 4540536920", "VKN", "4540536920"),
        ("Kadıköy V.D. 4540536920", "VKN", "4540536920"),
        ("4540536920 vergi kimlik numaralı şirket", "VKN", "4540536920"),
        (f"IBAN {IBAN}'ya", "IBAN", IBAN),
        ("TR33 0006 1005 1978 6457 8413 26", "IBAN", "TR33 0006 1005 1978 6457 8413 26"),
        ("tr33 0006 1005 1978 6457 8413 26", "IBAN", "tr33 0006 1005 1978 6457 8413 26"),
        ("DE89 3704 0044 0532 0130 00 hesabı", "IBAN", "DE89 3704 0044 0532 0130 00"),
        ("kart 4111 1111 1111 1111", "CARD", "4111 1111 1111 1111"),
        ("4111-1111-1111-1111", "CARD", "4111-1111-1111-1111"),
        ("Troy: 9792030394440796", "CARD", "9792030394440796"),
        ("3782 822463 10005 amex", "CARD", "3782 822463 10005"),
        ("0532 123 45 67", "PHONE", "0532 123 45 67"),
        ("(0532) 123 45 67", "PHONE", "(0532) 123 45 67"),
        ("05321234567", "PHONE", "05321234567"),
        ("+90 532 123 45 67", "PHONE", "+90 532 123 45 67"),
        ("+905321234567'yi", "PHONE", "+905321234567"),
        ("0 532 123 4567", "PHONE", "0 532 123 4567"),
        ("0212 555 44 33", "PHONE", "0212 555 44 33"),
        ("0.532.123.45.67", "PHONE", "0.532.123.45.67"),
        ("532 123 45 67", "PHONE", "532 123 45 67"),
        ("cep: 5321234567", "PHONE", "5321234567"),
        ("tel 444 0 333", "PHONE", "444 0 333"),
        ("+49 30 901820 Berlin", "PHONE", "+49 30 901820"),
        ("ali.veli@ornek.com.tr'ye", "EMAIL", "ali.veli@ornek.com.tr"),
        ("ali [at] ornek [dot] com", "EMAIL", "ali [at] ornek [dot] com"),
        ("34 ABC 123 plakalı", "PLATE", "34 ABC 123"),
        ("34ABC123", "PLATE", "34ABC123"),
        ("plaka 06 tl 1903", "PLATE", "06 tl 1903"),
        ("sağ ol @ali_veli!", "HANDLE", "@ali_veli"),
    ],
)
def test_what_is_there_is_found(text, kind, piece):
    assert found(text) == [(kind, piece)]


@pytest.mark.parametrize(
    "text",
    [
        "TCKN 10000000147",
        "TCKN 00000000146",
        "sipariş no 10000000146",
        "takip numarası: 4111111111111111",
        "kart 4111 1111 1111 1112",
        "1234 5678 1234 5670",
        "vergi no 4540536921",
        "4540536920",
        "fatura no 4540536920",
        "TR33 0006 1005 1978 6457 8413 27",
        "ISIN TRATHYAO91M5",
        "6698 sayılı Kanun, 213 sayılı VUK",
        "1.234.567.890 TL ve 532.123.456 TL",
        "14.05.2023 10:30, 2023-05-14",
        "50 TL 100, 20 KG 300, 12 MAY 23, 10 GB 512",
        "5321234567 adet",
        "Geçen ay 21 bin 244 otomobil satıldı",
        "33 bin 410 araç üretildi",
        "0532 123 45",
        "@ 5 TL, @1, a@b",
        "Endeks 9.850,55 puan; 3Ç22 2.500.000.000",
        "8690504123456 barkod",
        "",
    ],
)
def test_what_only_looks_like_it_is_left(text):
    assert found(text) == []


def test_a_word_speaks_of_the_nearest_number_only():
    assert found("sipariş no 20231, TCKN 10000000146") == [("TCKN", "10000000146")]
    assert found("sipariş no 202311, 10000000146") == [("TCKN", "10000000146")]
    assert found("TCKN 10000000146, sipariş no 10000000146") == [("TCKN", "10000000146")]


def test_lists_are_found_whole():
    cards = "4111 1111 1111 1111 5500 0000 0000 0004 4111 1111 1111 1111"
    assert [kind for kind, _ in found(cards)] == ["CARD"] * 3
    assert len(found("34ABC123 06BJK190 35 AB 123")) == 3


def test_only_the_kinds_asked_for():
    text = "ali@ornek.com 0532 123 45 67"
    assert [one.kind for one in find(text, ("PHONE",))] == ["PHONE"]
    assert find(text, ()) == []
    assert set(KINDS) == {"TCKN", "VKN", "IBAN", "CARD", "PHONE", "EMAIL", "PLATE", "HANDLE"}


@pytest.mark.parametrize(
    ("text", "kind", "piece"),
    [
        ("TCKN １０００００００１４６", "TCKN", "１０００００００１４６"),
        ("TCKN ١٠٠٠٠٠٠٠١٤٧ değil, TCKN ١٠٠٠٠٠٠٠١٤٦", "TCKN", "١٠٠٠٠٠٠٠١٤٦"),
        ("TCKN 10000\u200b000146", "TCKN", "10000\u200b000146"),
        ("tel ０５３２ １２３ ４５ ６７", "PHONE", "０５３２ １２３ ４５ ６７"),
        ("yaz: ali＠ornek.com", "EMAIL", "ali＠ornek.com"),
        ("yaz: a\u00adli@\u2060ornek.com", "EMAIL", "a\u00adli@\u2060ornek.com"),
        ("IBAN T\u200dR33 0006 1005 1978 6457 8413 26.", "IBAN", "T\u200dR33 0006 1005 1978 6457 8413 26"),
    ],
)
def test_other_digits_and_hidden_marks_hide_nothing(text, kind, piece):
    assert found(text) == [(kind, piece)]
    assert piece not in mask(text).text
    assert find(mask(text).text) == []
