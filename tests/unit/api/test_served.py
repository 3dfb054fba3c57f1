"""The serving path says what the bundle says, bit for bit, and the posted row is judged before it is asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fakes.models import bar_events, random_bars, small_bundle

from kalibre.api import posted as post
from kalibre.api.answers import Decided, Standing, answer, decide
from kalibre.api.folds import FeatureFold
from kalibre.api.served import ServedModel, single_score
from kalibre.core.errors import ApiError
from kalibre.models.bundle import load_bundle
from kalibre.models.calibrator import Calibrator

COLUMNS = ("realised_volatility_20", "rsi_14", "log_return_1")

CALIBRATORS = [
    Calibrator("isotonic", scores=(0.1, 0.3, 0.35, 0.9), probabilities=(1e-9, 0.3, 0.6, 1 - 1e-9)),
    Calibrator("isotonic", scores=(0.5,), probabilities=(0.4,)),
    Calibrator("platt", slope=0.8, intercept=-0.1),
    Calibrator("identity"),
]


@pytest.mark.parametrize("calibrator", CALIBRATORS, ids=lambda c: f"{c.kind}-{len(c.scores)}")
@given(score=st.floats(0, 1) | st.sampled_from([0.0, 0.1, 0.3, 0.35, 0.5, 0.9, 1.0]))
def test_one_score_is_calibrated_as_many_are(calibrator: Calibrator, score: float) -> None:
    assert single_score(calibrator)(score) == calibrator.apply(np.array([score, 0.2]))[0]


@pytest.mark.parametrize("unknown", [{}, {"ece_calibrated": None, "ece_band": [None, None]}])
def test_a_calibration_that_is_not_known_is_served_as_that(unknown: dict[str, Any], tmp_path: Path) -> None:
    """A model that runs in shadow because its history was too short to say."""
    bundle = replace(small_bundle(columns=COLUMNS), calibration=unknown)
    bundle.save(tmp_path)
    view = ServedModel(load_bundle(tmp_path, bundle.model_id)).calibration_view
    assert (view.ece_calibrated, view.ece_band) == (None, None)


def test_an_unknown_score_stays_unknown() -> None:
    for calibrator in CALIBRATORS:
        assert np.isnan(single_score(calibrator)(float("nan")))


def test_a_row_gets_the_numbers_of_booster_and_bundle() -> None:
    bundle = small_bundle(columns=COLUMNS)
    served = ServedModel(bundle)
    rng = np.random.default_rng(3)
    rows = rng.normal([0.002, 50, 0], [0.002, 30, 0.002], size=(500, 3))
    rows[0] = 1e300
    booster = lightgbm.Booster(model_str=bundle.classifier.text)
    expected = bundle.calibrator.apply(np.asarray(booster.predict(rows)))
    got = np.array([served.p_up(row.tolist()) for row in rows])
    assert (got == expected).all()
    assert (got == bundle.predict(rows)).all()
    assert len(set(got)) > 10


@pytest.mark.parametrize(
    ("body", "status", "quoted"),
    [
        (b"", 400, "the body is empty: send"),
        (b" \n", 400, "the body is empty: send"),
        (b'{"symbol": "X", "features": [NaN]}', 400, "NaN"),
        (b"\xff\xfe", 400, "no JSON"),
        (b"[1, 2]", 422, "object"),
        (b'{"features": [1]}', 422, "symbol"),
        (b'{"symbol": "X"}', 422, "neither"),
        (b'{"symbol": "X", "features": [1], "bars": []}', 422, "both"),
        (b'{"symbol": "X", "features": [1, "high"]}', 422, r"features\[1\].*'high'"),
        (b'{"symbol": "X", "features": [null]}', 422, "None"),
        (b'{"symbol": "X", "features": [true]}', 422, "True"),
        (b'{"symbol": "X", "features": [1e999]}', 422, "range"),
        (b'{"symbol": 5, "features": [1]}', 422, "5"),
        (b'{"symbol": "X", "feature": [1]}', 422, "feature"),
        (b'{"symbol": "X", "bars": [{"open_time": 1}]}', 422, "open"),
        (b"[" * 100_000, 422, "object"),
        (b'{"symbol": ' + b"[" * 100_000, 422, "str"),
        (b'{"symbol": "X", "bars": [{"open_time": ' + b"9" * 10_000 + b"}]}", 422, "open_time"),
    ],
)
def test_what_cannot_be_read_is_quoted(body: bytes, status: int, quoted: str) -> None:
    with pytest.raises(ApiError, match=f"(?s){quoted}") as caught:
        post.read(body)
    assert caught.value.status == status


@given(st.floats(0, 1), st.floats(0.01, 1), st.sampled_from([None, True, False]))
def test_the_policy_enters_flat_and_leaves_long_only(p_up: float, entry: float, holding: bool | None) -> None:
    exit_ = entry / 2
    action, reason = decide(p_up, entry, exit_, holding=holding)
    assert reason
    if p_up >= entry:
        assert action == ("HOLD" if holding else "ENTRY")
    elif p_up <= exit_:
        assert action == ("HOLD" if holding is False else "EXIT")
    else:
        assert action == "HOLD"


def test_any_hold_wins_and_every_reason_is_given() -> None:
    served = ServedModel(small_bundle(columns=COLUMNS))
    common: dict[str, Any] = {"as_of_ms": 0, "staleness_seconds": 1.0, "seq": 3}
    free = answer("X", Standing(model=served, p_up=0.9), holds=[], **common)
    assert (free.signal, free.confidence) == ("ENTRY", pytest.approx(0.8))
    held = answer("X", Standing(model=served, p_up=0.9), holds=["killed", "stale"], **common)
    assert (held.signal, held.reasons, held.p_up) == ("HOLD", ["killed", "stale"], 0.9)
    empty = answer("X", Standing(problem="no model"), holds=["stale"], **common)
    assert (empty.signal, empty.p_up, empty.model, empty.reasons) == ("HOLD", None, None, ["no model", "stale"])
    recorded = Standing(model=served, p_up=0.9, decided=Decided("HOLD", 0.9, ("the day is lost",)))
    assert answer("X", recorded, holds=[], **common).reasons == ["the day is lost"]


@pytest.mark.parametrize(
    ("decided", "p_up", "signal", "said"),
    [
        (Decided("ENTRY", 0.9, ("it was high",)), 0.9, "ENTRY", ["it was high"]),
        (Decided("ENTRY", 0.9, ("it was high",)), 0.8, "ENTRY", ["it was high", "make it 0.8000"]),
        (Decided("ENTRY", 0.9, ("it was high",)), 0.2, "HOLD", ["it was high", "at p_up 0.9000", "the next bar"]),
        (Decided("HOLD", None, ("too few bars",)), 0.9, "HOLD", ["too few bars", "without a forecast"]),
        (Decided("HOLD", 0.9, ("the day is lost",)), 0.8, "HOLD", ["the day is lost", "make it 0.8000"]),
    ],
)
def test_a_decision_that_later_bars_contradict_is_not_repeated(
    decided: Decided, p_up: float, signal: str, said: list[str]
) -> None:
    served = ServedModel(small_bundle(columns=COLUMNS))
    standing = Standing(model=served, p_up=p_up, holding=False, decided=decided)
    got = answer("X", standing, holds=[], as_of_ms=0, staleness_seconds=1.0, seq=3)
    assert got.signal == signal
    assert got.p_up == p_up
    for text in said:
        assert text in " / ".join(got.reasons)
    assert (len(got.reasons) == 1) == (decided.p_up == p_up)


def test_an_unknown_feature_is_no_forecast() -> None:
    served = ServedModel(small_bundle(columns=COLUMNS))
    fold = FeatureFold("BTCUSDT", "15m", served.bundle.spec)
    for event in bar_events(random_bars(5)):
        fold.take(event)
    assert fold.p_up(served) is None
    assert "5 bars" in fold.problem(served)


def test_the_folder_of_routes_is_complete() -> None:
    routes = Path(post.__file__).parent / "routes"
    for file in routes.glob("[!_]*.py"):
        if file.stem != "base":
            assert "router = APIRouter(" in file.read_text(), f"{file.name} has no router: it would not be served"
