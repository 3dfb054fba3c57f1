"""Train `builtin:fast` for answering on the history questions' training half and store it where it ships.

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

from benchmarks import _turkish as sets

from kalibre.language.answering.examples import Example
from kalibre.language.answering.fast import train
from kalibre.language.bundle import WEIGHTS


def examples(split: str) -> list[Example]:
    """Return the history questions as the reader is trained and judged on them."""
    return [
        Example(
            id=row["id"],
            question=row["question"],
            context=row["context"],
            answers=tuple((one["text"], one["answer_start"]) for one in row["answers"]),
            group=row["title"],
        )
        for row in sets.history_qa(split)
    ]


def main() -> int:
    """Train and store."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--to", type=Path, default=WEIGHTS)
    parser.add_argument("--every", type=int, default=1, help="train on every n-th question only, to try it out")
    options = parser.parse_args()
    given = examples("train")[:: options.every]
    began = time.process_time()

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
            }
        ],
        "not_trained_on": "history_qa_dev, finance laws, tax notices and the project's own questions",
        "limits": [
            "The answer must stand in the passage as one piece; nothing is added up, compared or translated.",
            "Questions of the training set are close to their passage's wording: a paraphrase is read less well.",
            "An answer keeps the suffix it has in the passage unless an apostrophe sets it apart.",
        ],
        "contents": "Hashed features only: no word of the training texts is stored.",
    }
    bundle = train(given, card=card, say=say)
    folder = options.to / "answering-fast"
    if folder.exists():
        shutil.rmtree(folder)
    bundle.save(options.to, "answering-fast")
    print(f"{bundle.version}: {sum(map(len, bundle.files.values())):,} bytes, {bundle.card['held_out']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
