import pytest

from kalibre.language.text.tokens import is_suffix, tokenize


def bodies(text):
    return [(token.body, token.suffix) for token in tokenize(text)]


@pytest.mark.parametrize(
    ("word", "body", "suffix"),
    [
        ("THYAO'nun", "THYAO", "'nun"),
        ("THYAO’nun", "THYAO", "’nun"),
        ("TCMB'den", "TCMB", "'den"),
        ("TCMB'DEN", "TCMB", "'DEN"),
        ("Türkiye'dekiler", "Türkiye", "'dekiler"),
        ("AKP'lilerin", "AKP", "'lilerin"),
        ("Moody's'in", "Moody's", "'in"),
        ("O'Neill'ın", "O'Neill", "'ın"),
        ("O'Neill", "O'Neill", ""),
        ("D'ARTAGNAN", "D'ARTAGNAN", ""),
        ("don't", "don't", ""),
        ("Kur'an", "Kur'an", ""),
        ("A.Ş.'nin", "A.Ş.", "'nin"),
        ("S&P'nin", "S&P", "'nin"),
        ("2023'te", "2023", "'te"),
        ("5'inci", "5", "'inci"),
        ("14.30'da", "14.30", "'da"),
        ("3Ç22'de", "3Ç22", "'de"),
        ("a.b@c.com.tr'ye", "a.b@c.com.tr", "'ye"),
        ("@borsaci'nin", "@borsaci", "'nin"),
    ],
)
def test_a_suffix_is_cut_where_it_is_one(word, body, suffix):
    token = tokenize(word)[0]
    assert (token.body, token.suffix) == (body, suffix)
    assert (token.start, token.end, token.text) == (0, len(word), word)


def test_numbers_dates_and_links_stay_whole():
    assert bodies("1.250,50 TL, 14.05.2023 14:30 %3'ü https://kap.org.tr/a?b=1.") == [
        ("1.250,50", ""), ("TL", ""), (",", ""), ("14.05.2023", ""), ("14:30", ""), ("%", ""), ("3", "'ü"),
        ("https://kap.org.tr/a?b=1", ""), (".", ""),
    ]  # fmt: skip
    assert bodies("2,5mlr 100mn 14. USD/TRY") == [
        ("2,5", ""), ("mlr", ""), ("100mn", ""), ("14", ""), (".", ""), ("USD", ""), ("/", ""), ("TRY", ""),
    ]  # fmt: skip


def test_tokens_leave_out_nothing_but_white_space():
    text = "“Kâr” 3Ç22'de\t%12,5 ↑ arttı… 🚀 A.Ş. (bkz. s. 5)\n_x_ €10"
    rest = list(text)
    for token in tokenize(text):
        assert text[token.start : token.end] == token.text
        rest[token.start : token.end] = " " * len(token.text)
    assert not "".join(rest).strip()


@pytest.mark.parametrize("letters", ["nun", "ndan", "ye", "DEKİ", "lerinin", "inci", "daydı", "ninki", "li", "ymiş"])
def test_suffixes(letters):
    assert is_suffix(letters)


@pytest.mark.parametrize("letters", ["s", "t", "re", "ve", "ll", "Neill", "borsa", "x", "nun" * 9])
def test_no_suffixes(letters):
    assert not is_suffix(letters)
