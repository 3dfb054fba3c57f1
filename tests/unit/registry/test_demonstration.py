"""The demonstration on a smaller market: the whole way, in Turkish, and no order after the kill."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

from kalibre.cli.demo import _figures, _live, _summary
from kalibre.evaluation.report import Numbers
from kalibre.log import open_log
from kalibre.registry.demonstration import MARKETS, Market, demonstrate, settings_of
from kalibre.registry.demonstration_words import WORDS

SMALL = Market(
    source="simulated",
    symbol="EDGE",
    timeframe="15m",
    calendar="24/7",
    live_bars=192,
    source_options={"market": "edge", "auc": 0.68, "seed": 5, "n_bars": 6_000 + 192},
    settings={"model": {"folds": 2, "rounds": 30, "threshold_pairs": 60}},
)


def fields(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_both_languages_say_the_same_things() -> None:
    english, turkish = WORDS["en"], WORDS["tr"]
    assert english.keys() == turkish.keys()
    for name, text in english.items():
        assert fields(text) == fields(turkish[name]), name
        assert text != turkish[name] or text.isupper() or fields(text), f"{name} is not translated: {text!r}"
    assert {market.symbol for market in MARKETS} <= english.keys()
    for words in (english, turkish):
        labels = [text for text in words.values() if not fields(text)]
        assert len(set(labels)) == len(labels), "rows are known by their label"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


def test_a_market_goes_the_whole_way_in_turkish(home: Path) -> None:
    said: list[str] = []
    outcome = demonstrate(SMALL, home, lang="tr", say=said.append)
    assert said[0] == "EDGE: 6.000 bar denetlendi ve kaydedildi"
    assert [line for line in said if not line.startswith("EDGE: ")] == []
    assert "gölgede çalışıyor" in said[-1], "what 6,000 bars show cannot qualify"
    paper = outcome["paper"]
    assert paper["ledgers"]["challenger"]["fills"] > 0, "in shadow it trades all the same"
    assert paper["orders_before_kill"] > 0
    assert paper["orders_after_kill"] == 0
    with open_log(settings_of(SMALL, home, lang="tr").log_url) as log:
        kill = log.latest("kill")
        assert kill is not None
        assert sum(event.seq > kill.seq for event in log.read(kinds={"bar"})) == paper["bars_after_kill"]
    words, numbers = WORDS["tr"], Numbers("tr")
    figures = _figures(outcome)
    assert (figures["symbol"], figures["qualifies"], figures["paper"]) == ("EDGE", False, paper)
    assert not all(figures["gates"].values())
    rows = _summary(outcome, words, numbers)
    assert rows.items() >= _live(paper, words, numbers).items()
    assert rows[words["verdict"]] == "yeterli model yok"
    assert set(rows) <= set(words.values())
    assert re.fullmatch(r"[\d.]+,\d\d \(\d+ gerçekleşme\)", rows["gölge hesap"])
    assert not re.search(r"\d\.\d{1,2}\b", " ".join(rows.values())), "a decimal comma, in Turkish"
