"""Answering by `builtin:fast`: history dev with the right paragraph given, knowing when it is wrong, finance questions.

1. History dev without the questions over near-duplicates of training paragraphs; articles are drawn again for the
   intervals. Beside it: the sentence that shares most with the question (rarity-weighted), whole. Bars: F1 >= .60,
   exact >= .40.
2. The same questions once over their paragraph and once over the paragraph of another article that BM25 likes best and
   that does not hold the answer. Right is an answer with F1 >= .5 over the right paragraph. Bars: AUROC >= .80;
   precision >= .80 at a coverage of >= .40 of all of these pairs.
3. The project's own questions over all of the laws and notices (and history, as noise), found and read. Bars: right
   passage among the first five for >= .90, F1 >= .50; p95 of an answer < 200 ms of one core.

The reader was trained on the training half of the history questions, on cloze questions made out of laws and notices
that the own questions do not ask over, and on questions that a language model wrote over these; that no judged passage
or question stands there is checked first. Half of the own questions (by document) was looked at while retrieval and the
choice of the passage were made, and by who wrote the training questions; the other half is shown apart.

    python -m benchmarks.turkish_answering [--model builtin:fast]
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from benchmarks import _answering_sets as given
from benchmarks import _turkish as sets
from numpy.typing import NDArray

from kalibre.language.answering.answerer import Answerer
from kalibre.language.answering.evaluate import auroc, coverage_at, interval
from kalibre.language.answering.matching import pair, sentence_features
from kalibre.language.answering.question import analyse
from kalibre.language.answering.reading import learn_rarity
from kalibre.language.answering.retrieval import Index
from kalibre.language.answering.scores import exact, overlap
from kalibre.language.answering.training import RIGHT, wrong_passages
from kalibre.language.answering.words import units
from kalibre.language.load import load

F1, EXACT, AUROC, PRECISION, COVERAGE, RECALL, FINANCE, MOST_MS = 0.60, 0.40, 0.80, 0.80, 0.40, 0.90, 0.50, 200.0


class Table:
    """Prints rows and remembers whether every bar held."""

    held = True

    def say(self, what: str, one: dict[str, float] | float, bar: float | None = None, *, most: bool = False) -> None:
        """Print a figure with its interval and, where it has one, its bar."""
        value, ends = (one["value"], f"[{one['low']:.3f}, {one['high']:.3f}]") if isinstance(one, dict) else (one, "")
        verdict = ""
        if bar is not None:
            good = value <= bar if most else value >= bar
            self.held &= good
            verdict = f"{'<=' if most else '>='} {bar:g}  {'PASS' if good else 'MISS'}"
        print(f"  {what:<58} {value:7.3f} {ends:<16} {verdict}")


def sentences_alone(examples: Sequence[Any]) -> list[str]:
    """Return for each question the sentence of its paragraph that shares most with it."""
    rarity = learn_rarity([units(text) for text in sorted({one.context for one in examples})])
    found = []
    for one in examples:
        cut = units(one.context)
        laid = pair(analyse(one.question), cut, rarity)
        inside = np.flatnonzero(cut.sentence == int(sentence_features(laid)[:, 0].argmax()))
        found.append(one.context[cut.starts[inside[0]] : cut.ends[inside[-1]]])
    return found


def history(table: Table, reader: Any) -> None:
    """Judge reading and doubt on history dev."""
    examples, n_paragraphs, n_dropped = given.judged()
    train = {one.context for one in given.history("train")}
    leaked = given.leaks(train, sorted({one.context for one in examples}))
    assert not leaked, f"{len(leaked)} judged paragraphs stand in training texts"
    asked = {" ".join(one.question.lower().split()) for one in given.history("train")}
    same = sum(" ".join(one.question.lower().split()) in asked for one in examples)
    print(
        f"history dev, right paragraph given: {len(examples):,} questions ({n_paragraphs} paragraphs, {n_dropped} "
        f"questions dropped as near-duplicates; {same} worded as one of training), none of its paragraphs in training"
    )
    groups = [one.group for one in examples]
    gold = [[text for text, _ in one.answers] for one in examples]
    alone = sentences_alone(examples)
    table.say("sentence that shares most, F1", interval(_scores(alone, gold, overlap), groups))
    table.say("sentence that shares most, exact", interval(_scores(alone, gold, exact), groups))
    spans = [reader.read(one.question, [one.context], limit=1) for one in examples]
    texts = [one[0].text if one else "" for one in spans]
    f1 = _scores(texts, gold, overlap)
    table.say(f"{reader.version}, F1", interval(f1, groups), F1)
    table.say(f"{reader.version}, exact", interval(_scores(texts, gold, exact), groups), EXACT)
    bare = [[_bare(one) for one in answers] for answers in gold]
    table.say(
        "exact, apostrophe suffixes left out on both sides",
        interval(_scores([_bare(one) for one in texts], bare, exact), groups),
    )
    table.say(f"answers with F1 >= {RIGHT:g}", interval((f1 >= RIGHT).astype(float), groups))

    print("\nknowing when it is wrong: each question over its own and over a wrong paragraph")
    wrong = wrong_passages(examples, given.history("train"))
    pairs = [(one, other) for one, other in zip(examples, wrong, strict=True) if other is not None]
    astray = [reader.read(one.question, [other], limit=1) for one, other in pairs]
    sure = np.array([one[0].probability if one else 0.0 for one in [*spans, *astray]])
    right = np.concatenate([f1 >= RIGHT, np.zeros(len(astray), bool)])
    doubt(table, reader, sure, right, [*groups, *(one.group for one, _ in pairs)])


def doubt(table: Table, reader: Any, sure: NDArray[Any], right: NDArray[Any], groups: Sequence[str]) -> None:
    """Judge the probability that an answer is right."""
    low, high = _drawn(lambda at: auroc(sure[at], right[at]) or 0.5, groups)
    table.say("AUROC", {"value": auroc(sure, right) or 0.5, "low": low, "high": high}, AUROC)
    count = int(np.ceil(COVERAGE * len(sure)))

    def precision(at: NDArray[Any]) -> float:
        best = at[np.argsort(-sure[at], kind="stable")][: int(np.ceil(COVERAGE * len(at)))]
        return float(right[best].mean())

    low, high = _drawn(precision, groups)
    value = precision(np.arange(len(sure)))
    table.say(
        f"precision of the surest {count:,} of {len(sure):,}", {"value": value, "low": low, "high": high}, PRECISION
    )
    table.say(f"coverage at precision {PRECISION:g}, of all pairs", coverage_at(sure, right, PRECISION), COVERAGE)
    threshold = reader.thresholds.get(f"{PRECISION:.2f}", 1.0)
    spoke = sure >= threshold
    table.say(f"at the threshold fitted in training ({threshold:.2f}): precision", float(right[spoke].mean()))
    table.say("  and coverage of all pairs", float(spoke.mean()))
    table.say("  of the questions over their own paragraph", float(spoke[: len(sure) // 2].mean()))
    edges = np.clip((sure * 10).astype(int), 0, 9)
    gaps = [abs(sure[edges == k].sum() - right[edges == k].sum()) for k in range(10)]
    table.say("calibration error (ten equal bins)", float(sum(gaps) / len(sure)))


def finance(table: Table, reader: Any) -> None:
    """Judge the whole way on the project's own questions."""
    own = given.own_questions()
    if not own:
        print("\nthe project's own questions are not here: nothing is said of them")
        table.held = False
        return
    texts = [one.text for one in given.own_passages()]
    taught = given.taught()
    read = {one.context for one in (*given.made(), *taught)} | {text for one in taught for text in one.rivals}
    leaked = given.leaks(read, texts)
    assert not leaked, f"{len(leaked)} passages that hold answers stand in training texts"
    worded = {" ".join(one.question.lower().split()) for one in taught}
    assert not any(" ".join(one.question.lower().split()) in worded for one in own), "a question stands in training"
    index = Index.build(given.pool())
    answerer = Answerer(index, reader)
    print(f"\nfinance: {len(own)} own questions over {len(index.passages):,} passages (found, then read)")
    hits = [index.search(one.question, 5) for one in own]
    found = np.array([any(given.holds(hit.passage, one) for hit in row) for row, one in zip(hits, own, strict=True)])
    costs, best, given_answers = [], [], []
    for one in own:
        began = time.process_time()
        given_answers.append(answerer.answer(one.question))
        costs.append(1e3 * (time.process_time() - began))
        some = answerer.candidates(one.question, index.search(one.question, 6), limit=1)
        best.append(some[0] if some else given_answers[-1])
    groups = [one.document for one in own]
    gold = [[one.answer] for one in own]
    f1 = _scores([one.text or "" for one in best], gold, overlap)
    table.say("recall@5 of the passage that holds the answer", interval(found.astype(float), groups), RECALL)
    table.say("F1 over what was found", interval(f1, groups), FINANCE)
    table.say("exact", interval(_scores([one.text or "" for one in best], gold, exact), groups))
    for kind in ("law", "notice"):
        here = np.array([one.kind == kind for one in own])
        table.say(f"F1, {kind} ({here.sum()})", float(f1[here].mean()))
    given_right = [_given(best, own, at) for at in range(len(own))]
    unseen = np.array([int(one.document, 16) % 2 == 1 for one in own])
    names = [group for group, here in zip(groups, unseen, strict=True) if here]
    table.say(f"F1, the half not looked at ({unseen.sum()})", interval(f1[unseen], names))
    table.say("F1 with the right passage among those found", float(f1[found].mean()))
    table.say("answers cited from the passage that holds the answer", float(np.mean(given_right)))
    spoke = np.array([one.text is not None for one in given_answers])
    table.say("share answered (the rest abstains)", float(spoke.mean()))
    if spoke.any():
        table.say(f"  answers with F1 >= {RIGHT:g} among these", float((f1[spoke] >= RIGHT).mean()))
    sure = np.array([one.probability or 0.0 for one in best])
    table.say("  AUROC of the probability", auroc(sure, f1 >= RIGHT) or 0.5)
    table.say("p95 of an answer, CPU ms", float(np.percentile(costs, 95)), MOST_MS, most=True)


def _given(best: Sequence[Any], own: Sequence[given.Asked], at: int) -> bool:
    passage = best[at].passage
    return passage is not None and given.holds(passage, own[at])


def _scores(texts: Sequence[str], gold: Sequence[Sequence[str]], measure: Any) -> NDArray[np.float64]:
    return np.array([measure(text, answers) for text, answers in zip(texts, gold, strict=True)])


def _bare(text: str) -> str:
    import re

    return re.sub(r"(?<=\w)['’‘`´ʼ][^\W\d_]{1,9}\b", "", text)


def _drawn(figure: Any, groups: Sequence[str], resamples: int = 500) -> tuple[float, float]:
    """Return the 95 % interval of a figure when whole groups are drawn again."""
    names, number = np.unique(np.array(groups, dtype=str), return_inverse=True)
    members = [np.flatnonzero(number == at) for at in range(len(names))]
    rng = np.random.default_rng(1)
    found = [
        figure(np.concatenate([members[at] for at in rng.integers(0, len(names), len(names))]))
        for _ in range(resamples)
    ]
    return float(np.percentile(found, 2.5)), float(np.percentile(found, 97.5))


def main() -> int:
    """Print the tables; exit 0 if every bar holds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="builtin:fast")
    options = parser.parse_args()
    if not sets.there():
        print("the shared sets are not here")
        return 1
    reader, table = load("answering", options.model), Table()
    history(table, reader)
    finance(table, reader)
    return 0 if table.held else 1


if __name__ == "__main__":
    sys.exit(main())
