"""Laws of headlines: keys, and the two news columns."""

from __future__ import annotations

import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kalibre.bars.news import HALF_LIFE_MS, LIVES, LONGEST_MS, NewsFeatures, news_rows
from kalibre.core.text_events import HeadlineScore
from kalibre.language.headlines.canonical import canonical, exact_key, near_key
from kalibre.language.headlines.checks import reason_against

HOUR = 3_600_000
WORDS = st.sampled_from(
    "dolar borsa yükseldi düştü garanti kârını artırdı artırmadı faiz yüzde 5 12,5 mayıs değil".split()
)
HEADLINES = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)


@given(st.text())
def test_any_text_has_keys_and_is_judged(text: str) -> None:
    assert len(exact_key(text)) == len(near_key(text)) == 32
    assert canonical(canonical(text)) is not None
    assert reason_against(text) is None or reason_against(text)


@given(HEADLINES, st.sampled_from(["SON DAKİKA: {}", "{} - Reuters", "{}...", "  {} ", "Flaş: {} (AA)"]))
def test_what_a_wire_adds_changes_nothing(text: str, form: str) -> None:
    assert near_key(form.format(text)) == near_key(text)


@given(HEADLINES, st.integers(0, 999), st.integers(0, 999))
def test_a_changed_number_is_never_a_near_duplicate(text: str, one: int, other: int) -> None:
    same = near_key(f"{text} {one}") == near_key(f"{text} {other}")
    assert same == (one == other)


@given(HEADLINES)
def test_exact_repetitions_are_near_ones(text: str) -> None:
    assert near_key(text.upper().replace("İ", "İ")) == near_key(re.sub(r"\s+", "  ", text.upper()))


SCORES = st.lists(
    st.tuples(
        st.integers(0, 60 * 24 * HOUR),
        st.builds(
            HeadlineScore,
            headline=st.sampled_from("abcdefgh"),
            story=st.sampled_from("abcd"),
            asset=st.sampled_from(["THYAO", "BIST100", "USD"]),
            impact=st.floats(-1, 1),
            confidence=st.floats(0, 1),
            horizon=st.sampled_from([None, "intraday", "daily", "weekly"]),
            model=st.sampled_from("mn"),
        ),
    ),
    max_size=25,
)
RELEVANCE = {"THYAO": 1.0, "BIST100": 0.5}
CLOSES = np.arange(1, 120, dtype=np.int64) * 12 * HOUR


def test_scores_that_differ_in_their_horizon_alone_have_an_order() -> None:
    said = {"headline": "h", "story": "s", "asset": "THYAO", "impact": 0.5, "confidence": 0.5, "model": "m"}
    scores = [(0, HeadlineScore(horizon=horizon, **said)) for horizon in ("daily", None, "weekly", "intraday")]  # type: ignore[arg-type]
    rows = [news_rows(order, np.array([HOUR]), {"THYAO": 1.0}).tolist() for order in (scores, scores[::-1])]
    assert rows[0] == rows[1]


@given(SCORES)
@settings(max_examples=60)
def test_a_row_knows_nothing_of_what_comes_later(scores: list[tuple[int, HeadlineScore]]) -> None:
    rows = news_rows(scores, CLOSES, RELEVANCE)
    cut = 60
    before = [(when, score) for when, score in scores if when <= CLOSES[cut]]
    assert np.array_equal(news_rows(before, CLOSES[: cut + 1], RELEVANCE), rows[: cut + 1])
    assert (np.abs(rows[:, 0]) <= 1).all()
    assert ((rows[:, 1] >= 0) & (rows[:, 1] <= 1)).all()


@given(SCORES, st.randoms())
@settings(max_examples=60)
def test_the_order_of_arrival_and_redelivery_change_nothing(
    scores: list[tuple[int, HeadlineScore]], random: np.random.Generator
) -> None:
    rows = news_rows(scores, CLOSES, RELEVANCE)
    mixed = [*scores, *scores[: len(scores) // 2]]
    random.shuffle(mixed)  # type: ignore[arg-type]
    assert np.array_equal(news_rows(mixed, CLOSES, RELEVANCE), rows)
    # Live, scores come in whenever they do, the ones of the future included.
    fold = NewsFeatures(RELEVANCE)
    for when, score in mixed:
        fold.add(when, score)
    assert np.array_equal(np.array([fold.at(close) for close in CLOSES.tolist()]), rows)


@given(SCORES)
@settings(max_examples=60)
def test_a_row_past_the_warm_up_does_not_depend_on_the_start(scores: list[tuple[int, HeadlineScore]]) -> None:
    rows = news_rows(scores, CLOSES, RELEVANCE)
    start = int(CLOSES[30])
    late = news_rows([(when, score) for when, score in scores if when > start], CLOSES, RELEVANCE)
    warm = start + LONGEST_MS < CLOSES
    assert np.array_equal(late[warm], rows[warm])


def test_a_score_is_gone_after_its_lives() -> None:
    score = HeadlineScore(
        headline="h", story="s", asset="THYAO", impact=1.0, confidence=1.0, horizon="intraday", model="m"
    )
    end = LIVES * HALF_LIFE_MS["intraday"]
    rows = news_rows([(0, score)], np.array([end, end + 1], dtype=np.int64), RELEVANCE)
    assert rows[0, 0] > 0
    assert rows[1].tolist() == [0.0, 0.0]
