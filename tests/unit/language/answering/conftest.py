"""The small world, and a reader trained on it."""

from __future__ import annotations

import pytest
from tests.unit.language.answering.world import example

from kalibre.language.answering.examples import Example
from kalibre.language.answering.fast import FastReader, from_bundle, train


@pytest.fixture(scope="session")
def world() -> list[Example]:
    return [example(number) for number in range(320)]


@pytest.fixture(scope="session")
def unseen() -> list[Example]:
    return [example(number) for number in range(5_000, 5_060)]


@pytest.fixture(scope="session")
def reader(world: list[Example]) -> FastReader:
    return from_bundle(train(world, folds=2, rounds=25))


@pytest.fixture(scope="session")
def astray() -> FastReader:
    """A reader whose training answers were shuffled: it must lose."""
    return from_bundle(train([example(number, shuffled=True) for number in range(320)], folds=2, rounds=25))
