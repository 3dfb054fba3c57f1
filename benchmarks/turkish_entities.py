"""Entities: the fast tagger on two tagged sets beside the plain CRF of the tutorial; the shipped model on own texts.

Penn: train and dev, each sentence once, in five contiguous blocks; each block is tagged by taggers trained on the other
four, which also read what a tagger of Wiki's sentences says and where else in the running text a name stands. Wiki:
trained on train, scored on dev, 19 types, sentence by sentence. The taggers' lexicon is learnt here, in the run, from
unlabelled text; every paragraph in which a scored sentence stands, exactly or nearly, is left out of it, and every
training sentence that is like a scored one out of the training; that is checked again before training. Own sentences:
the shipped model (`builtin:fast`), test half, TICKER, MONEY, PERCENT and TIME; beside it the plain CRF trained on the
other half.

F1 of exact mentions (place and type). Intervals: 95 % bootstrap over blocks of neighbouring sentences, paired for
gains. Features and settings were chosen on even tenths of Penn and on a part of Wiki's train; the figure of Penn's odd
tenths, which no choice has seen, stands beside.

    python -m benchmarks.turkish_entities [--quick] [--json]
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import argparse
import json
import platform
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from typing import Any

import numpy as np
from benchmarks import _turkish as turkish
from benchmarks._entity_peer import told as peer_told
from benchmarks._entity_sets import Labelled, Tagged, check_apart, own, penn, plain_sentences, wiki, without

from kalibre.language.entities.lexicon import Lexicon, learn
from kalibre.language.entities.metrics import calibration_error, gain, score
from kalibre.language.entities.tagger import Tagger, train
from kalibre.language.entities.tags import Mention, iob2, mentions
from kalibre.language.load import load
from kalibre.language.text.tokens import tokenize

FOLDS, BLOCK = 5, 20
OWN_TYPES = ("TICKER", "MONEY", "PERCENT", "TIME")
BARS = {"penn": 0.73, "wiki": 0.66, "own": 0.95, "p95_ms": 20.0}
KNOWN = {"penn": 0.72, "wiki": 0.65}
GOALS = {"penn": 0.88, "wiki": 0.80}
COARSE = {
    **dict.fromkeys(("GPE", "LOC", "FAC"), "LOCATION"),
    **dict.fromkeys(("DATE", "TIME"), "TIME"),
    **{kind: kind for kind in ("PERSON", "ORG", "MONEY", "PERCENT")},
}
"""Wiki's types as Penn's taggers are told them; what else is a name is OTHER."""
Folds = list[tuple[list[Tagged], list[Tagged]]]


def penn_folds(sentences: Sequence[Tagged]) -> Folds:
    """Cut into contiguous blocks; each with the rest, without what is like the block."""
    folds = []
    for block in np.array_split(np.arange(len(sentences)), FOLDS):
        test = [sentences[place] for place in block]
        chosen = set(block.tolist())
        folds.append((without([one for place, one in enumerate(sentences) if place not in chosen], test), test))
    return folds


def by_peer(folds: Folds, iterations: int) -> list[list[Mention]]:
    """Return what the plain CRF tells of the tests of folds, in order."""
    return [
        mentions(tags)
        for train_part, test in folds
        for tags in peer_told([(one.tokens, one.tags) for one in train_part], [one.tokens for one in test], iterations)
    ]


def by_tagger(folds: Folds, lexicon: Lexicon, helper: Tagger | None, running: bool) -> list[list[Mention]]:
    """Return what the fast tagger tells of the tests of folds, in order."""
    found: list[list[Mention]] = []
    for train_part, test in folds:
        check_apart([one.text for one in train_part], [one.text for one in test])
        tokens, tags = [one.tokens for one in train_part], [one.tags for one in train_part]
        tagger = train(tokens, tags, lexicon=lexicon, helper=helper, running=running)
        found += tagger.tag([one.tokens for one in test])
        say(f"tagged {len(found)} sentences, lean {tagger.lean}")
    return found


def say(done: str) -> None:
    print(f"{time.process_time():6.0f} s of a core: {done}", file=sys.stderr, flush=True)


def wiki_helper(sentences: Sequence[Tagged], test: Sequence[Tagged], lexicon: Lexicon) -> Tagger:
    """Train what Penn's taggers ask: Wiki's sentences with their 19 types made six."""
    kept = without(sentences, test)
    check_apart([one.text for one in kept], [one.text for one in test])
    tags = [[tag if tag == "O" else tag[:2] + COARSE.get(tag[2:], "OTHER") for tag in one.tags] for one in kept]
    return train([one.tokens for one in kept], tags, lexicon=lexicon, calibrate=False)


def row(name: str, test: Sequence[Tagged], ours: list[list[Mention]], peer: list[list[Mention]]) -> dict[str, Any]:
    """Put the figures of a set together."""
    true = [mentions(one.tags) for one in test]
    right = [{one[:3] for one in found} for found in true]
    judged = [(one.probability, one[:3] in known) for known, said in zip(right, ours, strict=True) for one in said]
    kinds = sorted({one.type for found in true for one in found})
    return {
        "set": name,
        "sentences": len(test),
        "ours": figures(true, ours),
        "peer": figures(true, peer),
        "gain": gain(true, ours, peer, block=BLOCK),
        "ece": calibration_error(judged),
        "by_type": {kind: round(score(true, ours, kind, block=BLOCK).f1, 3) for kind in kinds},
    }


def figures(true: Sequence[Any], told: Sequence[Any]) -> dict[str, float]:
    found = score(true, told, block=BLOCK)
    return {name: getattr(found, name) for name in ("f1", "low", "high", "precision", "recall", "mentions")}


def unseen(sentences: Sequence[Tagged], ours: list[list[Mention]]) -> dict[str, float]:
    """Return the figures on Penn's odd tenths, by which nothing was chosen."""
    odd = np.concatenate(np.array_split(np.arange(len(sentences)), 10)[1::2]).tolist()
    return figures([mentions(sentences[place].tags) for place in odd], [ours[place] for place in odd])


# --- own sentences ----------------------------------------------------------------------------------------------------


def cut(one: Labelled) -> tuple[Tagged, list[tuple[int, int]]]:
    """Cut an own sentence into tokens without suffixes, with tags, and say where each token stands."""
    places = [(token.start, token.suffix_start) for token in tokenize(one.text)]
    found = []
    for begin, end, kind in one.spans:
        inside = [at for at, (start, stop) in enumerate(places) if start < end and stop > begin]
        if inside:
            found.append(Mention(inside[0], inside[-1] + 1, kind))
    return Tagged([one.text[start:stop] for start, stop in places], iob2(found, len(places))), places


def own_row() -> dict[str, Any] | None:
    """Score the shipped model and a plain CRF on the test half of the own sentences."""
    test, dev = own("test"), own("dev")
    if not test or not dev:
        return None
    model = load("entities", "builtin:fast")
    told = []
    took = []
    for one in test:
        begin = time.process_time()
        found = model.predict([one.text])[0]
        took.append((time.process_time() - begin) * 1_000)
        told.append([(entity.start, entity.end, entity.type) for entity in found if entity.type in OWN_TYPES])
    cuts = [cut(one) for one in test]
    tags = peer_told([(one.tokens, one.tags) for one, _ in map(cut, dev)], [one.tokens for one, _ in cuts])
    peer = [
        [(places[found.start][0], places[found.end - 1][1], found.type) for found in mentions(said)]
        for said, (_, places) in zip(tags, cuts, strict=True)
    ]
    true = [one.spans for one in test]
    return {
        "set": "own",
        "sentences": len(test),
        "ours": figures(true, told),
        "peer": figures(true, peer),
        "gain": gain(true, told, peer, block=BLOCK),
        "by_type": {kind: round(score(true, told, kind, block=BLOCK).f1, 3) for kind in OWN_TYPES},
        "p95_ms": float(np.percentile(took, 95)),
        "model": model.version,
    }


# --- the run ----------------------------------------------------------------------------------------------------------


def measure(quick: bool) -> dict[str, Any]:
    begun = time.perf_counter()
    sentences, wiki_train, wiki_dev = penn(), wiki("train"), wiki("dev")
    if quick:
        sentences, wiki_train, wiki_dev = sentences[:1_500], wiki_train[:2_000], wiki_dev[:300]
    folds, wiki_folds = penn_folds(sentences), [(without(wiki_train, wiki_dev), wiki_dev)]
    iterations = 30 if quick else 100
    # The peer runs in a process of its own: one core each.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        peers = [pool.submit(by_peer, part, iterations) for part in (wiki_folds, folds)]
        tests = [one.text for one in [*sentences, *wiki_dev]] + [one.text for one in own("test")]
        plain, dropped = plain_sentences(tests)
        if quick:
            plain = plain[:60_000]
        say(f"read {len(plain)} plain sentences")
        lexicon = learn(plain)
        say("learnt the lexicon")
        learnt = time.perf_counter() - begun
        helper = wiki_helper(wiki_train, sentences, lexicon)
        say("trained the helper")
        ours = by_tagger(folds, lexicon, helper, running=True)
        wiki_ours = by_tagger(wiki_folds, lexicon, None, running=False)
        wiki_peer, peer = (job.result() for job in peers)
    rows = [row("penn", sentences, ours, peer), row("wiki", wiki_dev, wiki_ours, wiki_peer)]
    rows[0]["unseen"] = unseen(sentences, ours)
    if own_found := own_row():
        rows.append(own_found)
    return {
        "rows": rows,
        "lexicon": {"sentences": len(plain), "paragraphs_left_out": dropped, "words": len(lexicon.words)},
        "wiki_train_left_out": len(wiki_train) - len(wiki_folds[0][0]),
        "lexicon_s": learnt,
        "took_s": time.perf_counter() - begun,
        "own_cpu_s": time.process_time(),
        "machine": platform.machine(),
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def verdicts(found: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """Return each claim, its figure and whether it holds; what could not be measured does not."""
    rows = {one["set"]: one for one in found["rows"]}
    said = []
    for name in ("penn", "wiki", "own"):
        value = rows[name]["ours"]["f1"] if name in rows else None
        text = "unmeasured" if value is None else f"{value:.3f}"
        said.append((f"{name}: F1 >= {BARS[name]}", text, value is not None and value >= BARS[name]))
    for name in ("penn", "wiki"):
        low = rows[name]["gain"][1]
        said.append((f"{name}: better than the plain CRF, interval above 0", f"{low:+.3f}", low > 0))
    p95 = rows["own"]["p95_ms"] if "own" in rows else None
    bar = BARS["p95_ms"]
    said.append(
        (
            f"p95 under {bar:.0f} ms of one core a text",
            "unmeasured" if p95 is None else f"{p95:.1f}",
            p95 is not None and p95 < bar,
        )
    )
    return said


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a part of each set: shows that it runs, no figure counts")
    parser.add_argument("--json", action="store_true")
    said = parser.parse_args()
    if not turkish.there():
        print("the shared Turkish sets are not there: nothing measured", file=sys.stderr)
        return 2
    found = measure(said.quick)
    checked = verdicts(found)
    if said.json:
        print(json.dumps(found | {"verdicts": checked}, ensure_ascii=False, indent=1))
        return 0 if all(held for *_, held in checked) else 1
    print(f"{'set':8}{'F1':>7}  {'95 %':15}{'P':>6}{'R':>6}  {'plain CRF':>9}  {'95 %':15}{'gain':>6}  95 %")
    for one in found["rows"]:
        ours, peer, (more, low, high) = one["ours"], one["peer"], one["gain"]
        print(
            f"{one['set']:8}{ours['f1']:7.3f}  [{ours['low']:.3f}, {ours['high']:.3f}] {ours['precision']:6.3f}"
            f"{ours['recall']:6.3f}  {peer['f1']:9.3f}  [{peer['low']:.3f}, {peer['high']:.3f}] {more:+6.3f}  "
            f"[{low:+.3f}, {high:+.3f}]"
        )
        print(
            f"{'':8}{one['sentences']} sentences, {ours['mentions']} mentions; "
            + ", ".join(f"{k} {v}" for k, v in one["by_type"].items())
        )
        if "ece" in one:
            print(f"{'':8}calibration error of a mention's probability: {one['ece']:.3f}")
        if "unseen" in one:
            part = one["unseen"]
            print(f"{'':8}odd tenths, not used in any choice: {part['f1']:.3f} [{part['low']:.3f}, {part['high']:.3f}]")
    lexicon = found["lexicon"]
    print(
        f"lexicon: {lexicon['words']} words of {lexicon['sentences']} sentences; left out for a scored sentence: "
        f"{lexicon['paragraphs_left_out']} paragraphs, {found['wiki_train_left_out']} Wiki training sentences"
    )
    for claim, figure, held in checked:
        print(f"{'PASS' if held else 'MISS'}  {claim}: {figure}")
    for name, goal in GOALS.items():
        print(f"      {name}: goal {goal}, a CRF known from before {KNOWN[name]}")
    took = f"took {found['took_s']:.0f} s, of this process {found['own_cpu_s']:.0f} s of one core"
    print(took + (", quick: no figure counts" if said.quick else ""))
    return 0 if all(held for *_, held in checked) else 1


if __name__ == "__main__":
    sys.exit(main())
