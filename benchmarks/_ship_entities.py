"""Trains and ships `builtin:fast` for entities: Penn's and Wiki's training parts, mapped onto three types.

No sentence that benchmarks.turkish_entities scores the shipped model by (own test half, both dev parts) stands, exactly
or nearly, in what the field or its lexicon is learnt from. How far rules are trusted is measured on every second
sentence of the own test half: on the dev half they were tuned until nothing was wrong. Trust changes no span, hence no
F1; the other sentences say whether it is right.

    python -m benchmarks._ship_entities [--out FOLDER] [--trust-only]
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks._entity_sets import Tagged, check_apart, own, penn_part, plain_sentences, wiki, without

from kalibre.language.bundle import MANIFEST, WEIGHTS, LanguageBundle, shipped
from kalibre.language.entities.fast import RULED, from_bundle, recut, train
from kalibre.language.entities.lexicon import learn
from kalibre.language.entities.metrics import score
from kalibre.language.entities.tags import mentions
from kalibre.language.text.amounts import find_amounts
from kalibre.language.text.tickers import find_tickers

WIKI_TYPES = {"ORG": "ORGANIZATION", "PERSON": "PERSON", "GPE": "LOCATION", "LOC": "LOCATION", "FAC": "LOCATION"}
PENN_TYPES = {"ORGANIZATION": "ORGANIZATION", "PERSON": "PERSON", "LOCATION": "LOCATION"}
LEAST = 0.03
"""Features that weigh less in every tag are not shipped."""
LIMITS = (
    "Trained on edited text; capitals and headlines are learnt from rewritten sentences. Labels of the sets are "
    "inconsistent (ABD is an organisation or a place). How far rules are trusted is measured on 122 sentences. "
    "Organisations known by a list alone have no probability."
)


def mapped(sentences: Sequence[Tagged], types: dict[str, str]) -> list[Tagged]:
    """Call types as Kalibre does; what else is tagged is outside."""
    return [
        Tagged(one.tokens, [tag[:2] + types[tag[2:]] if tag[2:] in types else "O" for tag in one.tags])
        for one in sentences
    ]


def mixed(one: list[Tagged], other: list[Tagged]) -> list[Tagged]:
    """Lay two sets into each other in portions: each fold that probabilities are calibrated on holds both."""
    portions = [np.array_split(np.arange(len(part)), 40) for part in (one, other)]
    return [
        part[place]
        for pair in zip(*portions, strict=True)
        for part, at in zip((one, other), pair, strict=True)
        for place in at
    ]


def right(sentences: Sequence[Any]) -> dict[str, tuple[int, int]]:
    """Return how many of the rules' spans are right, and of how many, by type."""
    found = dict.fromkeys(RULED, (0, 0))
    for one in sentences:
        spans = [(a.start, a.end, str(a.type)) for a in find_amounts(one.text)]
        spans += [(t.start, t.end, "TICKER") for t in find_tickers(one.text)]
        for span in spans:
            hits, told = found[span[2]]
            found[span[2]] = hits + (span in one.spans), told + 1
    return found


def trusted() -> dict[str, float]:
    """Return how often the rules are right by type (one hit and one miss added), on every second own test sentence."""
    return {kind: round((hits + 1) / (told + 2), 4) for kind, (hits, told) in right(own("test")[::2]).items()}


def held_out(trust: Mapping[str, float]) -> dict[str, Any]:
    """Say how far trust is off on the other test sentences."""
    found = right(own("test")[1::2])
    told = sum(n for _, n in found.values())
    off = sum(abs(hits - n * trust[kind]) for kind, (hits, n) in found.items()) / told
    return {"right": {kind: list(pair) for kind, pair in found.items()}, "calibration_error": round(off, 4)}


def trust_alone(into: Path) -> int:
    """Measure trust anew, and leave the field as it is."""
    bundle = shipped("entities", "fast")
    settings = json.loads(bundle.file("settings.json"))
    settings["trusted"] = trust = dict(sorted(trusted().items()))
    files = {**bundle.files, "settings.json": json.dumps(settings, indent=1, sort_keys=True).encode()}
    card = {**bundle.card, "rules_trusted": trust, "rules_trusted_held_out": held_out(trust), "limits": LIMITS}
    shutil.rmtree(into / "entities-fast", ignore_errors=True)
    print(LanguageBundle("entities", "fast", files, card).save(into, "entities-fast"), card["rules_trusted_held_out"])
    return 0


def figures(model: Any, sentences: Sequence[Tagged]) -> dict[str, Any]:
    """Score the field alone, on whole tokens, as it was trained."""
    cuts = [recut(one.tokens, one.tags) for one in sentences]
    found = score([mentions(tags) for _, tags in cuts], model.tagger.tag([words for words, _ in cuts]))
    return {name: round(getattr(found, name), 4) for name in ("f1", "low", "high", "precision", "recall", "mentions")}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    parser.add_argument("--trust-only", action="store_true", help="measure how far rules are trusted, train nothing")
    said = parser.parse_args()
    if said.trust_only:
        return trust_alone(said.out)
    begun = time.perf_counter()
    devs = {"penn_dev": mapped(penn_part("dev"), PENN_TYPES), "wiki_dev": mapped(wiki("dev"), WIKI_TYPES)}
    test_texts = [one.text for part in devs.values() for one in part] + [one.text for one in own("test")]
    scored = [Tagged(text.split(), []) for text in test_texts]
    sentences = without(mixed(mapped(penn_part("train"), PENN_TYPES), mapped(wiki("train"), WIKI_TYPES)), scored)
    check_apart([one.text for one in sentences], test_texts)
    plain, dropped = plain_sentences(test_texts)
    print(f"{len(sentences)} sentences, {len(plain)} plain ones, {dropped} paragraphs left out", flush=True)
    lexicon = learn(plain)
    print(f"lexicon after {time.perf_counter() - begun:.0f} s", flush=True)
    trust = trusted()
    tokens, tags = [one.tokens for one in sentences], [one.tags for one in sentences]
    bundle = train(tokens, tags, lexicon=lexicon, trusted=trust, least=LEAST, lean=True)
    model = from_bundle(bundle)
    card = {
        "what": "Organisations, people and places by a conditional random field; amounts, times, tickers by rules",
        "trained_on": {
            "penn15_wsj_tr.train": "translated Wall Street Journal sentences (no licence stated)",
            "wikiner_tr.train": "CC BY-SA; GPE, LOC and FAC count as LOCATION",
            "sentences": len(sentences),
            "unlabelled": "general Turkish texts, brokers' notes; clusters and capitals of words only",
            "unlabelled_sentences": len(plain),
        },
        "holds": "weights of hashed features, clusters by hashed words: no text",
        "figures": {name: figures(model, part) for name, part in devs.items()},
        "figures_are": "F1 of exact mentions of the three types, as shipped, on sets kept out of all training",
        "rules_trusted": trust,
        "rules_trusted_held_out": held_out(trust),
        "limits": LIMITS,
    }
    made = LanguageBundle(bundle.task, bundle.family, bundle.files, card)
    sizes = {name: len(content) for name, content in bundle.files.items()}
    print(sizes, sum(sizes.values()), card["figures"], trust)
    if (said.out / "entities-fast" / MANIFEST).is_file():
        shutil.rmtree(said.out / "entities-fast")
    print(made.save(said.out, "entities-fast"), f"after {time.perf_counter() - begun:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
