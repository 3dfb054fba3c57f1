"""A small set of sentences made by rule, to train on."""

import numpy as np
import pytest
from tests.unit.language.sentiment.made import sentences

from kalibre.language.sentiment import fast


@pytest.fixture(scope="session")
def bundle():
    texts, labels = sentences(150, 1)
    return fast.train(texts, labels, groups=np.arange(150), seed=3, card={"licence": "made up"})


@pytest.fixture(scope="session")
def model(bundle):
    return fast.from_bundle(bundle)
