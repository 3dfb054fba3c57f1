"""A small tokenizer, trained once."""

from __future__ import annotations

import random

import pytest

from kalibre.language.tokenizer.training import Trained, train
from kalibre.language.tokenizer.words import Part

STEMS = "borsa faiz kur şirket hisse yatırım endeks banka altın petrol ihraç üret bilanço temettü sermaye".split()
SUFFIXES = ("", "lar", "ların", "da", "dan", "yı", "nın", "lı", "sız", "larımız")


def sentences(n: int, seed: int = 0) -> list[str]:
    chance = random.Random(seed)
    words = [stem + suffix for stem in STEMS for suffix in SUFFIXES] + ["THYAO'nun", "TCMB’den", "%4,5", "2023'te."]
    return [" ".join(chance.choices(words, k=12)) for _ in range(n)]


@pytest.fixture(scope="session")
def trained() -> Trained:
    return train([Part("toy", sentences(800))], vocabulary=800)
