"""Train what is shipped as `builtin:fast` for horizons: `python -m benchmarks._ship_horizon`."""

from __future__ import annotations

import json
import shutil

from benchmarks import _turkish as sets

from kalibre.language.bundle import WEIGHTS
from kalibre.language.horizon.fast import train
from kalibre.language.near import groups


def main() -> None:
    """Train on the project's own labels and write the weights."""
    with (sets.LABELS / "headlines.jsonl").open(encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    found = sets.texts_by_hash()
    texts = [found[row["hash"]] for row in rows]
    card = {
        "trained_until": "2026-06-12",
        "trained_on": "1,126 Turkish headlines, broker sentences and forum comments labelled by the project "
        "(docs/labelling-guide.md), two passes by language models; the texts are not shipped",
        "limits": "Turkish only; learnt from how headlines are worded, not from how long prices moved",
        "licence": "weights MIT; the texts' own licences are in benchmarks/labels",
    }
    bundle = train(texts, [row["horizon"] for row in rows], groups(texts).tolist(), card=card)
    print(json.dumps(bundle.card["figures"], indent=1))
    shutil.rmtree(WEIGHTS / "horizon-fast", ignore_errors=True)
    print(bundle.save(WEIGHTS, "horizon-fast"))


if __name__ == "__main__":
    main()
