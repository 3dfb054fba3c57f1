from decimal import Decimal

import pytest

from kalibre.language.text.numbers import iterate, parse_figure


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.250,50", "1250.50"), ("1,250.50", "1250.50"), ("1.950", "1950"), ("12.950.000", "12950000"), ("2.5", "2.5"),
        ("2,5", "2.5"), ("0.400", "0.400"), ("0,400", "0.400"), ("1,250,000", "1250000"), ("7", "7"),
        ("1,950", "1.950"),
    ],
)  # fmt: skip
def test_figures(text, value):
    assert parse_figure(text) == Decimal(value)


def test_a_dollar_price_may_group_with_a_comma():
    assert parse_figure("1,950", english=True) == 1950


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("2,5 milyar", [("2,5 milyar", 2.5e9)]),
        ("10 bin 500", [("10 bin 500", 10500)]),
        ("2 milyar 350 milyon", [("2 milyar 350 milyon", 2.35e9)]),
        ("1 trilyon 200 milyar 300 milyon 12 bin", [("1 trilyon 200 milyar 300 milyon 12 bin", 1200300012000)]),
        ("bin milyar", [("bin", 1000)]),
        ("iki buçuk milyon", [("iki buçuk milyon", 2.5e6)]),
        ("yarım milyon", [("yarım milyon", 5e5)]),
        ("onbeş bin", [("onbeş bin", 15000)]),
        ("iki bin yirmi üç", [("iki bin yirmi üç", 2023)]),
        ("sıfır virgül beş", [("sıfır virgül beş", 0.5)]),
        ("bin beş yüz", [("bin beş yüz", 1500)]),
        ("yüz elli", [("yüz elli", 150)]),
        ("100mn", [("100mn", 1e8)]),
        ("2,5mlr", [("2,5mlr", 2.5e9)]),
        ("5 10", [("5", 5), ("10", 10)]),
        ("beş on", [("beş", 5), ("on", 10)]),
        ("1000 2000 3000", [("1000", 1000), ("2000", 2000), ("3000", 3000)]),
        ("milyon dolarlık", []),
        ("milyonlarca, onlar, birlik, yüzde", []),
        ("14.05.2023 ve v1.2.3", []),
    ],
)
def test_numbers_in_running_text(text, found):
    assert [(text[one.start : one.end], float(one.value)) for one in iterate(text)] == found
