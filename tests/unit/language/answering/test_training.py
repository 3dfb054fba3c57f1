"""What the reader is trained to doubt: its rivals where it has some, else the passage that BM25 would wrongly give."""

from __future__ import annotations

import msgspec
from tests.unit.language.answering.world import example

from kalibre.language.answering.training import train_stages


def test_doubts_over_the_rivals_it_is_given():
    plain = [example(number) for number in range(60)]
    given = [
        msgspec.structs.replace(one, rivals=(other.context, plain[-1].context)) if at % 2 else one
        for at, (one, other) in enumerate(zip(plain, plain[1:] + plain[:1], strict=True))
    ]

    trained = train_stages(given, folds=2, rounds=3)

    assert int(trained.own.sum()) == 60
    # Two rivals for each second question; for every other one at most the passage that BM25 finds.
    assert 60 < int((~trained.own).sum()) <= 90
    assert not trained.right[~trained.own].any()
    assert ((trained.probability >= 0) & (trained.probability <= 1)).all()
