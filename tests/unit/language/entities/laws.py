"""What must hold of any entities of any text; a test that plants a breach shows that each is seen."""

import itertools

from kalibre.language.base import ENTITY_TYPES
from kalibre.language.text.tokens import tokenize


def breaches(text, entities):
    """Return what is wrong with entities."""
    found = []
    for one in entities:
        if one.text != text[one.start : one.end] or not one.text:
            found.append(f"{one.text!r} does not stand at {one.start}:{one.end}")
        if one.type not in ENTITY_TYPES:
            found.append(f"type {one.type}")
        if one.probability is not None and not 0.0 <= one.probability <= 1.0:
            found.append(f"probability {one.probability}")
    for one, other in itertools.pairwise(entities):
        if other.start < one.end:
            found.append(f"{other.text!r} begins inside {one.text!r}, or before it")
    suffixes = [(token.suffix_start, token.end) for token in tokenize(text) if token.suffix]
    for one in entities:
        found += [f"{one.text!r} ends in a suffix" for begin, end in suffixes if one.start < begin < one.end <= end]
    return found
