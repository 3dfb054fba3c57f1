"""The comparison counts what it says, and sees what does not come back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from kalibre.core.errors import UsageError
from kalibre.language.tokenizer import comparison
from kalibre.language.tokenizer.comparison import as_table, compare
from kalibre.language.tokenizer.peers import Peer, peer_files
from kalibre.language.tokenizer.training import Trained


class Letters:
    """A token a letter, blanks lost, digits unknown."""

    size = 3

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text if letter != " "]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(map(chr, ids))

    def unknown(self, ids: Iterable[int]) -> int:
        return sum(chr(one).isdigit() for one in ids)


def test_figures_of_a_known_tokenizer(trained: Trained):
    texts = ["ab cd", "x", "1", ""]
    rows = {row.name: row for row in compare(texts, [("letters", Letters()), ("ours", trained.tokenizer)])}
    row = rows["letters"]
    assert row.tokens_per_word == 6 / 4
    assert row.bytes_per_token == 7 / 6
    assert row.unknown == 1
    assert row.round_trip == 3 / 4
    assert row.tokens_per_word_95[0] <= row.tokens_per_word <= row.tokens_per_word_95[1]
    assert rows["ours"].round_trip == 1.0
    assert rows["ours"].unknown == 0


def test_the_fewest_tokens_come_first(trained: Trained):
    rows = as_table(compare(["borsa faiz kur"], [("letters", Letters()), ("ours", trained.tokenizer)]))
    assert [row["name"] for row in rows] == ["ours", "letters"]


def test_texts_without_words_are_refused():
    with pytest.raises(UsageError, match="hold no word"):
        compare([" ", ""], [("letters", Letters())])


def test_peers_are_listed_once_and_load():
    files = peer_files()
    assert len(files) > 20
    assert "deepseek-v3" in files
    name, paths = next(iter(files.items()))
    assert isinstance(paths[0], Path)
    from kalibre.language.tokenizer.peers import peers

    found, peer = next(iter(peers()))
    assert found == name
    assert isinstance(peer, Peer)
    assert peer.decode(peer.encode("Borsa \ud800 2023")) == "Borsa ? 2023"
    assert peer.unknown(peer.encode("çğı")) == 0


def test_many_texts_cost_little_memory(monkeypatch: pytest.MonkeyPatch):
    import tracemalloc

    class Letters:
        size = 1

        def encode(self, text: str) -> list[int]:
            return [0] * len(text)

        def decode(self, ids: Iterable[int]) -> str:
            return "a"

        def unknown(self, ids: Iterable[int]) -> int:
            return 0

    monkeypatch.setattr(comparison, "_RESAMPLES", 200)
    tracemalloc.start()
    (row,) = compare(["a"] * 20_000, [("letters", Letters())])
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()
    assert row.tokens_per_word_95 == (1.0, 1.0)
