"""Train `builtin:fast` for answering and store it where it ships.

It learns from the history questions' training half, from questions made by cloze out of the laws and notices that none
of the project's own questions asks over, and from questions written over these (benchmarks/taught).

    python -m benchmarks._ship_answering [--to FOLDER] [--every N]

Takes about fifteen minutes of one core. Dev is not read; nothing of the questions' text is stored (words by hash).
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import argparse
import shutil
import sys
import time
from pathlib import Path

from benchmarks import _answering_sets as sets

from kalibre.language.answering.fast import train
from kalibre.language.bundle import WEIGHTS


def main() -> int:
    """Train and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=WEIGHTS)
    parser.add_argument("--every", type=int, default=1, help="train on every n-th question only, to try it out")
    options = parser.parse_args()
    began = time.process_time()
    given, own, taught = (some[:: options.every] for some in (sets.history("train"), sets.made(), sets.taught()))

    def say(text: str) -> None:
        print(f"{time.process_time() - began:7.0f} CPU s  {text}", file=sys.stderr, flush=True)

    card = {
        "what": "Reads an answer out of a Turkish passage: five stages of small trees and a linear model over words.",
        "trained_on": [
            {
                "set": "history_qa_train (extractive questions on Turkish and Islamic history)",
                "licence": "none stated by its publishers",
                "questions": len(given),
                "articles": len({one.group for one in given}),
            },
            {
                "set": "cloze questions made by rule out of finance_laws and tax_notices",
                "licence": "laws and notices are public; none stated for the collection",
                "questions": len(own),
                "documents": len({one.group for one in own}),
            },
            {
                "set": "questions written over finance_laws and tax_notices by a language model (benchmarks/taught)",
                "licence": "the questions are the project's; the passages as above, not stored",
                "questions": len(taught),
                "documents": len({one.group for one in taught}),
            },
        ],
        "not_trained_on": "history_qa_dev, the project's own questions and the laws and notices that these ask over",
        "limits": [
            "The answer must stand in the passage as one piece; nothing is added up, compared or translated.",
            "Questions of the training set are close to their passage's wording: a paraphrase is read less well.",
            "An answer keeps the suffix it has in the passage unless an apostrophe sets it apart.",
        ],
        "contents": "Hashed features only: no word of the training texts is stored.",
    }
    bundle = train([*given, *own, *taught], card=card, folds=2, say=say)
    folder = options.to / "answering-fast"
    if folder.exists():
        shutil.rmtree(folder)
    bundle.save(options.to, "answering-fast")
    print(f"{bundle.version}: {sum(map(len, bundle.files.values())):,} bytes, {bundle.card['held_out']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
