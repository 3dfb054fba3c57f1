"""Funding rates from files: the shapes people have them in, and what a wrong file is told."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kalibre.bars.funding import fetch_funding, load_funding
from kalibre.core.bars import concat
from kalibre.core.errors import SourceFormatError, UsageError
from kalibre.core.protocols import FundedSource
from kalibre.log import open_log
from kalibre.sources import open_source

START = 1_735_689_600_000
EIGHT_HOURS = 28_800_000
RATES = [(START + EIGHT_HOURS * k + k % 2, [0.0001, -0.000032, 0.0, 6.8e-05][k % 4]) for k in range(12)]
BAR = "time,open,high,low,close,volume\n2025-01-01,1,1,1,1,1\n"


def told(folder: Path, funding: Path, symbol: str = "BTCUSDT", **options: Any) -> list[tuple[int, float]]:
    path = folder / "bars.csv"
    path.write_text(BAR)
    limits = {key: options.pop(key, default) for key, default in (("start_ms", 0), ("end_ms", 2**42))}
    source = open_source("files", path=path, funding_path=funding, **options)
    assert isinstance(source, FundedSource)
    return list(source.funding(symbol, **limits))


def save(folder: Path, text: str, name: str = "BTCUSDT-fundingRate-2025-01.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def lines(head: str, row: str, rates: list[tuple[int, float]] | None = None) -> str:
    return "\n".join([head, *(row.format(t=t, r=r) for t, r in rates or RATES)])


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("calc_time,funding_interval_hours,last_funding_rate", "{t},8,{r:.8f}"),
        ("time,funding_rate", "{t},{r!r}"),
        ("symbol;fundingTime;fundingRate;markPrice", "BTCUSDT;{t};{r:.8f};34287.5"),
        ("open_time\tfunding_rate", "{t}\t{r:.8f}"),
    ],
)
def test_text_as_exchanges_write_it(tmp_path: Path, head: str, row: str) -> None:
    assert told(tmp_path, save(tmp_path, lines(head, row))) == RATES


def test_the_turkish_dialect(tmp_path: Path) -> None:
    text = "Tarih;Fonlama Oranı\n01.01.2025 11:00;0,0001\n31.01.2025 19:00;-0,000032\n"
    rates = told(tmp_path, save(tmp_path, text), timezone="Europe/Istanbul")
    assert rates == [(START + EIGHT_HOURS, 0.0001), (START + 30 * 86_400_000 + 2 * EIGHT_HOURS, -0.000032)]


@pytest.mark.parametrize("suffix", [".parquet", ".feather"])
def test_binary_files_and_newest_first(tmp_path: Path, suffix: str) -> None:
    frame = pl.DataFrame({"open_time": [t for t, _ in RATES[::-1]], "funding_rate": [r for _, r in RATES[::-1]]})
    path = tmp_path / f"BTCUSDT_funding{suffix}"
    frame.write_parquet(path) if suffix == ".parquet" else frame.write_ipc(path)
    assert told(tmp_path, path) == RATES
    assert told(tmp_path, path, start_ms=RATES[3][0], end_ms=RATES[7][0]) == RATES[3:7]


def test_a_folder_gives_each_symbol_its_own_files_in_order_of_time(tmp_path: Path) -> None:
    save(tmp_path, lines("time,rate", "{t},{r:.8f}", RATES[6:]), "BTCUSDT-fundingRate-2025-01a.csv")
    save(tmp_path, lines("time,rate", "{t},{r:.8f}", RATES[:6]), "BTCUSDT-fundingRate-2025-01b.csv")
    save(tmp_path, lines("time,rate", "{t},{r:.8f}", RATES[:1]), "ETHUSDT-fundingRate-2025-01.csv")
    save(tmp_path, BAR, "BTCUSDT-15m.csv")
    assert told(tmp_path, tmp_path) == RATES
    assert told(tmp_path, tmp_path, "ETHUSDT") == RATES[:1]


def test_a_folder_of_bars_leaves_files_of_rates_alone(tmp_path: Path) -> None:
    save(tmp_path, lines("time,rate", "{t},{r:.8f}"), "BTCUSDT-funding.csv")
    save(tmp_path, BAR, "BTCUSDT-bars.csv")
    assert len(concat(list(open_source("files", path=tmp_path).history("BTCUSDT", "1d")))) == 1


def test_a_symbol_without_rates_has_none_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    funding = save(tmp_path, lines("time,rate", "{t},{r:.8f}"))
    with caplog.at_level(logging.WARNING):
        assert told(tmp_path, funding, "ETHUSDT") == []
    assert "no funding rates of ETHUSDT" in caplog.text
    assert "BTCUSDT-fundingRate-2025-01.csv" in caplog.text


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("", "is empty"),
        ("time,funding_rate\n", "not one rate below"),
        ("a,b\n1,2\n", "time,funding_rate on top"),
        ("time,funding_rate\n1735689600000,x\n", "line 2"),
        ("time,funding_rate\n1735689600000,0.01%\n", "line 2"),
        ("time,funding_rate\nyesterday,0.0001\n", "'yesterday'"),
        ("time,funding_rate\n1735689600000\n", "line 2 has 1 cells"),
    ],
)
def test_a_wrong_file_is_quoted(tmp_path: Path, text: str, quoted: str) -> None:
    with pytest.raises(SourceFormatError, match=quoted):
        told(tmp_path, save(tmp_path, text))


def test_missing_files_and_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"funding_path .*nowhere.csv' is not there"):
        told(tmp_path, tmp_path / "nowhere.csv")
    path = save(tmp_path, lines("zeit,satz", "{t},{r:.8f}"))
    named = {"time": "zeit", "funding_rate": "satz"}
    assert told(tmp_path, path, funding_columns=named) == RATES
    with pytest.raises(UsageError, match="'close' is none of them"):
        told(tmp_path, path, funding_columns={**named, "close": "satz"})
    with pytest.raises(UsageError, match=r"no 'kurs'.*choose among"):
        told(tmp_path, path, funding_columns={**named, "symbol": "kurs"})
    frame = pl.DataFrame({"time": [START], "satz": [0.1]})
    frame.write_parquet(tmp_path / "f.parquet")
    with pytest.raises(SourceFormatError, match="no column for funding_rate; it has"):
        told(tmp_path, tmp_path / "f.parquet")


def test_a_blank_rate_reaches_no_log(tmp_path: Path) -> None:
    path = save(tmp_path, "time,funding_rate\n1735689600000,0.0001\n1735718400000,\n")
    (tmp_path / "bars.csv").write_text(BAR)
    source = open_source("files", path=tmp_path / "bars.csv", funding_path=path)
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        with pytest.raises(SourceFormatError, match=r"nan of 2025-01-01 .*1735718400000.*nothing was stored"):
            fetch_funding(log, source, "BTCUSDT", start_ms=START, end_ms=START + 86_400_000)
        assert log.head() == 0


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("symbol", "n_rates"), [("BTCUSDT", 266), ("ETHUSDT", 302), ("SOLUSDT", 266), ("BNBUSDT", 266)]
)
def test_the_real_sets_load_whole(shared_data: Path, tmp_path: Path, symbol: str, n_rates: int) -> None:
    crypto = shared_data / "market" / "crypto"
    funding = crypto / f"{symbol}_perp_funding8h_2025.parquet"
    source = open_source("files", path=crypto / f"{symbol}_perp_15m_2025.parquet", funding_path=funding)
    bars = concat(list(source.history(symbol, "15m")))
    rates = pl.read_parquet(funding)
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        assert len(log.append(fetch_funding(log, source, symbol, start_ms=0, end_ms=2**42), writer="ingest")) == n_rates
        assert fetch_funding(log, source, symbol, start_ms=0, end_ms=2**42, refresh=True) == []
        column = load_funding(log, bars)
    assert column is not None
    spanned = (rates["open_time"] // 1_000 * 1_000 > bars.open_time[0]) & (
        rates["open_time"] // 1_000 * 1_000 <= bars.close_time[-1]
    )
    assert column.sum() == pytest.approx(rates.filter(spanned)["funding_rate"].sum(), rel=1e-12)
    assert {int(time) % 28_800_000 for time in bars.close_time[column != 0]} <= {0}
