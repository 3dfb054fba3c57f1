"""Questions with their answers as SQuAD has them, v1.1 and v2 (`is_impossible`): to train on, and to judge by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from kalibre.core.errors import LanguageError
from kalibre.language.answering.words import POINT, SUFFIX, Units


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A question over a context. `answers` are (text, start); none means that the context holds no answer.

    `group` is what must not be torn apart between training and test: the article, the document. `rivals` are passages
    without the answer that an index puts near the question: a reader learns to doubt over them.
    """

    id: str
    question: str
    context: str
    answers: tuple[tuple[str, int], ...]
    group: str = ""
    rivals: tuple[str, ...] = ()


def read_squad(path: Path) -> list[Example]:
    """Read a file in SQuAD's shape, v1.1 or v2.

    Raises
    ------
    LanguageError
        If it cannot be read, is not of that shape, or an answer does not stand where it says.
    """
    try:
        articles = json.loads(path.read_bytes())["data"]
        return [
            example
            for number, article in enumerate(articles)
            for paragraph in article["paragraphs"]
            for example in _examples(paragraph, str(article.get("title") or number))
        ]
    except OSError as error:
        raise LanguageError(f"{str(path)!r} cannot be read ({error}): name a SQuAD-shaped JSON file") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LanguageError(
            f"{str(path)!r} is not SQuAD-shaped ({type(error).__name__}: {error}): it should hold data, paragraphs, "
            "context, qas, question, answers, answer_start"
        ) from error


def _examples(paragraph: Mapping[str, Any], group: str) -> Iterable[Example]:
    context = str(paragraph["context"])
    for question in paragraph["qas"]:
        answers = tuple((str(one["text"]), int(one["answer_start"])) for one in question.get("answers", ()))
        if question.get("is_impossible"):
            answers = ()
        for text, start in answers:
            if context[start : start + len(text)] != text:
                raise LanguageError(
                    f"the answer {text!r} of question {question.get('id')!r} does not stand at {start} of its context: "
                    "repair the file"
                )
        yield Example(
            id=str(question.get("id", "")),
            question=str(question["question"]),
            context=context,
            answers=answers,
            group=group,
        )


def answer_units(cut: Units, text: str, start: int) -> tuple[int, int]:
    """Return the first and last unit of an answer.

    An answer that begins or ends inside a word is widened to the whole word, marks at its ends are left out, and one
    that begins with an apostrophe suffix begins with its word.
    """
    begin = start + len(text) - len(text.lstrip())
    end = start + len(text.rstrip())
    first = next((at for at, stop in enumerate(cut.ends.tolist()) if stop > begin), len(cut) - 1)
    last = max((at for at, one in enumerate(cut.starts.tolist()) if one < end), default=first)
    last = max(first, last)
    while last > first and cut.kinds[last] == POINT and cut.words[last] in ".,;:!?":
        last -= 1
    while first < last and cut.kinds[first] == POINT and cut.words[first] in ".,;:":
        first += 1
    if first and cut.kinds[first] == SUFFIX:
        first -= 1
    return first, last
