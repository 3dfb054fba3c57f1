"""The optional Gemma extra beside the fast tier: Wiki's names, answers with the right paragraph given, tweets.

Splits, scores, intervals and checks are those of `turkish_entities`, `turkish_answering` and `turkish_sentiment`; a
head is tuned here, stopped early on a part of its training texts, and the test texts are read once. With `--bundle`
what was tuned is kept in that folder, with a checkpoint every 200 steps that a stopped run goes on from; a bundle that
is there already is only judged. `--alone` leaves the fast tier out, and for names what is stacked of both. Bars: names
F1 >= .75; answers F1 >= .70, exact >= .52; tweets accuracy >= .71, macro-F1 >= .64. Gemma's weights come under the
Gemma Terms of Use.

    python -m benchmarks.turkish_gemma --task entities|answering|sentiment [--bundle FOLDER] [--minutes N] [--alone]
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks import _answering_sets as given
from benchmarks import _turkish as shared
from benchmarks._entity_sets import check_apart, plain_sentences, wiki, without
from benchmarks._turkish_scores import Row, rows_of, table

from kalibre.language import near
from kalibre.language.answering import encoder as answering
from kalibre.language.answering.evaluate import interval
from kalibre.language.answering.scores import exact, overlap
from kalibre.language.base import SENTIMENTS
from kalibre.language.bundle import LanguageBundle, open_bundle
from kalibre.language.classifier_training import folds
from kalibre.language.encoder.foundations import runner, settings_of
from kalibre.language.encoder.heads import Tuning
from kalibre.language.encoder.tasks import apart
from kalibre.language.entities import encoder as entities
from kalibre.language.entities.lexicon import learn as lexicon_of
from kalibre.language.entities.metrics import gain, score
from kalibre.language.entities.stacked import weighed
from kalibre.language.entities.tagger import train as field_of
from kalibre.language.entities.tags import mentions
from kalibre.language.gemma import source
from kalibre.language.load import load

NAMES, F1, EXACT, TWEETS = 0.75, 0.70, 0.52, (0.71, 0.64)
TUNING = Tuning(epochs=3, rate=6e-4, layer_decay=0.97, patience=2, batch=16)
SHORT = 110
"""Words of a paragraph that answers are learnt from: longer ones cost more than they teach in the time."""
SEED, INNER = 0, 0.035
FOLDS = 7
"""Seed of the tweets' folds: those of `turkish_sentiment`."""


def say(done: Any) -> None:
    print(f"{time.perf_counter() - BEGUN:6.0f} s, {time.process_time():6.0f} s of a core: {done}", file=sys.stderr)


BEGUN = time.perf_counter()


def bundled(
    task: str, options: argparse.Namespace, texts: Sequence[str], train: Callable[..., LanguageBundle]
) -> LanguageBundle:
    """Return the bundle that lies there, or tune one on Gemma and leave it there."""
    if options.bundle is not None and (options.bundle / task / "manifest.json").is_file():
        return open_bundle(options.bundle / task, task)
    from kalibre.language.gemma.foundation import foundation
    from kalibre.language.gemma.network import Checkpoint

    base = foundation(texts)
    say(f"read the base, {base.base.vocabulary.size:,} pieces kept")
    if options.bundle is not None:
        options.bundle.mkdir(parents=True, exist_ok=True)
        base = replace(base, checkpoint=Checkpoint(options.bundle / f"{task}.safetensors"))
    bundle = train(encoder=base, told=say)
    if options.bundle is not None:
        bundle.save(options.bundle, task)
    return bundle


def tuning(options: argparse.Namespace, **changed: Any) -> Tuning:
    return replace(TUNING, epochs=options.epochs, minutes=options.minutes, **changed)


# --- names ------------------------------------------------------------------------------------------------------------


def names(options: argparse.Namespace) -> bool:
    """Judge names on Wiki dev: Gemma's head alone, the fast tier's field, and both stacked."""
    dev, train = wiki("dev"), without(wiki("train"), wiki("dev"))
    if options.quick:
        dev, train = dev[:60], train[:400]
    check_apart([one.text for one in train], [one.text for one in dev])

    def tune(**more: Any) -> LanguageBundle:
        tokens, tags = [one.tokens for one in train], [one.tags for one in train]
        return entities.train(tokens, tags, tuning=tuning(options, most_weight=1.0), share=INNER, seed=SEED, **more)

    bundle = bundled("entities", options, [one.text for one in train], tune)
    settings = settings_of(bundle)
    tagger = entities.EncoderTagger(
        runner(bundle), settings["length"], settings["tags"], (settings["slope"], settings["offset"])
    )
    begun = time.process_time()
    told = {"Gemma's head": tagger.tag([one.tokens for one in dev])}
    words = sum(len(one.tokens) for one in dev)
    pace = words / (time.process_time() - begun)
    if not options.alone:
        # Neither has learnt from the inner part, which Gemma was stopped by: it says how much each counts.
        learn, inner = apart([one.text for one in train], share=INNER, seed=SEED)
        plain, _ = plain_sentences([one.text for one in dev])
        field = field_of(
            [train[at].tokens for at in learn], [train[at].tags for at in learn], lexicon=lexicon_of(plain),
            calibrate=False,
        )  # fmt: skip
        say("trained the field")
        both = weighed(field, tagger, [train[at].tokens for at in inner], [train[at].tags for at in inner])
        say(f"stacked: Gemma counts {both.weight}, O is held back by {both.lean}")
        told |= {"fast field": field.tag([one.tokens for one in dev]), "stacked": both.tag([one.tokens for one in dev])}
    gold = [mentions(one.tags) for one in dev]
    print(f"\nWiki dev, 19 types: {len(dev):,} sentences, {sum(map(len, gold)):,} names")
    for name, said in told.items():
        one = score(gold, said)
        print(
            f"  {name:13} F1 {one.f1:.3f} [{one.low:.3f}, {one.high:.3f}], "
            f"precision {one.precision:.3f}, recall {one.recall:.3f}"
        )
    last = list(told)[-1]
    if not options.alone:
        for other in list(told)[:-1]:
            print("  stacked over {}: {:+.3f} [{:+.3f}, {:+.3f}]".format(other, *gain(gold, told[last], told[other])))
    kinds = sorted({one.type for found in gold for one in found})
    print(f"  {last} by type: " + ", ".join(f"{kind} {score(gold, told[last], kind).f1:.2f}" for kind in kinds))
    print(f"  Gemma's head reads {pace:.0f} words a second of one core")
    figure = score(gold, told[last]).f1
    print(f"{'PASS' if figure >= NAMES else 'MISS'}  names, {last}: F1 >= {NAMES}: {figure:.3f}")
    return figure >= NAMES


# --- answers ----------------------------------------------------------------------------------------------------------


def answers(options: argparse.Namespace) -> bool:
    """Judge answers on history dev, the right paragraph given."""
    examples, _, dropped = given.judged()
    train = [one for one in given.history("train") if len(one.context.split()) <= SHORT]
    if options.quick:
        examples, train = examples[:40], train[:160]
    leaked = given.leaks({one.context for one in train}, sorted({one.context for one in examples}))
    assert not leaked, f"{len(leaked)} judged paragraphs stand in training texts"

    def tune(encoder: Any, **more: Any) -> LanguageBundle:
        short = replace(encoder, length=224)
        return answering.train(train, encoder=short, tuning=tuning(options, batch=8), wrong=0.15, share=0.05, **more)

    texts = [text for one in train for text in (one.question, one.context)]
    reader = answering.from_bundle(bundled("answering", options, texts, tune))
    groups, gold = [one.group for one in examples], [[text for text, _ in one.answers] for one in examples]
    print(f"\nhistory dev, right paragraph given: {len(examples):,} questions, {dropped} near-duplicates dropped")
    rows = []
    for name, model in (("Gemma", reader), ("fast", None if options.alone else load("answering", "builtin:fast"))):
        if model is None:
            continue
        begun = time.process_time()
        spans = [model.read(one.question, [one.context], limit=1) for one in examples]
        took = (time.process_time() - begun) / len(examples)
        told = [one[0].text if one else "" for one in spans]
        for figure, measure, bar in (("F1", overlap, F1), ("exact", exact, EXACT)):
            values = np.array([measure(text, right) for text, right in zip(told, gold, strict=True)])
            one = interval(values, groups)
            rows.append(
                Row(f"{name}: {figure}", one["value"], one["low"], one["high"], bar if model is reader else None)
            )
        print(f"  {name}: {took * 1e3:.0f} ms of a core a question")
    return table("answers", rows)


# --- tweets -----------------------------------------------------------------------------------------------------------


def tweets(options: argparse.Namespace) -> bool:
    """Judge sentiment of tweets in five folds, near-duplicates in one."""
    from kalibre.language.encoder.classifying import fit
    from kalibre.language.gemma.foundation import foundation

    rows = shared.tweets()[: 400 if options.quick else None]
    texts, y = [text for text, _ in rows], np.array([SENTIMENTS.index(label) for _, label in rows])
    groups = near.groups(texts, 0.7)
    p = np.zeros((len(y), 3))
    minutes = None if options.minutes is None else options.minutes / 5
    for learn, test in folds(y, groups, 5, FOLDS):
        part = [texts[at] for at in learn]
        alike = near.overlap(part, [texts[at] for at in test], 0.8)
        assert not alike, f"{len(alike)} test texts stand in the training part of their fold"
        base = foundation(part)
        fitted = fit(
            "sentiment", part, y[learn].tolist(), SENTIMENTS, encoder=base,
            tuning=replace(tuning(options), minutes=minutes), precision=0.8, share=0.1, seed=SEED, told=say,
        )  # fmt: skip
        from kalibre.language.encoder.classifying import TextHead

        p[test] = TextHead(fitted.bundle("sentiment", {}, {})).probabilities([texts[at] for at in test])
    told = p.argmax(axis=1)
    held = table("university tweets", rows_of("Gemma", y, told, groups, 3, TWEETS))
    if not options.alone:
        from benchmarks.turkish_sentiment import TWEETS as RECIPE
        from benchmarks.turkish_sentiment import judged, learnt

        judged("university tweets, fast", texts, y, learnt(texts)[0], RECIPE, TWEETS, k=5, rename=None)
    return held


def main() -> int:
    """Judge one task; exit 0 if its bars hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--task", choices=("entities", "answering", "sentiment"), required=True)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--epochs", type=int, default=TUNING.epochs)
    parser.add_argument("--minutes", type=float, help="tuning ends after these, its rate fallen")
    parser.add_argument("--quick", action="store_true", help="a part of each set: shows that it runs, no figure counts")
    parser.add_argument("--alone", action="store_true", help="without the fast tier beside it")
    options = parser.parse_args()
    if lacking := source.missing():
        print(f"the Gemma extra is not here ({lacking[0]} is missing), nothing measured: {source.INSTALL}")
        return 2
    if not shared.there():
        print("the shared Turkish sets are not here: nothing measured")
        return 2
    held = {"entities": names, "answering": answers, "sentiment": tweets}[options.task](options)
    if options.quick:
        print("quick: no figure counts")
    print(f"took {(time.perf_counter() - BEGUN) / 60:.1f} minutes, {time.process_time() / 60:.1f} of one core")
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
