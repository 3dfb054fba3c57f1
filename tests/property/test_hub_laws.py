"""Laws of the hub: no order of arrival, no pace and no restart shows in what ensemble and scorer say."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.fakes.hub_streams import (
    HORIZON,
    SERIES,
    Market,
    Readers,
    Said,
    bench,
    close_of,
    ensemble_of,
    in_turn,
    judged,
    moment_of,
    scorer_of,
    told,
)

from kalibre.core.events import Event
from kalibre.hub._tally import Tally
from kalibre.hub.ensemble import Weights
from kalibre.hub.join import Join
from kalibre.log.replay import copy_state, state_digest

NAMES = ("champion", "good", "poor", "sleepy")
NO_SHRINKING = (Phase.explicit, Phase.generate)
"""A run takes a second or so: a smaller example of a failure would take minutes to find."""
N_BARS = 760
STOPPED, BACK = 300, 340
"""Bars between which one of them is released."""


@cache
def streams() -> dict[str, list[Event]]:
    """Return four streams: good, certainly bad, asleep at times and later wrong, and stopped, released and back."""
    market = Market(N_BARS, seed=5, edge=1.5)
    good, contrary = market.knowing(), market.wrong()

    def turned(bar: int) -> float | None:
        return good(bar) if bar < 420 else contrary(bar)

    found = {
        "good": market.stream("good", good, model=lambda bar: f"good:{bar // 300}"),
        "poor": market.stream("poor", market.wrong()),
        "sleepy": market.stream(
            "sleepy", lambda bar: turned(bar) if bar % 10 else None, late=lambda bar: 40 <= bar < 60
        ),
    }
    champion = market.stream("champion", market.knowing(0.5))
    at = {bar: next(k for k, one in enumerate(champion) if moment_of(one) >= close_of(bar)) for bar in (STOPPED, BACK)}
    found["champion"] = [
        *champion[: at[STOPPED]],
        bench("champion", close_of(STOPPED)),
        *champion[at[STOPPED] : at[BACK]],  # what it makes up for later
        bench("champion", close_of(BACK), benched=False),
        *champion[at[BACK] :],
    ]
    return found


@cache
def expected() -> dict[str, Said]:
    readers = judged(dict(streams()))
    return {name: told(said) for name, said in readers.said.items()}


def test_the_example_has_everything_in_it() -> None:
    readers = judged(dict(streams()))
    assert len(readers.by_kind("ensemble")) == N_BARS
    benched: list[Any] = readers.by_kind("benched")
    assert any(event.payload.names == ("poor",) for event in benched)
    assert readers.by_kind("drift")
    assert any("nobody waits" in why for event in readers.by_kind("ensemble") for why in event.payload.silent.values())  # type: ignore[attr-defined]


@settings(max_examples=5, deadline=None, phases=NO_SHRINKING, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_no_order_of_arrival_and_no_pace_shows(data: st.DataObject) -> None:
    """Any interleaving of the streams, each in its own order, read at any pace: the same words in the same order."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    most = data.draw(st.sampled_from([1, 3, 40, 400]))
    readers = Readers(ensemble_of(NAMES), scorer_of(NAMES))
    left = {name: list(reversed(stream)) for name, stream in streams().items()}
    while any(left.values()):
        name = str(rng.choice([name for name, stream in left.items() if stream]))
        for _ in range(int(rng.integers(1, most + 1))):
            # Bars that follow its return are not in the log before that: nobody can have spoken of them.
            is_back = not any(event.kind == "bench" for event in left["champion"])
            stream = left[name]
            if not stream or (name != "champion" and not is_back and moment_of(stream[-1]) >= close_of(BACK)):
                break
            readers.write(stream.pop())
        readers.read(int(rng.integers(2)), int(rng.integers(1, 2 * most + 1)))
    readers.read_all()
    assert {name: told(said) for name, said in readers.said.items()} == expected()


@pytest.mark.parametrize("unsorted", ["join", "judge"])
def test_a_reader_that_goes_by_arrival_is_caught(monkeypatch: pytest.MonkeyPatch, unsorted: str) -> None:
    """Plant: bars are done as they become complete, or the truth is the one that came first."""
    if unsorted == "join":

        def first(join: Join) -> Any:
            for close_ms, heard in join._waiting.items():
                if len(heard) >= 3:
                    join._next = [close_ms, *(one for one in join._next if one != close_ms)]
                    from kalibre.hub.join import Complete

                    return Complete(close_ms, heard, ())
            return None

        monkeypatch.setattr(Join, "first_waiting", first)
        monkeypatch.setattr(Join, "done", lambda join, close_ms: (join._waiting.pop(close_ms), join._next.pop(0)))
    else:
        monkeypatch.setattr(
            Join, "truth", lambda join, close_ms, by_ms: next(iter(join._truths.get(close_ms, {}).values()), None)
        )
    found = []
    for order in (list(NAMES), list(reversed(NAMES))):
        readers = Readers(ensemble_of(NAMES), scorer_of(NAMES))
        for name in order:
            for event in streams()[name][:150]:
                readers.write(event)
                if name == order[-1]:
                    readers.read_all()
        found.append(told(readers.said["ensemble"]))
    assert found[0] != found[1]


@settings(max_examples=4, deadline=None, phases=NO_SHRINKING, suppress_health_check=[HealthCheck.too_slow])
@given(cuts=st.lists(st.integers(0, 6_500), min_size=3, max_size=8))
def test_no_restart_shows(cuts: list[int]) -> None:
    """State and restore at any event, for both: the same words in the same order, and the same state."""
    readers = Readers(ensemble_of(NAMES), scorer_of(NAMES))
    for event in in_turn(list(streams().values())):
        readers.write(event)
        readers.read_all()
    log = readers.log
    for make in (ensemble_of, scorer_of):
        one: Any = make(NAMES)
        said: list[Event] = []
        for k, event in enumerate(log):
            if k in cuts:
                again: Any = make(NAMES)
                again.restore(copy_state(one.state()))
                assert state_digest(again.state()) == state_digest(one.state())
                one = again
            if event.kind in one.reads:
                said += one.apply(event)
        assert told(said) == expected()[one.name]


# --- weights ----------------------------------------------------------------------------------------------------------

probabilities = st.floats(0.001, 0.999)
words = st.lists(
    st.tuples(st.dictionaries(st.sampled_from("abcd"), probabilities, max_size=4), st.booleans()), max_size=60
)


@settings(max_examples=60, deadline=None)
@given(words, st.sampled_from([1, 4, 16]))
def test_weights_are_those_of_plain_fixed_share(history: list[tuple[dict[str, float], bool]], horizon: int) -> None:
    """As computed plainly in long doubles, where sleepers keep what they have; they sum to 1, and a bound holds."""
    weights, part = Weights(horizon_bars=horizon), np.longdouble(1) / horizon
    plain = {name: np.longdouble(1) for name in ("z", *"abcd")}
    share = np.longdouble(0.002) / horizon
    loss, own = 0.0, dict.fromkeys(plain, 0.0)
    for heard, up in history:
        said = {**heard, "z": 0.5}
        pooled, by = weights.pool(said)
        assert math.isclose(math.fsum(by.values()), 1.0, rel_tol=1e-12)
        assert min(said.values()) - 1e-12 <= pooled <= max(said.values()) + 1e-12
        mass = sum(plain[name] for name in said)
        mix = sum(plain[name] * np.longdouble(p) for name, p in said.items()) / mass
        assert math.isclose(pooled, float(mix), rel_tol=1e-9)
        weights.learn(said, went_up=up)
        kept = {name: plain[name] * (p if up else 1 - p) ** part for name, p in said.items()}
        whole = sum(kept.values())
        for name in said:
            plain[name] = mass * ((1 - share) * kept[name] / whole + share / len(said))
        loss -= math.log(mix if up else 1 - mix)
        own["z"] += math.log(2)
    # Against who is always awake, whoever sleeps: its loss and ln 5 for every independent sample's worth of weight.
    assert loss <= own["z"] + horizon * (math.log(5) - len(history) * math.log(1 - float(share))) + 1e-6


# --- the tally --------------------------------------------------------------------------------------------------------

rows = st.lists(
    st.tuples(st.floats(0.01, 0.99), st.booleans(), st.floats(-0.05, 0.05), st.booleans()), min_size=1, max_size=420
)


@settings(max_examples=40, deadline=None)
@given(rows, st.integers(60, 200), st.integers(1, 8), st.integers(0, 420))
def test_a_tally_is_the_newest_rows_computed_plainly(
    taken: list[tuple[float, bool, float, bool]], window: int, horizon: int, cut: int
) -> None:
    tally = Tally(window, horizon_bars=horizon)
    base = -math.log(0.5)
    for k, (p, up, log_return, has_part) in enumerate(taken):
        if k == cut:
            again = Tally(window, horizon_bars=horizon)
            again.restore(copy_state(tally.state()))
            tally = again
        tally.take(k, p, went_up=up, log_return=log_return, base_loss=base, margin=log_return if has_part else math.nan)
    kept = taken[-window:]
    n = len(kept)
    assert len(tally) == n
    assert tally.n_new == len(taken)
    figures, edge = tally.figures(fee=0.001, horizons_per_year=100.0), tally.edge()
    if n < 50:
        assert set(figures.values()) == {None}
        assert edge is None
        return
    losses = [-math.log(p if up else 1 - p) for p, up, _, _ in kept]
    says = [p > 0.5 for p, *_ in kept]
    hits = sum(said and up for said, (_, up, _, _) in zip(says, kept, strict=True))
    earned = [said * (one[2] - 0.002) for said, one in zip(says, kept, strict=True)]
    n_up = sum(up for _, up, _, _ in kept)
    plain = {
        "base_rate": n_up / n,
        "accuracy": sum(said == up for said, (_, up, _, _) in zip(says, kept, strict=True)) / n,
        "precision": hits / sum(says) if any(says) else None,
        "recall": hits / n_up if n_up else None,
        "brier": sum((p - up) ** 2 for p, up, _, _ in kept) / n,
        "log_loss": sum(losses) / n,
        "win_rate": sum(one > 0 for one in earned) / sum(says) if any(says) else None,
    }
    for name, value in plain.items():
        assert figures[name] == (None if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)), name
    spread = np.std(earned)
    if spread > 1e-9:
        assert figures["sharpe"] == pytest.approx(np.mean(earned) / spread * 10.0, rel=1e-6)
    else:
        assert figures["sharpe"] is None
    assert edge is not None
    assert edge.mean == pytest.approx(base - sum(losses) / n, abs=1e-12)
    assert edge.low <= edge.mean <= edge.high
    margins = [one[2] for one in kept if one[3]]
    assert tally.marginal() == (None if len(margins) < 50 else pytest.approx(np.mean(margins), abs=1e-12))


def test_the_series_is_the_one_of_the_fakes() -> None:
    assert {event.key.rpartition("|")[0] for event in streams()["good"]} == {SERIES}
    assert HORIZON == 4
