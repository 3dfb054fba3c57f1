"""Two opinions are better than one where each sees what the other does not; the weight is chosen, the path is legal."""

import random

import numpy as np

from kalibre.language.entities.metrics import score
from kalibre.language.entities.stacked import Stacked, weighed
from kalibre.language.entities.tagger import train
from kalibre.language.entities.tags import iob2, mentions

TAGS = ("O", "B-PERSON", "I-PERSON")


def sentences(count: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """Names in capitals, and names that no spelling gives away: `xx` is one where the sentence ends in `dedi`."""
    drawn = random.Random(seed)
    tokens, tags = [], []
    for _ in range(count):
        name = drawn.choice([["Ayşe", "Kaya"], ["Mehmet"], ["xx"]])
        last = drawn.choice(["dedi", "geldi"])
        said = "B-PERSON" if name[0] != "xx" or last == "dedi" else "O"
        tokens.append(["dün", *name, *drawn.choices(["çok", "iyi", "pek"], k=3), last])
        tags.append(["O", said, *["I-PERSON"] * (len(name) - 1), "O", "O", "O", "O"])
    return tokens, tags


class Knowing:
    """Knows `xx` alone."""

    tags = TAGS

    def logits(self, tokens):
        found = np.zeros((len(tokens), len(TAGS)))
        found[:, 0] = 0.1
        for at, token in enumerate(tokens):
            if token == "xx":
                found[at] = [-6.0, 6.0, -6.0] if tokens[-1] == "dedi" else [6.0, -6.0, -6.0]
        return found


def test_an_opinion_adds_what_the_field_cannot_see() -> None:
    field = train(*sentences(200, 1), calibrate=False)
    inner, test = sentences(120, 2), sentences(120, 3)
    both = weighed(field, Knowing(), *inner)
    gold = [mentions(one) for one in test[1]]
    alone, together = (score(gold, one.tag(test[0])).f1 for one in (field, both))
    assert together > alone + 0.05
    assert together > 0.98


def test_an_opinion_that_is_noise_counts_least() -> None:
    class Noise:
        tags = TAGS

        def logits(self, tokens):
            return np.random.default_rng(len("".join(tokens))).normal(size=(len(tokens), 3)) * 9.0

    field = train(*sentences(200, 1), calibrate=False)
    assert weighed(field, Noise(), *sentences(120, 2)).weight == 0.25


def test_what_is_told_is_a_legal_path_and_an_empty_sentence_holds_nothing() -> None:
    class Wild:
        tags = TAGS

        def logits(self, tokens):
            return np.tile([-9.0, -9.0, 9.0], (len(tokens), 1))

    both = Stacked(train(*sentences(60, 1), calibrate=False), Wild(), weight=2.0)
    found = both.tag([[], ["dün", "Ayşe", "geldi"]])
    assert found[0] == []
    assert mentions(iob2(found[1], 3)) == [one._replace(probability=1.0) for one in found[1]]
