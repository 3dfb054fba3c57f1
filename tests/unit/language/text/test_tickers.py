import pytest

from kalibre.language.text.assets import assets, link
from kalibre.language.text.tickers import find_tickers


def symbols(text):
    for one in find_tickers(text):
        assert text[one.start : one.end] == one.text
    return [(one.text, one.symbol) for one in find_tickers(text)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("THYAO'nun", [("THYAO", "THYAO")]),
        ("THYAO’NUN", [("THYAO", "THYAO")]),
        ("THYAOnun ve AKBNKta", [("THYAO", "THYAO"), ("AKBNK", "AKBNK")]),
        ("GARAN.IS'in", [("GARAN", "GARAN")]),
        ("BIST:THYAO", [("THYAO", "THYAO")]),
        ("[akbnk] güçlü", [("akbnk", "AKBNK")]),
        ("(thyao)", [("thyao", "THYAO")]),
        ("[THY] uçtu", [("THY", "THYAO")]),
        ("#thyao $BTC", [("thyao", "THYAO"), ("BTC", "BTC")]),
        ("BTC/USDT, ETHUSDT", [("BTC", "BTC"), ("ETH", "ETH")]),
        ("BIST 100, BIST-30'da, BİST100", [("BIST 100", "BIST100"), ("BIST-30", "BIST30"), ("BİST100", "BIST100")]),
        ("XU100 ve XBANK", [("XU100", "BIST100"), ("XBANK", "XBANK")]),
        ("ASELS,MGROS,HEDEF 4Ç22", [("ASELS", "ASELS"), ("MGROS", "MGROS"), ("HEDEF", "HEDEF")]),
        ("MAVI hissesi arttı", [("MAVI", "MAVI")]),
        ("MAVI'nin kârı arttı", [("MAVI", "MAVI")]),
        ("SOL coin", [("SOL", "SOL")]),
        ("A1CAP", [("A1CAP", "A1CAP")]),
    ],
)
def test_codes(text, found):
    assert symbols(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "HEDEF FİYAT AÇIKLANDI",
        "MAVİ GÖZLÜ KONYA LOGO INFO",
        "SOL kolu, DOT matrisi, LINK verdi",
        "ABD, AB, TCMB, IMF, TL, USD/TRY, FAVÖK, GYO",
        "thyao alınır, Garanti satılır",
        "THYAOX, XTHYAO, THYAO2, a.THYAO@b.com",
        "(hedef) (link) (near)",
        "BIST 1000, BIST yükseldi",
        "#hedef #konya",
        "",
    ],
)
def test_no_codes(text):
    assert symbols(text) == []


@pytest.mark.parametrize(
    ("name", "symbol"),
    [
        ("Türk Hava Yolları A.O.", "THYAO"),
        ("TÜRK HAVA YOLLARI", "THYAO"),
        ("turk hava yollari", "THYAO"),
        ("THY'nin", "THYAO"),
        ("Tüpraş’ın", "TUPRS"),
        ("Ereğli Demir ve Çelik Fabrikaları T.A.Ş.", "EREGL"),
        ("Yapı ve Kredi Bankası A.Ş.", "YKBNK"),
        ("Emlak Konut Gayrimenkul Yatırım Ortaklığı A.Ş.", "EKGYO"),
        ("İş Bankası'ndan", "ISCTR"),
        ("BİM", "BIMAS"),
        ("bitkoin", "BTC"),
        ("bitcoinin", "BTC"),
        ("Chainlink", "LINK-COIN"),
        ("BIST 100", "BIST100"),
        ("S&P 500", "SPX"),
        ("ons altın", "XAU"),
        ("dolar", "USD"),
        ("Brent petrol", "BRENT"),
    ],
)
def test_names_are_linked(name, symbol):
    assert link(name) == symbol


@pytest.mark.parametrize("name", ["", "x", "Kaya Tarım", "Merkez Bankası", "A.Ş.", "Holding", "banka", "'", "a" * 500])
def test_strange_names_are_not_linked(name):
    assert link(name) is None


def test_the_table():
    table = assets()
    kinds = [asset.kind for asset in table.values()]
    assert kinds.count("share") >= 500
    assert kinds.count("coin") >= 50
    assert all(asset.names and all(name.strip() == name and name for name in asset.names) for asset in table.values())
    assert all(symbol.isascii() and symbol == symbol.upper() for symbol in table)


def test_no_name_stands_for_two():
    seen: dict[str, str] = {}
    for asset in assets().values():
        for name in asset.names:
            assert seen.setdefault(name, asset.symbol) == asset.symbol
            assert link(name) == asset.symbol


@pytest.mark.real_data
def test_every_share_of_the_shared_prices_is_known():
    from pathlib import Path

    import polars as pl

    file = Path(__file__).parents[4].parent / "shared/data/market/bist/bist92_daily_2021_2025-06.parquet"
    if not file.is_file():
        pytest.skip(f"{file.name} is absent")
    assert set(pl.read_parquet(file)["ticker"].unique()) <= set(assets())


@pytest.mark.parametrize(
    ("name", "symbol"),
    [("GARAN.IS", "GARAN"), ("thyao.is", "THYAO"), ("AKBNK.E", "AKBNK"), ("USD.IS", None), ("X.IS", None)],
)
def test_codes_as_data_vendors_write_them_are_linked(name, symbol):
    assert link(name) == symbol
