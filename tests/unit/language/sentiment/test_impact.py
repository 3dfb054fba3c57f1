"""Which assets a text moves, by the shipped model."""

from __future__ import annotations

import pytest

from kalibre.language.load import load
from kalibre.language.sentiment.directions import read
from kalibre.language.sentiment.impact import assets_of, focused
from kalibre.language.sentiment.lexicon import TURKISH


@pytest.mark.parametrize(
    ("text", "assets"),
    [
        ("Garanti 250 milyon TL kâr açıkladı", ["GARAN"]),
        ("Aselsan 5 milyon dolarlık sözleşme imzaladı", ["ASELS"]),
        ("Dolar 45 lirayı aştı", ["USD"]),
        ("Aselsan 5 milyar Türk lirası kredi aldı", ["ASELS"]),
    ],
)
def test_the_unit_of_an_amount_is_no_asset(text: str, assets: list[str]) -> None:
    (one,) = load("sentiment").predict([text])
    assert [asset.asset for asset in one.assets] == assets


@pytest.mark.parametrize(
    ("text", "up", "down"),
    [
        ("Dolar düştü, altın yükseldi", "XAU", "USD"),
        ("Altın yükseldi, dolar düştü", "XAU", "USD"),
        ("Dolar yükseldi altın düştü", "USD", "XAU"),
        ("Borsa İstanbul düşerken altın rekor kırdı", "XAU", "BIST100"),
        ("Altın fiyatları düşerken dolar kuru zirveyi gördü", "USD", "XAU"),
        ("Bitcoin çöktü, Ethereum yükseldi", "ETH", "BTC"),
        ("THYAO yükseldi, GARAN düştü", "THYAO", "GARAN"),
        ("Akbank'ın kârı arttı, Garanti'nin kârı düştü", "AKBNK", "GARAN"),
        ("Banka hisseleri yükseldi, New York borsası düştü", "SECTOR:banka", "SPX"),
        ("Euro, dolar karşısında değer kazandı", "EUR", "USD"),
        ("Dolar euro karşısında geriledi", "EUR", "USD"),
        ("Türk lirası dolara karşı güçlendi", "TRY", "USD"),
        ("Euro falls against the dollar", "USD", "EUR"),
        ("Gold rises while dollar falls", "XAU", "USD"),
        ("Dollar falls, gold rises", "XAU", "USD"),
    ],
)
def test_two_assets_part_and_the_first_gives_the_direction(text: str, up: str, down: str) -> None:
    (said,) = load("sentiment").predict([text])
    impacts = {one.asset: one.impact for one in said.assets}
    assert impacts[up] > 0 > impacts[down]
    assert said.probabilities is not None
    first = impacts[said.assets[0].asset]
    assert (said.probabilities[2] - said.probabilities[0]) * first > 0
    assert said.label != ("negative" if first > 0 else "positive")
    clause = text.index(",") if ", " in text and "karşısında" not in text else len(text)
    assert all(one.start <= clause for one in said.reasons)


def test_only_what_parts_is_cut() -> None:
    for text in ("Dolar ve altın yükseldi", "Borsa güne düşüşle başladı, kayıplar arttı", "😀", ""):
        assert focused(text, read(text, TURKISH)) == text
    note = "Dolar düştü, altın yükseldi. " * 20
    assert focused(note, read(note, TURKISH)) == note
    text = "Dolar düştü, altın yükseldi"
    assert focused(text, read(text, TURKISH)) == "Dolar düştü" + " " * (len(text) - len("Dolar düştü"))


@pytest.mark.parametrize(
    ("text", "asset"),
    [
        ("Asya borsaları haftaya düşüşle başladı", "OTHER:Asya borsaları"),
        ("New York borsası yükseldi", "SPX"),
        ("Tokyo borsasında sert düşüş", "NKY"),
        ("Borsa İstanbul yükseldi", "BIST100"),
        ("Bankacılık hisseleri yükseldi", "SECTOR:banka"),
        ("Gıda ve perakende hisselerinde satış", "SECTOR:gıda"),
        ("Doğal gaz fiyatları arttı", "NATGAS"),
        ("Apple hisseleri düştü", "AAPL"),
        ("Apple shares fall after results", "AAPL"),
        ("US stocks rally", "SPX"),
        ("Türk lirası değer kaybetti", "TRY"),
    ],
)
def test_what_is_not_borsa_istanbul_is_not_taken_for_it(text: str, asset: str) -> None:
    named = [symbol for _, symbol in assets_of(text, read(text, TURKISH))]
    assert named[:1] == [asset]
    assert asset == "BIST100" or "BIST100" not in named
