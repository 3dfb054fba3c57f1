"""Trains the tokenizer that ships with Kalibre, from the shared texts: `python -m benchmarks._ship_tokenizer`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks import _labelled as labelled
from benchmarks import _tokenizer_texts as texts

from kalibre.language.bundle import WEIGHTS
from kalibre.language.tokenizer.comparison import as_table, compare
from kalibre.language.tokenizer.storage import SHIPPED, save, version_of
from kalibre.language.tokenizer.training import train

_LICENCES = {
    "news": "MIT and none stated",
    "columns_politics_finance": "MIT and none stated",
    "essays_interviews": "MIT and none stated",
    "treebank_sentences": "CC BY-SA 4.0, CC BY-NC-SA",
    "laws": "official text",
    "history": "MIT and none stated",
    "finance_instructions": "none stated",
}


def main() -> None:
    """Train, measure and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=WEIGHTS / SHIPPED)
    parser.add_argument("--record", type=Path, default=texts.RECORD)
    options = parser.parse_args()
    labelled.require_sets()
    kept = texts.clean()
    parts = texts.as_parts(kept)
    trained = train(parts)
    held_out = {"general news": texts.general(), "finance": texts.finance()}
    figures = {name: as_table(compare(found, [("kalibre", trained.tokenizer)])) for name, found in held_out.items()}
    card = {
        **trained.as_dict(),
        "what": "SentencePiece model for Turkish news and finance: word pieces only, no text of the sets",
        "weights": texts.WEIGHTS,
        "caps": texts.CAPS,
        "licences": _LICENCES,
        "held_out": [texts.GENERAL, texts.FINANCE],
        "figures": {name: rows[0] for name, rows in figures.items()},
        "limits": "made for Turkish; other languages fall apart into letters and bytes, and still come back whole",
    }
    folder = save(trained.tokenizer, options.out, card)
    options.record.write_text(json.dumps(texts.record(kept), separators=(",", ":")) + "\n", encoding="utf-8")
    print(version_of(trained.tokenizer.model), folder, figures)


if __name__ == "__main__":
    main()
