"""Turkish text made clean: what repair of wrong decoding brings and harms beside ftfy, and what language a text is in.

Repair: lines of the shared texts with Turkish letters are damaged as careless programs do (UTF-8 read as Windows-1252,
as Windows-1254, as Latin-1; twice; Latin-5 read as Latin-1), and must come back to the letter. Harm: the same lines
undamaged must stay (a lost dot, `i̇`, is no harm). Beside it ftfy's `fix_encoding` and `fix_text`.

Language: Turkish headlines and news cut to eight words, Turkish headlines full of English names, English headlines,
English sentences out of the documentation of installed packages, headlines in other languages; beside py3langid
(its answer among all its languages). The sets called seen were looked at, more than once, while the rules were
written; the sentences and the cut news were not tuned on (forty of the news were looked at once).

    python -m benchmarks.turkish_text [--quick] [--json]
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import argparse
import importlib
import json
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from benchmarks import _turkish as turkish
from benchmarks._peers import peer_python

from kalibre.language.text.amounts import find_amounts
from kalibre.language.text.language_id import detect
from kalibre.language.text.normal import clean
from kalibre.language.text.tickers import find_tickers
from kalibre.language.text.tokens import tokenize

RESTORED, HARMED, RIGHT, MOST_MS = 0.97, 0.001, 0.97, 20.0
LANGID = "py3langid==0.4.0"
RESAMPLES = 2_000


# --- repair -----------------------------------------------------------------------------------------------------------


def lines(count: int) -> list[str]:
    """Return lines with Turkish letters, as many from each text."""
    rng, found = random.Random(3), []
    names = turkish.corpus_names()
    for name in names:
        pool: list[str] = []
        for document in turkish.corpus(name):
            pool += [one for one in document.split("\n") if 20 < len(one) < 400 and re.search("[şğıİ]", one)]
            if len(pool) > 6_000:
                break
        found += rng.sample(pool, min(len(pool), count // len(names)))
    return found


def read_as(codec: str) -> Callable[[str], str]:
    def damage(text: str) -> str:
        out = []
        for byte in text.encode("utf-8"):
            try:
                out.append(bytes([byte]).decode(codec))
            except UnicodeDecodeError:
                out.append(chr(byte))
        return "".join(out)

    return damage


def latin5(text: str) -> str:
    try:
        return text.encode("iso8859-9").decode("latin-1")
    except UnicodeEncodeError:
        return text  # holds what Latin-5 has not: left out


DAMAGES: dict[str, Callable[[str], str]] = {
    "UTF-8 as Windows-1252": read_as("cp1252"),
    "UTF-8 as Windows-1254": read_as("cp1254"),
    "UTF-8 as Latin-1": read_as("latin-1"),
    "UTF-8 as Windows-1252, twice": lambda text: read_as("cp1252")(read_as("cp1252")(text)),
    "Latin-5 as Latin-1": latin5,
}


def interval(right: Any) -> list[float]:
    rng, values = np.random.default_rng(1), np.asarray(right, float)
    draws = rng.integers(0, len(values), (RESAMPLES, len(values)))
    return [float(one) for one in np.quantile(values[draws].mean(axis=1), [0.025, 0.975])]


def repair(count: int) -> dict[str, Any]:
    import ftfy

    ways: dict[str, Callable[[str], str]] = {
        "kalibre": lambda text: clean(text).text,
        "ftfy.fix_encoding": ftfy.fix_encoding,
        "ftfy.fix_text": ftfy.fix_text,
        "nothing": lambda text: text,
    }
    good = [clean(one).text for one in lines(count)]  # the sets hold some lost dots: these are no damage of ours
    rows: dict[str, Any] = {}
    for name, damage in DAMAGES.items():
        pairs = [(one, damage(one)) for one in good]
        pairs = [(one, bad) for one, bad in pairs if bad != one]
        rows[name] = {way: interval_row([mend(bad) == one for one, bad in pairs]) for way, mend in ways.items()}
    raw = [one.replace("i\u0307", "i") for one in lines(count)]
    rows["harm: good lines changed"] = {
        way: interval_row([mend(one) != one for one in raw]) for way, mend in ways.items()
    }
    return rows


def interval_row(right: list[bool]) -> dict[str, Any]:
    return {"share": float(np.mean(right)), "95": interval(right), "n": len(right)}


# --- language ---------------------------------------------------------------------------------------------------------


def english_sentences(count: int) -> list[str]:
    """Return first sentences of the docstrings of installed packages: English prose that nobody tuned on."""
    found: set[str] = set()
    for name in (
        "numpy",
        "scipy.stats",
        "scipy.signal",
        "sklearn.metrics",
        "sklearn.preprocessing",
        "pandas",
        "polars",
    ):
        module = importlib.import_module(name)
        for part in vars(module).values():
            for owner in (part, *(vars(part).values() if isinstance(part, type) else ())):
                text = getattr(owner, "__doc__", None)
                first = " ".join((text or "").strip().split("\n\n")[0].split())
                if 5 <= len(first.split()) <= 16 and re.fullmatch(r"[A-Za-z][A-Za-z ,'-]+\.", first):
                    found.add(first)
    return random.Random(4).sample(sorted(found), min(count, len(found)))


def labelled(name: str) -> list[str]:
    file = turkish.LABELS / name
    return (
        [json.loads(line)["text"] for line in file.read_text(encoding="utf-8").splitlines()] if file.is_file() else []
    )


def language_sets(count: int) -> dict[str, tuple[list[str], str]]:
    rng = random.Random(5)
    news = [" ".join(text.split()[:8]) for text, _ in turkish.news()]
    return {
        "Turkish: BIST headlines (seen)": ([one["title"] for one in turkish.bist_headlines()], "tr"),
        "Turkish: news, first eight words": (rng.sample(news, min(count, len(news))), "tr"),
        "Turkish with English names (seen)": (labelled("mixed_headlines.jsonl"), "tr"),
        "English: headlines (seen)": (labelled("english_headlines.jsonl"), "en"),
        "English: documentation": (english_sentences(count), "en"),
        "other languages: headlines (seen)": (labelled("other_headlines.jsonl"), "other"),
    }


PEER = """
import json, sys
from py3langid.langid import MODEL_FILE, LanguageIdentifier
model = LanguageIdentifier.from_model_file(MODEL_FILE) if hasattr(LanguageIdentifier, "from_model_file") else \\
    LanguageIdentifier.from_pickled_model(MODEL_FILE)
print(json.dumps([model.classify(text)[0] for text in json.load(sys.stdin)]))
"""


def peer(texts: list[str]) -> list[str]:
    """Let py3langid tell the languages; where it cannot be had (no network), say so and tell nothing."""
    try:
        python = peer_python(LANGID)
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"{LANGID} cannot be had ({error}): its column is empty", file=sys.stderr)
        return [""] * len(texts)
    done = subprocess.run(
        [str(python), "-c", PEER], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    return [code if code in ("tr", "en") else "other" for code in json.loads(done.stdout)]


def languages(count: int) -> dict[str, Any]:
    rows = {}
    for name, (texts, code) in language_sets(count).items():
        told = [detect(one)[0] for one in texts]
        other = peer(texts)
        misread = {"tr": "en", "en": "tr"}.get(code)
        rows[name] = {
            "kalibre": interval_row([one == code for one in told]),
            "py3langid": interval_row([one == code for one in other]),
            "unknown": told.count("unknown"),
            "misread": sum(one == misread for one in told) if misread else sum(one == "tr" for one in told),
            "misread_peer": sum(one == misread for one in other) if misread else sum(one == "tr" for one in other),
        }
    return rows


# --- speed ------------------------------------------------------------------------------------------------------------


def speed() -> float:
    """Return the 95th percentile of milliseconds that a headline takes through all of it."""
    texts = [one["title"] for one in turkish.bist_headlines()]
    taken = []
    for text in texts * 2:
        begin = time.perf_counter()
        cleaned = clean(text).text
        detect(cleaned)
        tokenize(cleaned)
        find_amounts(cleaned)
        find_tickers(cleaned)
        taken.append((time.perf_counter() - begin) * 1_000)
    return float(np.quantile(taken[len(texts) :], 0.95))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--quick", action="store_true", help="a tenth of the lines: shows that it runs, no figure counts"
    )
    parser.add_argument("--json", action="store_true")
    said = parser.parse_args()
    if not turkish.there():
        print(f"the shared Turkish sets are not in {turkish.ROOT}: nothing measured", file=sys.stderr)
        return 2
    count = 320 if said.quick else 3_200
    mended, named, p95 = repair(count), languages(100 if said.quick else 1_000), speed()
    worst = min(mended[name]["kalibre"]["share"] for name in DAMAGES)
    harm = mended["harm: good lines changed"]["kalibre"]["share"]
    unseen = {name: row for name, row in named.items() if "(seen)" not in name}
    least = min(unseen, key=lambda name: unseen[name]["kalibre"]["share"])
    checked = [
        (f"lines restored to the letter, worst damage >= {RESTORED}", f"{worst:.4f}", worst >= RESTORED),
        (f"good lines changed <= {HARMED}", f"{harm:.4f}", harm <= HARMED),
        (
            f"language right on every unseen set >= {RIGHT} (worst: {least})",
            f"{unseen[least]['kalibre']['share']:.4f}",
            unseen[least]["kalibre"]["share"] >= RIGHT,
        ),
        (f"a headline cleaned, named, cut and searched, p95 < {MOST_MS:.0f} ms", f"{p95:.2f}", p95 < MOST_MS),
    ]
    if said.json:
        print(json.dumps({"repair": mended, "language": named, "p95_ms": p95, "verdicts": checked}, indent=1))
        return 0 if all(good for *_, good in checked) else 1
    print("lines restored to the letter (the last row: changed, less is better)")
    for name, row in mended.items():
        print(f"  {name:42}" + "  ".join(f"{way} {one['share']:.4f} {bracket(one)}" for way, one in row.items()))
    print("language named rightly")
    for name, row in named.items():
        ours, other = row["kalibre"], row["py3langid"]
        print(
            f"  {name:36} n {ours['n']:5}  kalibre {ours['share']:.3f} {bracket(ours)}  (unknown {row['unknown']}, "
            f"misread {row['misread']})  py3langid {other['share']:.3f} {bracket(other)} "
            f"(misread {row['misread_peer']})"
        )
    for claim, figure, good in checked:
        print(f"{'PASS' if good else 'MISS'}  {claim}: {figure}")
    if said.quick:
        print("quick: no figure counts")
    return 0 if all(good for *_, good in checked) else 1


def bracket(row: dict[str, Any]) -> str:
    return f"[{row['95'][0]:.3f}, {row['95'][1]:.3f}]"


if __name__ == "__main__":
    sys.exit(main())
