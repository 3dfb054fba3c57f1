"""Fine-tune the pretrained encoder where a GPU is lent: what ships, and the rows of the tables by cross-validation.

    python -m benchmarks._ship_encoder prepare               # here: the tasks' texts, folds and groups -> .encoder/
    python -m benchmarks._ship_encoder run --processes 8     # there, after `_pretrain_encoder train`: parts under $OUT
    python -m benchmarks._ship_encoder collect FOLDER        # here: bundles -> .encoder/bundles/, figures printed

All jobs run side by side (a small encoder leaves most of a GPU idle). Folds keep near-duplicates together; no test text
stands in its fold's training part, checked when the folds are made. A hub's encoder goes the same way: `--encoder ID`.
The reader is judged here, by `benchmarks.turkish_answering` on the bundle that comes back.
"""

from __future__ import annotations

import argparse
import io
import json
import lzma
import os
import shutil
import sys
import tarfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks._pretrain_encoder import HOME, MADE, PART

from kalibre.language.base import SENTIMENTS
from kalibre.language.bundle import LanguageBundle, open_bundle
from kalibre.language.encoder.heads import Tuning
from kalibre.language.encoder.tasks import macro_f1

TASKS = "tasks.json.xz"
SHIPPED = ("sentiment-encoder", "entities-encoder", "answering-encoder")
FOLDS = 5
CARDS: dict[str, dict[str, Any]] = {
    "sentiment": {"trained_on": "the project's own labelled headlines (texts by hash; labels in benchmarks/labels)"},
    "entities": {
        "trained_on": "penn15_wsj_tr.train (no licence stated), wikiner_tr.train (CC BY-SA); ORG, PERSON, LOCATION"
    },
    "answering": {"trained_on": "history_qa_train (no licence stated)"},
}


# --- here: the tasks' texts -------------------------------------------------------------------------------------------


def prepare(home: Path) -> None:
    """Write what the jobs need, as one file that travels."""
    from benchmarks._labelled import require_sets

    require_sets()
    from benchmarks import _answering_sets as answering
    from benchmarks import _entity_sets as entities
    from benchmarks import _turkish as sets
    from benchmarks._ship_entities import PENN_TYPES, WIKI_TYPES, mapped
    from benchmarks.turkish_entities import penn_folds

    from kalibre.language.entities.fast import recut

    by_hash = sets.texts_by_hash()
    own = [
        json.loads(line) for line in (sets.LABELS / "headlines.jsonl").read_text(encoding="utf-8").splitlines() if line
    ]
    own = [row for row in own if row["hash"] in by_hash]
    found: dict[str, Any] = {
        "sentiment": {
            "own": folded([(by_hash[row["hash"]], row["label"], row["impact"]) for row in own]),
            "bist": folded([(row["title"], row["llm_label"], row["llm_score"]) for row in sets.bist_headlines()]),
            "tweets": folded([(text, label, 0.0) for text, label in sets.tweets()]),
        }
    }
    penn = entities.penn()
    place = {one.text: at for at, one in enumerate(penn)}
    wiki, dev = entities.wiki("train"), entities.wiki("dev")
    devs = [*entities.penn_part("dev"), *dev]
    scored = [*devs, *(entities.Tagged(one.text.split(), []) for one in entities.own("test"))]
    ship = entities.without([*mapped(entities.penn_part("train"), PENN_TYPES), *mapped(wiki, WIKI_TYPES)], scored)
    entities.check_apart([one.text for one in ship], [one.text for one in scored])
    found["entities"] = {
        "penn": penn,
        "penn_folds": [
            [[place[one.text] for one in part] for part in (train, test)] for train, test in penn_folds(penn)
        ],
        "wiki": [entities.without(wiki, dev), dev],
        "ship": [recut(one.tokens, one.tags) for one in ship],
    }
    judged = {one.context for one in answering.judged()[0]}
    train = [one for one in answering.history("train") if one.context not in judged]
    if leaked := answering.leaks({one.context for one in train}, sorted(judged)):
        raise SystemExit(f"{len(leaked)} judged passages stand in the training questions")
    found["answering"] = [[one.id, one.question, one.context, list(one.answers), one.group] for one in train]
    home.mkdir(exist_ok=True)
    content = lzma.compress(json.dumps(found, ensure_ascii=False).encode(), preset=6)
    (home / TASKS).write_bytes(content)
    print(f"{len(content) / 1e6:.1f} MB", {name: len(part["texts"]) for name, part in found["sentiment"].items()})


def folded(rows: list[tuple[str, str, float]]) -> dict[str, Any]:
    """Return texts, labels, impacts and the fold of each: stratified, near-duplicates in one."""
    from sklearn.model_selection import StratifiedGroupKFold

    from kalibre.language.near import groups, overlap
    from kalibre.language.text.normal import clean

    texts = [clean(text).text for text, _, _ in rows]
    labels = [label for _, label, _ in rows]
    fold = np.zeros(len(rows), dtype=np.int64)
    cut = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=7)
    for number, (_, test) in enumerate(cut.split(texts, labels, groups(texts, 0.7))):
        fold[test] = number
    for number in range(FOLDS):
        inside = [text for text, one in zip(texts, fold, strict=True) if one != number]
        outside = [text for text, one in zip(texts, fold, strict=True) if one == number]
        if overlap(inside, outside):
            raise SystemExit("a test text stands in its training part: the folds are wrong")
    return {"texts": texts, "labels": labels, "impacts": [row[2] for row in rows], "fold": fold.tolist()}


# --- there: the jobs --------------------------------------------------------------------------------------------------


def foundation_of(task: str, encoder: str) -> Any:
    from kalibre.language.encoder.foundations import foundation

    return foundation(task, encoder)


def sentiment_folds(tasks: dict[str, Any], name: str, encoder: str, tuning: Tuning) -> dict[str, Any]:
    """Return out-of-fold probabilities of a set."""
    from kalibre.language.sentiment.encoder import from_bundle, train

    part = tasks["sentiment"][name]
    base = foundation_of("sentiment", encoder)
    fold, told = np.array(part["fold"]), np.zeros((len(part["fold"]), 3))
    for number in range(FOLDS):
        inside, outside = np.flatnonzero(fold != number).tolist(), np.flatnonzero(fold == number).tolist()
        bundle = train(*([part[key][at] for at in inside] for key in ("texts", "labels")), encoder=base, tuning=tuning)
        told[outside] = from_bundle(bundle).probabilities([part["texts"][at] for at in outside])
    return {"probabilities": told.round(5).tolist(), "labels": part["labels"], "texts": part["texts"]}


def entity_fold(tasks: dict[str, Any], name: str, encoder: str, tuning: Tuning) -> dict[str, Any]:
    """Return what is told of a test part: a fold of Penn, or Wiki's dev."""
    from kalibre.language.entities.encoder import from_bundle, train

    part = tasks["entities"]
    if name == "wiki":
        inside, outside = part["wiki"]
    else:
        inside, outside = ([part["penn"][at] for at in one] for one in part["penn_folds"][int(name)])
    bundle = train([one[0] for one in inside], [one[1] for one in inside], encoder=encoder, tuning=tuning)
    tagger: Any = from_bundle(bundle).tagger
    return {"told": tagger.tag([one[0] for one in outside]), "tags": [one[1] for one in outside]}


def ship(tasks: dict[str, Any], task: str, encoder: str, tuning: Tuning) -> dict[str, Any]:
    """Train what ships, and leave it on the machine."""
    from kalibre.language.answering import encoder as answering
    from kalibre.language.answering.examples import Example
    from kalibre.language.entities import encoder as entities
    from kalibre.language.sentiment import encoder as sentiment

    part, card = tasks[task], CARDS[task]
    bundle: LanguageBundle
    if task == "sentiment":
        own = part["own"]
        bundle = sentiment.train(
            own["texts"], own["labels"], impacts=own["impacts"], encoder=encoder, tuning=tuning, card=card
        )
    elif task == "entities":
        rows = part["ship"]
        bundle = entities.train(
            [row[0] for row in rows], [row[1] for row in rows], encoder=encoder, tuning=tuning, card=card
        )
    else:
        asked = [
            Example(id=one[0], question=one[1], context=one[2], answers=tuple(map(tuple, one[3])), group=one[4])
            for one in part
        ]
        bundle = answering.train(asked, encoder=encoder, tuning=tuning, card=card)
    shutil.rmtree(MADE / "bundles" / f"{task}-encoder", ignore_errors=True)
    bundle.save(MADE / "bundles", f"{task}-encoder")
    return {"version": bundle.version, "bytes": sum(map(len, bundle.files.values())), "card": dict(bundle.card)}


def jobs(minutes: float) -> dict[str, tuple[Callable[..., dict[str, Any]], str, Tuning]]:
    """Return every job: what to run, on what, how. The longest come first."""
    few = Tuning(epochs=12, patience=4, batch=16, rdrop=0.5, freeze_pieces=True, minutes=minutes / FOLDS)
    many = Tuning(epochs=6, patience=2, batch=64, freeze_pieces=True, minutes=minutes / FOLDS)
    tags = Tuning(epochs=8, patience=2, batch=64, freeze_pieces=True, minutes=minutes)
    reads = Tuning(epochs=4, patience=2, batch=48, freeze_pieces=True, minutes=minutes)
    made: dict[str, tuple[Callable[..., dict[str, Any]], str, Tuning]] = {
        "answering-encoder": (ship, "answering", reads),
        "entities-encoder": (ship, "entities", tags),
        "wiki": (entity_fold, "wiki", tags),
    }
    made |= {f"penn-{number}": (entity_fold, str(number), tags) for number in range(FOLDS)}
    return made | {
        "tweets": (sentiment_folds, "tweets", many),
        "own": (sentiment_folds, "own", few),
        "bist": (sentiment_folds, "bist", few),
        "sentiment-encoder": (ship, "sentiment", Tuning(**{**vars(few), "minutes": minutes})),
    }


def work(name: str, home: str, encoder: str, minutes: float, every: int) -> tuple[str, dict[str, Any], float]:
    """Run one job in a process of its own."""
    import torch

    torch.set_num_threads(2)
    begun = time.monotonic()
    tasks = json.loads(lzma.decompress((Path(home) / TASKS).read_bytes()))
    if every > 1:
        tasks = thinned(tasks, every)
    function, part, tuning = jobs(minutes)[name]
    try:
        found = function(tasks, part, encoder, tuning)
    except Exception as error:  # noqa: BLE001  # one job's failure must not cost the others theirs
        found = {"failed": f"{type(error).__name__}: {error}"}
    return name, found, time.monotonic() - begun


def thinned(tasks: dict[str, Any], every: int) -> dict[str, Any]:
    """Keep a part of every set: for smoke runs."""
    sentiment = {
        name: {key: values[::every] for key, values in part.items()} for name, part in tasks["sentiment"].items()
    }
    part = tasks["entities"]
    folds = [[side[::every] for side in fold] for fold in part["penn_folds"]]
    thin = {**part, "penn_folds": folds, "wiki": [one[::every] for one in part["wiki"]], "ship": part["ship"][::every]}
    return {"sentiment": sentiment, "entities": thin, "answering": tasks["answering"][::every]}


def run(args: argparse.Namespace) -> int:
    """Run the jobs side by side and leave results and bundles in parts."""
    out = Path(os.environ.get("OUT", str(args.home / "out")))
    out.mkdir(parents=True, exist_ok=True)
    encoder = args.encoder or str(MADE if (MADE / "encoder.safetensors").is_file() else args.home / "made")
    chosen = args.only or list(jobs(args.minutes))
    results: dict[str, Any] = {}
    with ProcessPoolExecutor(args.processes, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(work, name, str(args.home), encoder, args.minutes, args.every) for name in chosen]
        for done in as_completed(waiting):
            name, found, took = done.result()
            results[name] = found
            print(f"{name}: {took:.0f} s {found.get('failed', '')}", file=sys.stderr, flush=True)
            (out / "results.json.xz").write_bytes(lzma.compress(json.dumps(results, ensure_ascii=False).encode()))
    packed = io.BytesIO()
    # One dictionary over all bundles: their piece tables are the same.
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 1, "dict_size": 128 << 20}]
    with lzma.open(packed, "wb", filters=filters) as stream, tarfile.open(fileobj=stream, mode="w") as archive:
        for name in SHIPPED:
            if (MADE / "bundles" / name).is_dir():
                archive.add(MADE / "bundles" / name, name)
    content = packed.getvalue()
    for number, begin in enumerate(range(0, len(content), PART)):
        (out / f"bundles.{number}.part").write_bytes(content[begin : begin + PART])
    return int(any("failed" in found for found in results.values()))


# --- here: figures ----------------------------------------------------------------------------------------------------


def collect(folder: Path, home: Path) -> None:
    """Unpack the bundles, check every byte, and print the figures."""
    from kalibre.language import calibration
    from kalibre.language.entities.metrics import score
    from kalibre.language.entities.tags import mentions

    results = json.loads(lzma.decompress(next(folder.rglob("results.json.xz")).read_bytes()))
    parts = sorted(folder.rglob("bundles.*.part"), key=lambda path: int(path.name.split(".")[1]))
    bundles = home / "bundles"
    with (
        lzma.open(io.BytesIO(b"".join(path.read_bytes() for path in parts))) as stream,
        tarfile.open(fileobj=stream) as archive,
    ):
        archive.extractall(bundles, filter="data")
    for path in sorted(bundles.iterdir()):
        print(open_bundle(path).version, f"{sum(one.stat().st_size for one in path.iterdir()) / 1e6:.1f} MB")
    for name in ("own", "bist", "tweets"):
        found = results.get(name, {"failed": "not run"})
        if "failed" in found:
            print(name, found["failed"])
            continue
        y, p = np.array([SENTIMENTS.index(label) for label in found["labels"]]), np.array(found["probabilities"])
        drawn = np.random.default_rng(0).integers(0, len(y), (1_000, len(y)))
        right = (p.argmax(1) == y)[drawn].mean(1)
        f1 = [macro_f1(y[row].tolist(), p[row].argmax(1).tolist(), 3) for row in drawn[:300]]
        print(
            f"{name}: accuracy {np.mean(p.argmax(1) == y):.3f} {np.percentile(right, [2.5, 97.5]).round(3)}, macro-F1 "
            f"{macro_f1(y.tolist(), p.argmax(1).tolist(), 3):.3f} {np.percentile(f1, [2.5, 97.5]).round(3)}, "
            f"{calibration.error(p, y).as_dict()}"
        )
    sets = {"penn": [f"penn-{number}" for number in range(FOLDS)], "wiki": ["wiki"]}
    for name, members in sets.items():
        there = [results.get(one, {"failed": "not run"}) for one in members]
        if any("failed" in one for one in there):
            print(name, [one.get("failed") for one in there])
            continue
        true = [mentions(tags) for one in there for tags in one["tags"]]
        told = [[tuple(mention) for mention in found] for one in there for found in one["told"]]
        figures = score(true, told, block=20)
        print(f"{name}: F1 {figures.f1:.3f} [{figures.low:.3f}, {figures.high:.3f}] of {figures.mentions} mentions")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("prepare", "run", "collect"):
        one = verbs.add_parser(verb)
        one.add_argument("--home", type=Path, default=HOME)
        if verb == "collect":
            one.add_argument("folder", type=Path)
        if verb == "run":
            one.add_argument("--processes", type=int, default=8)
            one.add_argument("--minutes", type=float, default=2.0, help="of each job's training, at most")
            one.add_argument("--every", type=int, default=1, help="use every n-th text: for smoke runs")
            one.add_argument("--encoder", default=None, help="a hub id or a folder in place of the project's encoder")
            one.add_argument("--only", nargs="*", default=None)
    args = parser.parse_args()
    if args.verb == "prepare":
        prepare(args.home)
    elif args.verb == "run":
        return run(args)
    else:
        collect(args.folder, args.home)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
