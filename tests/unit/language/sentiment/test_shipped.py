"""The model that is shipped: its behaviour by template, its speed, and that no text stands in it."""

import json
import time

import numpy as np
import pytest

from kalibre.language.bundle import shipped
from kalibre.language.load import load
from kalibre.language.sentiment.behaviour import cases, direction, rates


@pytest.fixture(scope="module")
def model():
    return load("sentiment", "builtin:fast")


def test_behaviour(model):
    found = rates(model)
    assert set(found) == {case.kind for case in cases()}
    for kind, (held, asked) in found.items():
        assert held >= 0.9 * asked, (kind, held, asked)
    assert found["two_assets"][0] == found["two_assets"][1]


@pytest.mark.parametrize(
    ("text", "asset", "sign"),
    [
        ("Tüpraş'ın net kârı yüzde 40 arttı", "TUPRS", 1),
        ("Garanti BBVA'nın kârı beklentilerin altında kaldı", "GARAN", -1),
        ("BIST 100 günü yüzde 2 düşüşle kapattı", "BIST100", -1),
        ("Bitcoin 90.000 doların altına geriledi", "BTC", -1),
    ],
)
def test_impact_falls_on_the_asset_named(model, text, asset, sign):
    (said,) = model.predict([text])
    assert {one.asset: np.sign(one.impact) for one in said.assets}[asset] == sign


def test_english_direction(model):
    good, bad = model.predict(["Gold hits record high", "Turkish stocks tumble as inflation rises"])
    assert direction(good) > 0 > direction(bad)


def test_a_thousand_headlines_take_seconds(model):
    texts = [f"Şirket {i} yılında kârını yüzde {i % 50} artırdı, hisseleri yükseldi" for i in range(300)]
    started = time.process_time()
    model.predict(texts)
    assert time.process_time() - started < 3.0


@pytest.mark.parametrize("text", ["," * 19_900 + "faiz arttı", "a b " * 4_900, "dolar düştü " * 1_600])
def test_the_longest_text_takes_no_longer_than_its_length(model, text):
    started = time.process_time()
    (said,) = model.predict([text])
    assert said.probabilities is not None
    assert time.process_time() - started < 8.0  # what is quadratic takes half a minute


def test_nothing_readable_is_stored():
    bundle = shipped("sentiment", "fast")
    for name, content in bundle.files.items():
        if name.endswith(".json"):
            assert set(json.loads(content)) <= {"classes", "recipe", "calibrator", "threshold", "mix", "scale"}
    assert sum(len(content) for content in bundle.files.values()) < 4_000_000
    assert bundle.card["out_of_fold"]["ece"]["inside"] is True
