"""Laws of personal data: places are valid, masking leaves nothing to be found, anything goes in, time is linear."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kalibre.language.pii import find, mask

PIECES = st.sampled_from(
    [
        "10000000146", "4540536920", "TR330006100519786457841326", "TR33 0006 1005 1978 6457 8413 26",
        "4111111111111111", "4111 1111 1111 1111", "0532 123 45 67", "(0532) 123 45 67", "5321234567", "+90",
        "a@b.com", "@ali", "34 ABC 123", "34ABC123", " ", "-", ".", ",", "(", ")", "/", "@", "TCKN ",
        "vergi no ", "tel ", "sipariş no ", "kart ", "plaka ", "<TCKN>", "1", "0", "9", "A", "\n", "İ",
        "\ud800", "[at]", " [dot] com", "x", "+", "'ya",
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join), st.text("0123456789 @.-()TR+", max_size=80)
)


@given(TEXTS)
def test_places_are_valid_in_order_and_apart(text):
    at = 0
    for one in find(text):
        assert at <= one.start < one.end <= len(text)
        assert text[one.start : one.end] == one.text
        assert 0 < one.score <= 1
        at = one.end


@given(TEXTS)
def test_nothing_is_found_in_what_is_masked(text):
    masked = mask(text)
    assert find(masked.text) == []
    for one in masked.found:
        assert text[one.start : one.end] == one.text


@given(TEXTS)
def test_what_is_no_piece_stays(text):
    masked = mask(text)
    rest, at = [], 0
    for one in masked.found:
        assert one.start >= at
        rest.append(text[at : one.start])
        at = one.end
    rest.append(text[at:])
    if "#" not in masked.text:
        place = 0
        for part in rest:
            place = masked.text.index(part, place) + len(part)


@pytest.mark.parametrize(
    "piece", ["a@b.com", "5321234567 ", "1", "34ABC123 ", "(0532)1234567", "TR33 0006 ", "-", "a.", "+1 2 "]
)
def test_long_texts_take_linear_time(piece):
    def seconds(length):
        text = piece * (length // len(piece))
        start = time.process_time()
        mask(text)
        return time.process_time() - start

    seconds(1_000)
    short, long = seconds(6_000), seconds(48_000)
    assert long < 40 * short + 0.3
