"""Which assets a text moves, by the shipped model."""

from __future__ import annotations

import pytest

from kalibre.language.load import load


@pytest.mark.parametrize(
    ("text", "assets"),
    [
        ("Garanti 250 milyon TL kâr açıkladı", ["GARAN"]),
        ("Aselsan 5 milyon dolarlık sözleşme imzaladı", ["ASELS"]),
        ("Dolar 45 lirayı aştı", ["USD"]),
    ],
)
def test_the_unit_of_an_amount_is_no_asset(text: str, assets: list[str]) -> None:
    (one,) = load("sentiment").predict([text])
    assert [asset.asset for asset in one.assets] == assets
