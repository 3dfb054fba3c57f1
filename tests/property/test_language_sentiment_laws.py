"""Laws of sentiment: whatever the text, a clear result; what is told adds up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.language import calibration
from kalibre.language.load import load
from kalibre.language.ngrams import Block, counts, parts_of, units
from kalibre.language.sentiment.directions import read
from kalibre.language.sentiment.impact import focused
from kalibre.language.sentiment.lexicon import TURKISH

WORDS = st.sampled_from(
    "faiz enflasyon kâr dolar altın yükseldi düştü geriledi artmadı değil ama , . ! ? 12,5 % ve THYAO sert".split()
)
SENTENCES = st.lists(WORDS, max_size=14).map(" ".join)
ANYTHING = st.one_of(
    st.text(max_size=120), SENTENCES, st.text(st.characters(categories=("Cs", "Cc", "Lo", "So")), max_size=30)
)


@pytest.fixture(scope="module")
def model():
    return load("sentiment", "builtin:fast")


@settings(max_examples=60, deadline=None)
@given(ANYTHING)
def test_any_text_has_a_clear_result(model, text):
    (said,) = model.predict([text])
    assert said.language in ("tr", "en", "other", "unknown")
    if said.probabilities is None:
        assert said.label is None
        assert said.abstained
    else:
        assert abs(sum(said.probabilities) - 1) < 1e-6
        assert (said.label is None) == (said.abstained is not None)
    assert all(-1 <= one.impact <= 1 for one in said.assets)
    assert all(0 <= one.start < one.end <= len(text) for one in said.reasons)


@settings(max_examples=100, deadline=None)
@given(ANYTHING)
def test_findings_lie_in_the_text(text):
    reading = read(text, TURKISH)
    assert -1 <= reading.net() <= 1
    for one in reading.findings:
        assert 0 <= one.start <= one.word[0] < one.word[1] <= one.end <= len(text)


@settings(max_examples=30, deadline=None)
@given(SENTENCES.filter(lambda text: any(letter.isalpha() for letter in text)))
def test_shares_of_the_linear_head_sum_up_to_it(model, text):
    whole = model.turkish
    linear = type(whole)(whole.classes, whole.features, whole.weights, whole.offset, whole.calibrator, whole.threshold)
    row = linear.features.rows([text])
    up = np.array([-1.0, 0.0, 1.0])
    words, signals = linear.shares(text, row, up)
    total = sum(weight for *_, weight in words) + signals.sum() + linear.offset @ up
    assert total == pytest.approx(float(linear.row_logits(row)[0] @ up), abs=1e-3)


@settings(deadline=None)
@given(st.lists(SENTENCES, min_size=1, max_size=6))
def test_counting_together_is_counting_alone(texts):
    for block in (Block("char", 2, 4), Block("word", 1, 2, cut=5), Block("line", 3, 5), Block("cue", 1, 1)):
        together = counts(texts, block)
        for i, text in enumerate(texts):
            assert (together[i] != counts([text], block)).nnz == 0
            assert len(units(parts_of([text], block), block)[0]) >= together[i].nnz


@settings(max_examples=30, deadline=None)
@given(SENTENCES.filter(lambda text: any(letter.isalpha() for letter in text)))
def test_focus_keeps_the_length_and_cuts_only_where_assets_part(text):
    reading = read(text, TURKISH)
    about = focused(text, reading)
    assert len(about) == len(text)
    assert all(one in (two, " ") for one, two in zip(about, text, strict=True))
    parting = focused(f"Dolar düştü, {text}, altın yükseldi", read(f"Dolar düştü, {text}, altın yükseldi", TURKISH))
    assert parting.startswith("Dolar düştü")


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_calibrators_give_distributions_and_temperature_keeps_the_order(seed):
    rng = np.random.default_rng(seed)
    scores, y = rng.normal(0, 2, (80, 3)), rng.integers(0, 3, 80)
    for kind in calibration.KINDS:
        p = calibration.fit(scores, y, kind).apply(scores)
        assert np.allclose(p.sum(axis=1), 1)
        assert (p >= 0).all()
    flat = calibration.fit(scores, y, "temperature").apply(scores)
    assert (flat.argmax(axis=1) == scores.argmax(axis=1)).all()
