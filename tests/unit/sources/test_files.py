"""Whole files: dialects, encodings, headings, and what a wrong file is told."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.fakes.exchange_listener import random_market

from kalibre.core.bars import Bar, Bars, concat
from kalibre.core.clock import ManualClock
from kalibre.core.errors import SourceError, SourceFormatError, UnknownSymbolError, UsageError
from kalibre.sources import open_source

INVESTING_TR = """"Tarih","Şimdi","Açılış","Yüksek","Düşük","Hac.","Fark %"
"30.06.2025","1.283,50","1.269,25","1.284,00","1.268,50","60,84M","5,88%"
"27.06.2025","1.267,75","1.265,25","1.269,75","1.263,25","1,2B","0,94%"
"26.06.2025","1.265,25","1.271,75","1.272,75","1.265,00","985,5K","-2,30%"
"""
INVESTING_EN = """"Date","Price","Open","High","Low","Vol.","Change %"
"06/30/2025","1,283.50","1,269.25","1,284.00","1,268.50","60.84M","5.88%"
"06/27/2025","1,267.75","1,265.25","1,269.75","1,263.25","1.2B","0.94%"
"06/26/2025","1,265.25","1,271.75","1,272.75","1,265.00","985.5K","-2.30%"
"""
DAY = 86_400_000


def day(number: int) -> int:
    return int(datetime(2025, 6, number, tzinfo=UTC).timestamp() * 1_000)


EXPECTED = [
    Bar(open_time=day(26), open=1271.75, high=1272.75, low=1265.0, close=1265.25, volume=985_500.0),
    Bar(open_time=day(27), open=1265.25, high=1269.75, low=1263.25, close=1267.75, volume=1_200_000_000.0),
    Bar(open_time=day(30), open=1269.25, high=1284.0, low=1268.5, close=1283.5, volume=60_840_000.0),
]


def read(path: Path, symbol: str = "THYAO", timeframe: str = "1d", **options: Any) -> Bars:
    return concat(list(open_source("files", path=path, **options).history(symbol, timeframe)))


def save(folder: Path, text: str, *, name: str = "THYAO.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1254", "utf-16"])
def test_the_turkish_dialect_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    assert list(read(save(tmp_path, INVESTING_TR, encoding=encoding))) == EXPECTED


def test_the_english_dialect_is_the_same_history(tmp_path: Path) -> None:
    assert list(read(save(tmp_path, INVESTING_EN))) == EXPECTED


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_other_delimiters_with_crlf_and_blank_lines(tmp_path: Path, delimiter: str) -> None:
    lines = [line.strip('"').replace('","', delimiter) for line in INVESTING_TR.splitlines()]
    assert list(read(save(tmp_path, "\r\n".join(["", *lines, "", ""])))) == EXPECTED


def test_headings_without_accents_or_in_capitals(tmp_path: Path) -> None:
    text = INVESTING_TR.replace(
        '"Tarih","Şimdi","Açılış","Yüksek","Düşük","Hac."', "TARİH,SON,ACILIS,YÜKSEK,Dusuk,Hacim"
    )
    assert list(read(save(tmp_path, text))) == EXPECTED


def test_date_and_time_of_day_in_two_columns(tmp_path: Path) -> None:
    text = "<DATE>;<TIME>;<OPEN>;<HIGH>;<LOW>;<CLOSE>;<TICKVOL>\n" + "".join(
        f"2025.06.30;{hour:02}:00;1.5;1.6;1.4;1.55;100\n" for hour in range(3)
    )
    bars = read(save(tmp_path, text), timeframe="1h", timezone="Europe/Istanbul")
    assert bars.open_time.tolist() == [day(30) + (hour - 3) * 3_600_000 for hour in range(3)]


def test_binance_vision_without_headings_in_micro_and_milliseconds(tmp_path: Path) -> None:
    market = random_market("BTCUSDT", 50, start_ms=day(26))
    for scale in (1, 1_000):
        rows = [
            f"{bar.open_time * scale},{bar.open},{bar.high},{bar.low},{bar.close},{bar.volume},"
            f"{(bar.open_time + 59_999) * scale},{bar.quote_volume},{int(bar.trades or 0)},{bar.taker_buy_volume},0,0"
            for bar in market
        ]
        path = save(tmp_path, "\n".join(rows), name="BTCUSDT-1m-2025-06.csv")
        assert list(read(path, "BTCUSDT", "1m")) == list(market)


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_columnar_files_and_freqtrades_names(tmp_path: Path, suffix: str) -> None:
    market = random_market("BTCUSDT", 50, start_ms=day(26), timeframe="5m")
    frame = market.to_frame().select(
        pl.from_epoch("open_time", time_unit="ms").dt.replace_time_zone("UTC").alias("date"),
        *("open", "high", "low", "close", "volume"),
    )
    path = tmp_path / f"BTC_USDT-5m.{suffix}"
    getattr(frame, "write_parquet" if suffix == "parquet" else "write_ipc")(path)
    assert read(path, "BTC/USDT", "5m").close.tolist() == market.close.tolist()


def test_a_folder_joins_the_files_of_a_series_and_of_no_other(tmp_path: Path) -> None:
    market = random_market("BTCUSDT", 90, start_ms=day(26))
    for number in range(3):
        market[number * 30 : number * 30 + 30].to_frame().write_csv(tmp_path / f"BTCUSDT-1m-2025-0{3 - number}.csv")
    market[:5].to_frame().write_csv(tmp_path / "BTCUSDT-5m-2025-01.csv")
    market[:5].to_frame().write_csv(tmp_path / "ETHUSDT-1m-2025-01.csv")
    (tmp_path / "notes.txt").write_text("no bars")
    assert list(read(tmp_path, "BTCUSDT", "1m")) == list(market)
    with pytest.raises(UnknownSymbolError, match=r"'XRPUSDT'.*BTCUSDT, ETHUSDT"):
        read(tmp_path, "XRPUSDT", "1m")


def test_several_symbols_in_one_file_and_lines_are_quoted_by_their_place_in_it(tmp_path: Path) -> None:
    text = "sembol;tarih;acilis;yuksek;dusuk;kapanis;hacim\n" + "".join(
        f"{symbol};{number}.06.2025;1,5;1,6;1,4;1,5{index};100\n"
        for number in (25, 26, 27)
        for index, symbol in enumerate(("THYAO", "GARAN"))
    )
    path = save(tmp_path, text, name="hisseler.csv")
    assert read(path, "GARAN").close.tolist() == [1.51] * 3
    assert read(path, "THYAO").close.tolist() == [1.50] * 3
    with pytest.raises(UnknownSymbolError, match=r"'AKBNK'.*GARAN, THYAO"):
        read(path, "AKBNK")
    path = save(tmp_path, text.replace("27.06.2025;1,5;1,6;1,4;1,51", "27.06.2025;1,5;oops;1,4;1,51"), name="x.csv")
    with pytest.raises(SourceFormatError, match=r"'oops'.*line 7.*GARAN"):
        read(path, "GARAN")


def test_own_headings_are_named_by_the_option(tmp_path: Path) -> None:
    path = save(tmp_path, INVESTING_TR.replace("Şimdi", "Uzlaşma"))
    with pytest.raises(SourceFormatError, match=r"no column for close.*'Uzlaşma'.*columns ="):
        read(path)
    assert list(read(path, columns={"close": "Uzlaşma"})) == EXPECTED
    with pytest.raises(UsageError, match="no 'Kapanma'"):
        read(path, columns={"close": "Kapanma"})
    with pytest.raises(UsageError, match="'clse' is no column"):
        read(path, columns={"clse": "Uzlaşma"})


def test_the_bar_that_is_still_open_is_left_out_and_a_later_one_is_not_hidden(tmp_path: Path) -> None:
    path = save(tmp_path, INVESTING_TR)
    noon = ManualClock(day(27) + DAY // 2)
    assert [bar.open_time for bar in read(path, clock=noon)] == [day(26), day(30)]


def test_doubles_and_bad_values_are_passed_on_for_the_checks_to_judge(tmp_path: Path) -> None:
    rows = "2025-06-26,1.5,1.2,1.6,,-3", "2025-06-26,1.5,2,1,1.5,3", "2025-06-27,1,2,1,1.5,3"
    bars = read(save(tmp_path, "\n".join(["date,open,high,low,close,volume", *rows])))
    assert bars.open_time.tolist() == [day(26), day(26), day(27)]
    assert (bars.high[0], bars.low[0], bars.volume[0]) == (1.2, 1.6, -3.0)
    assert bars.close[0] != bars.close[0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", r"'THYAO\.csv' is empty \(0 bytes\)"),
        ("\n \n", "no line with text"),
        ("Tarih;Son;Açılış;Yüksek;Düşük;Hac.\n", "not one bar"),
        ("<html><body>404 Not Found</body></html>", r"no line of headings.*404 Not Found"),
        ("a,b,c\n1,2,3\n", r"no line of headings.*'a,b,c'"),
        ("date,open,high,low,close\n2025-06-26,1,2,1,1.5\n", "no column for volume"),
        (
            "date,open,high,low,close,volume\n2025-06-26,1,2,1,1.5,3\n2025-06-27,1,2\n",
            r"line 3 has 3 cells.*2025-06-27,1,2",
        ),
        ("date,open,high,low,close,volume\n2025-06-26,1,2,1,1.5,3,4\n", "line 2 has 7 cells"),
        ("date,open,high,low,close,volume\n2025-06-26,1,2,x1,1.5,3\n", r"'x1' in 'low'.*line 2"),
        ("date,open,high,low,close,volume\nsoon,1,2,1,1.5,3\n", r"'soon'.*line 2"),
        ("Tarih;Son;Açılış;Yüksek;Düşük;Hacim\n30.06.2025;1.234;1.234;1.234;1.234;5\n", r"two ways.*line 2.*decimal"),
        (
            "Tarih;Son;Açılış;Yüksek;Düşük;Hacim\n03.06.2025;1,5;1,5;1,5;1,5;5\n",
            r"day or the month.*line 2.*date_order",
        ),
    ],
)
def test_a_wrong_file_is_refused_and_quoted(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(SourceFormatError, match=words):
        read(save(tmp_path, text))


def test_a_wrong_dialect_is_refused_and_quoted(tmp_path: Path) -> None:
    with pytest.raises(SourceFormatError, match=r"no number with a decimal point.*line 2"):
        read(save(tmp_path, INVESTING_TR), dialect="en")
    with pytest.raises(SourceFormatError, match=r"no number with a decimal comma.*line 2"):
        read(save(tmp_path, INVESTING_EN), dialect="tr")
    with pytest.raises(SourceFormatError, match=r"does not exist.*line 2"):
        read(save(tmp_path, INVESTING_EN), date_order="dmy")


def test_the_option_settles_what_the_file_leaves_open(tmp_path: Path) -> None:
    text = "Tarih;Son;Açılış;Yüksek;Düşük;Hacim\n03.06.2025;1.234;1.234;1.234;1.234;5\n"
    assert read(save(tmp_path, text), dialect="tr").close.tolist() == [1234.0]
    assert read(save(tmp_path, text), decimal=".", date_order="mdy").close.tolist() == [1.234]
    assert read(save(tmp_path, text), dialect="tr").open_time.tolist() == [day(3)]


@pytest.mark.parametrize("name", ["THYAO.csv", "THYAO.parquet", "THYAO.feather"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR" * 20)
    with pytest.raises(SourceFormatError, match="PNG"):
        read(path)


def test_a_truncated_parquet_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "THYAO.parquet"
    random_market("THYAO", 500).to_frame().write_parquet(path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(SourceFormatError, match="no Parquet file"):
        read(path)


def test_a_named_symbol_wins_over_the_files_name_and_a_nameless_file_takes_any(tmp_path: Path) -> None:
    assert len(read(save(tmp_path, INVESTING_TR, name="bars.csv"), "ANY")) == 3
    path = save(tmp_path, INVESTING_TR, name="THYAO_daily.csv")
    with pytest.raises(UnknownSymbolError, match=r"'GARAN'.*THYAO_daily\.csv.*of THYAO"):
        read(path, "GARAN")
    renamed = open_source("files", path=path, symbol="GARAN")
    assert sum(map(len, renamed.history("GARAN", "1d"))) == 3


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    path = save(tmp_path, INVESTING_TR)
    source = open_source("files", path=path)
    assert sum(map(len, source.history("THYAO", "1d"))) == 3
    save(tmp_path, "\n".join(INVESTING_TR.splitlines()[:3]))
    assert sum(map(len, source.history("THYAO", "1d"))) == 2


def test_options_and_paths_that_are_none(tmp_path: Path) -> None:
    path = save(tmp_path, INVESTING_TR)
    for options, words in (
        ({"dialect": "de"}, "'de'"),
        ({"decimal": ";"}, "';'"),
        ({"encoding": "latin-99"}, "'latin-99'"),
    ):
        with pytest.raises(UsageError, match=words):
            read(path, **options)
    with pytest.raises(UsageError, match=r"'.*nowhere\.csv' is not there"):
        read(tmp_path / "nowhere.csv")
    with pytest.raises(SourceFormatError, match="option encoding"):
        read(save(tmp_path, INVESTING_TR, encoding="cp1254"), encoding="utf-8")
    source = open_source("files", path=path)
    path.unlink()
    with pytest.raises(SourceError, match="cannot be read"):
        list(source.history("THYAO", "1d"))


@pytest.mark.real_data
def test_real_sets(shared_data: Path) -> None:
    market = shared_data / "market"
    turkish = read(market / "bist" / "THYAO_investing_tr_to_2025-06.csv")
    table = read(market / "bist" / "bist92_daily_2021_2025-06.parquet")
    assert len(turkish) == 1_120
    assert turkish[-1].close == 283.5
    last = min(int(turkish.open_time[-1]), int(table.open_time[-1]))
    volume = {bar.open_time: bar.volume for bar in table}
    # Two publishers of one exchange: the volume of the last common day agrees to the rounding of `60,84M`.
    assert {bar.open_time: bar.volume for bar in turkish}[last] == pytest.approx(volume[last], rel=1e-3)
    year = read(market / "crypto" / "BTCUSDT_spot_15m_2024.parquet", "BTCUSDT", "15m")
    assert (len(year), year.trades is not None) == (34_945, True)
    year.check()
