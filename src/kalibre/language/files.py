"""Training and evaluation from a file that a user brings, whatever the task: one place that knows each task's form."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kalibre.core.errors import LanguageError, UsageError
from kalibre.language.base import SENTIMENTS
from kalibre.language.bundle import LanguageBundle
from kalibre.language.rows import read_rows
from kalibre.language.text.casing import fold

FORMS: Mapping[str, str] = {
    "sentiment": "CSV or JSON lines with text and label (negative, neutral, positive)",
    "category": "CSV or JSON lines with text and label",
    "entities": "IOB2 CoNLL: a token and its tag a line, a blank line between sentences",
    "answering": "JSON in SQuAD's shape",
}
"""What each task is trained on and judged by."""

_LABELS = {"label": ("sentiment", "category", "etiket", "class", "polarity")}
_SENTIMENT_NAMES = {
    **dict.fromkeys(("neg", "negatif", "olumsuz"), "negative"),
    **dict.fromkeys(("neu", "notr", "tarafsiz"), "neutral"),
    **dict.fromkeys(("pos", "pozitif", "olumlu"), "positive"),
}
"""What else sentiments are called, folded."""
_TEXTS = {"text": ("title", "headline", "metin", "baslik", "başlık", "sentence")}


def train_file(
    task: str,
    path: Path,
    *,
    family: str = "fast",
    encoder: str = "builtin:encoder",
    types: Mapping[str, str] | None = None,
    seed: int = 7,
    card: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> LanguageBundle:
    """Train a model of a task on a file.

    Parameters
    ----------
    task
        One of `FORMS`.
    path
        The file, in the task's form.
    family
        `fast`, or `encoder` (which fine-tunes `encoder`, and needs the extra of that name).
    encoder
        What is fine-tuned: `builtin:encoder`, a folder, or a hub id.
    types
        Of entities: the file's types and what they are called here; None keeps those that are known.
    seed
        Of everything that is drawn.
    card
        What the model's card says beside the figures: licence, source.
    say
        Is told what is under way.

    Raises
    ------
    UsageError
        If the task or family is unknown, or the file is not of the form.
    LanguageError
        If a row cannot be used; the message quotes it.
    ModelError
        If there is too little to learn from, or nothing was learnt.
    """
    _known(task)
    if family not in ("fast", "encoder"):
        raise UsageError(f"family {family!r} is unknown: train fast or encoder")
    module = importlib.import_module(f"kalibre.language.{task}.{family}")
    told: dict[str, Any] = {"card": {"trained_on": path.name, "licence": "not said", **(card or {})}}
    if family == "encoder":
        told |= {"encoder": encoder, "seed": seed, "told": lambda point: say(str(point))}
    bundle: LanguageBundle
    if task in ("sentiment", "category"):
        texts, labels = labelled(path, SENTIMENTS if task == "sentiment" else None)
        if family == "fast":
            told["seed"] = seed
        bundle = module.train(texts, labels, **told)
    elif task == "entities":
        from kalibre.language.entities.conll import read_conll

        sentences = read_conll(path)
        tags = [[_renamed(tag, types) for tag in sentence.tags] for sentence in sentences]
        if family == "fast":
            told["seed"] = seed
        bundle = module.train([sentence.tokens for sentence in sentences], tags, **told)
    else:
        from kalibre.language.answering.examples import read_squad

        if family == "fast":
            told["say"] = say
        bundle = module.train(read_squad(path), **told)
    return bundle


def evaluate_file(
    task: str, path: Path, model: Any, *, types: Mapping[str, str] | None = None, seed: int = 7
) -> dict[str, Any]:
    """Judge a model of a task on a file; returns plain JSON with 95 % intervals.

    Parameters
    ----------
    task, path, types
        As for `train_file`; for entities `types` has to say which are scored.
    model
        A model of the task, as `kalibre.language.load.load` returns it.
    seed
        Of the bootstrap.

    Raises
    ------
    UsageError, LanguageError
        As `train_file`.
    """
    _known(task)
    evaluate = importlib.import_module(f"kalibre.language.{task}.evaluate").evaluate
    told = {"types_map": types or {}} if task == "entities" else {}
    found: dict[str, Any] = evaluate(path, model, **told, seed=seed)
    return found


def labelled(path: Path, allowed: tuple[str, ...] | None) -> tuple[list[str], list[str]]:
    """Read texts and labels.

    Parameters
    ----------
    path
        The file.
    allowed
        The labels there may be (`SENTIMENTS`, by their Turkish names too, in letters of any size); None takes any as it
        is written.

    Returns
    -------
    Texts, and as many labels.

    Raises
    ------
    LanguageError
        If a label is none of those allowed; the message quotes it and its row.
    """
    rows = read_rows(path, ("text", "label"), also={**_LABELS, **_TEXTS})
    texts, labels = [row["text"] for row in rows], [row["label"].strip() for row in rows]
    if allowed is None:
        return texts, labels
    for place, label in enumerate(labels, start=1):
        key = fold(label)
        labels[place - 1] = _SENTIMENT_NAMES.get(key, key)
        if labels[place - 1] not in allowed:
            raise LanguageError(
                f"{str(path)!r}, row {place}: label {label[:40]!r} is none of {', '.join(allowed)}: rename it"
            )
    return texts, labels


def types_of(text: str | None) -> dict[str, str] | None:
    """Read `ORG=ORGANIZATION,LOC=LOCATION`.

    Raises
    ------
    UsageError
        If it is not of that form.

    Examples
    --------
    >>> types_of("ORG=ORGANIZATION, PER=PERSON")
    {'ORG': 'ORGANIZATION', 'PER': 'PERSON'}
    """
    if text is None:
        return None
    found: dict[str, str] = {}
    for part in text.split(","):
        theirs, equals, ours = part.partition("=")
        if not equals or not theirs.strip() or not ours.strip():
            raise UsageError(f"types {text!r}: {part.strip()!r} is no pair; write ORG=ORGANIZATION,LOC=LOCATION")
        found[theirs.strip()] = ours.strip()
    return found


def _known(task: str) -> None:
    if task not in FORMS:
        raise UsageError(f"task {task!r} cannot be trained or judged on a file: choose one of {', '.join(FORMS)}")


def _renamed(tag: str, types: Mapping[str, str] | None) -> str:
    if tag == "O" or types is None:
        return tag
    prefix, _, kind = tag.partition("-")
    return f"{prefix}-{types[kind]}" if kind in types else "O"
