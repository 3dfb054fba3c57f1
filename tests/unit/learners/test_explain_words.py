"""Names of columns and sentences about them: every column has one, in both languages, and no two are the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalibre.core.learning import Note
from kalibre.features.engine import all_columns, describe, families, find_column
from kalibre.learners import _explain_words
from kalibre.learners._explain_names import FAMILIES, NAMES
from kalibre.learners._explain_words import Reading, column_name, sentence, state_of, words


def test_every_column_of_every_family_is_named() -> None:
    patterns = {re.sub(r"_\{\w+\}", "", column.pattern) for family in families().values() for column in family.columns}
    assert patterns == set(NAMES)
    assert set(FAMILIES) == set(families())


@pytest.mark.parametrize("lang", ["en", "tr"])
def test_no_two_columns_have_one_name(lang: str) -> None:
    names = [column_name(name, lang) for name in all_columns()]  # type: ignore[arg-type]
    assert len(set(names)) == len(names)


def test_names_carry_parameters_and_timeframe() -> None:
    assert column_name("macd_histogram_relative_12_26_9") == "MACD histogram(12, 26, 9)"
    assert column_name("rsi_7@4h") == "RSI(7), 4h"
    assert column_name("volume_ratio_20", "tr") == "ortalamasına göre hacim(20)"
    assert column_name("session_europe", "tr") == "Avrupa seansı"


def test_a_column_that_is_not_in_the_table_has_the_name_of_its_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new column is a new line in its family, and nothing here."""
    monkeypatch.setattr(_explain_words, "NAMES", {})
    for function in (column_name, _explain_words._kind):
        function.cache_clear()
    try:
        assert column_name("natr_14") == "average true range in percent of the close(14)"
        assert column_name("natr_14", "tr") == "oynaklık: natr_14(14)"
        assert sentence("natr_14", 0.5, 1.0) == (
            "average true range in percent of the close(14) (0.5): raises the probability"
        )
    finally:
        for function in (column_name, _explain_words._kind):
            function.cache_clear()


def test_a_column_of_another_version_keeps_its_own_name() -> None:
    assert column_name("moon_phase_3") == "moon_phase_3"
    assert sentence("moon_phase_3", 0.25, -1.0) == "moon_phase_3 (0.25): lowers the probability"
    assert sentence("moon_phase_3@1h", 0.25, -1.0, reading=Reading(scaled=True)).startswith("moon_phase_3, 1h (0.25)")


@pytest.mark.parametrize(
    ("column", "value", "reading", "expected"),
    [
        ("rsi_14", 29.0, Reading(), "low"),
        ("rsi_14", 50.0, Reading(), "in the middle"),
        ("rsi_14", 71.0, Reading(), "high"),
        ("log_return_1", 0.0, Reading(), "zero"),
        ("log_return_1", 0.01, Reading(), "positive"),
        ("log_return_1", -0.01, Reading(), "negative"),
        ("log_return_1", 0.1, Reading(scaled=True), "low"),
        ("session_asia", 1.0, Reading(), "open"),
        ("session_asia", 0.0, Reading(), "closed"),
        ("hour_cos", 1.0, Reading(), ""),
        ("natr_14", 0.3, Reading(), ""),
        ("natr_14", 0.3, Reading((0.4, 0.8)), "low"),
        ("natr_14", 0.9, Reading((0.4, 0.8)), "high"),
        ("natr_14", 0.6, Reading((0.4, 0.8)), "in the middle"),
    ],
)
def test_what_a_value_is_like(column: str, value: float, reading: Reading, expected: str) -> None:
    assert state_of(column, value, reading) == expected


def test_a_scaled_column_with_bounds_is_told_as_people_know_it() -> None:
    assert (
        sentence("rsi_14", 0.234, 1.0, reading=Reading(scaled=True)) == "RSI(14) is low (23.4): raises the probability"
    )
    assert sentence("obv_flow_10", 0.25, 1.0, "tr", Reading(scaled=True)) == (
        "denge hacmi (OBV) akışı(10) negatif (-0,5): olasılığı artırıyor"
    )


def test_figures_are_written_as_each_language_writes_them() -> None:
    assert sentence("sma_20", 64_210.4, 1.0) == "moving average(20) (64,210): raises the probability"
    assert sentence("sma_20", 64_210.4, -1.0, "tr") == "hareketli ortalama(20) (64.210): olasılığı azaltıyor"


every_column = st.sampled_from([*all_columns(), "rsi_14@1h", "natr_14@4h"])
every_reading = st.builds(Reading, st.none() | st.just((-0.1, 0.2)), st.booleans())


@given(every_column, st.floats(-1e6, 1e6), st.floats(-2, 2).filter(bool), every_reading)
def test_the_sentence_of_a_label_is_found_again_in_either_language(
    column: str, value: float, added: float, reading: Reading
) -> None:
    note = Note(sentence(column, value, added, reading=reading), {column: added, "bias": 3.0, "rest": -3.0}, "m")
    assert words(note) == [note.label]
    assert words(note, "tr") == [sentence(column, value, added, "tr", reading)]


def test_every_state_and_family_has_a_turkish_word() -> None:
    states = {
        state_of(name, value, Reading((-0.5, 0.5)))
        for name in all_columns()
        for value in (-200.0, -1.0, 0.0, 0.3, 50.0, 1e5)
    } - {""}
    assert states == set(_explain_words._STATES)
    assert all(english != turkish for english, turkish in _explain_words._STATES.items())
    assert {describe(name)["family"] for name in all_columns()} == set(FAMILIES)
    assert find_column("rsi_14")[0].pattern == "rsi_{window}"
