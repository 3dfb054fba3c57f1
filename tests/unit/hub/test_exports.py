"""Exports: whole tables against rows worked out by hand, any range, bounded memory, a file whole or not at all."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kalibre.core.errors import UsageError
from kalibre.core.events import Event, Forecast, ModelTrained, Outcome, new_event
from kalibre.core.hub_events import Checkpoint, EnsembleForecast, League, Score, Standing
from kalibre.hub import exports
from kalibre.hub.exports import TABLES, export
from kalibre.log import failpoints, open_log
from kalibre.log.protocol import EventLog

START, STEP = 1_704_067_200_000, 900_000
SERIES = "BTCUSDT|15m"


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def forecast(bar: int, name: str = "online", p_up: float | None = 0.5, **more: Any) -> Event:
    said = Forecast(
        model="m", role=name, horizon_bars=4, score=p_up, p_up=p_up, abstained=None if p_up is not None else "NaN"
    )
    return new_event(f"{SERIES}|{name}", START + bar * STEP, said, **more)


def outcome(bar: int, name: str = "online", p_up: float = 0.5, *, went_up: bool = True) -> Event:
    became = Outcome(model="m", p_up=p_up, went_up=went_up, log_return=0.01 if went_up else -0.01)
    return new_event(f"{SERIES}|{name}", START + bar * STEP, became)


def ensemble(bar: int, p_up: float = 0.5) -> Event:
    said = EnsembleForecast(horizon_bars=4, score=p_up, p_up=p_up, weights={"online": 1.0}, silent={"agents": "NaN"})
    return new_event(f"{SERIES}|ensemble", START + bar * STEP, said)


def read(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return pl.read_parquet(path).to_dicts()


def both(log: EventLog, what: str, folder: Path, **named: Any) -> list[dict[str, Any]]:
    """Export in both forms, see that they say the same, and return it."""
    found = []
    for form in ("jsonl", "parquet"):
        path = folder / f"{what}.{form}"
        rows = export(log, what, form, path, **named)
        found.append(read(path))
        assert rows == len(found[-1])
    assert found[0] == found[1]
    return found[0]


def test_forecasts_are_joined_with_what_became_of_them(log: EventLog, tmp_path: Path) -> None:
    stored = log.append(
        [forecast(2, p_up=0.7), ensemble(1, 0.6), outcome(1, "ensemble", 0.6, went_up=False), forecast(1, p_up=None)],
        writer="learners",
    )
    log.append([outcome(1, "ensemble", 0.6, went_up=True)], writer="learners")  # corrected
    rows = both(log, "predictions", tmp_path)
    assert [(row["event_time"], row["kind"], row["name"]) for row in rows] == [
        (START + STEP, "ensemble", "ensemble"),
        (START + STEP, "forecast", "online"),
        (START + 2 * STEP, "forecast", "online"),
    ]
    assert rows[0] == {
        **{"position": 2, "event_time": START + STEP, "recorded_at": stored[1].recorded_at},
        **{"symbol": "BTCUSDT", "timeframe": "15m", "name": "ensemble", "kind": "ensemble", "revision": 0},
        **{"provenance": "", "model": None, "label": None, "horizon_bars": 4, "score": 0.6, "p_up": 0.6},
        **{"abstained": None, "late": None, "weights": '{"online":1.0}', "silent": '{"agents":"NaN"}'},
        **{"outcome_position": 5, "went_up": True, "log_return": 0.01},
    }
    assert (rows[1]["abstained"], rows[1]["p_up"], rows[1]["went_up"]) == ("NaN", None, None)
    assert (rows[2]["p_up"], rows[2]["outcome_position"], rows[2]["late"]) == (0.7, None, False)


def test_what_a_rebuild_retold_stands_beside_what_was_said(log: EventLog, tmp_path: Path) -> None:
    log.append([forecast(1, p_up=0.7), outcome(1, p_up=0.7)], writer="learners")
    log.append([forecast(1, p_up=0.6, provenance="rebuild"), outcome(1, p_up=0.6, went_up=False)], writer="learners")
    rows = both(log, "predictions", tmp_path)
    assert [(row["revision"], row["provenance"], row["p_up"], row["went_up"]) for row in rows] == [
        (0, "", 0.7, True),
        (1, "rebuild", 0.6, False),
    ]


def test_the_order_and_the_range_are_those_of_event_times(log: EventLog, tmp_path: Path) -> None:
    bars = list(range(-40, 60))
    random.Random(3).shuffle(bars)
    log.append([forecast(bar) for bar in bars], writer="learners")
    times = [row["event_time"] for row in both(log, "predictions", tmp_path)]
    assert times == [START + bar * STEP for bar in range(-40, 60)]
    for start, end in ((0, 10), (None, -39), (59, None), (-1_000_000, 1_000_000), (60, None), (10, 11)):
        bounds = {"start_ms": start and START + start * STEP, "end_ms": end and START + end * STEP}
        if start == 0:
            bounds["start_ms"] = START
        rows = both(log, "predictions", tmp_path, **bounds)
        expected = [bar for bar in range(-40, 60) if (start is None or bar >= start) and (end is None or bar < end)]
        assert [row["event_time"] for row in rows] == [START + bar * STEP for bar in expected]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    bars=st.lists(st.integers(-10_000, 10_000), min_size=0, max_size=40),
    most=st.integers(2, 9),
    window=st.tuples(st.integers(-10_000, 10_000), st.integers(1, 8_000)),
)
def test_however_many_fit_into_a_slice_nothing_is_lost_or_doubled(
    tmp_path_factory: pytest.TempPathFactory, bars: list[int], most: int, window: tuple[int, int]
) -> None:
    folder = tmp_path_factory.mktemp("slices")
    before = exports._MOST_EVENTS
    try:
        exports._MOST_EVENTS = most
        with open_log(f"sqlite:///{folder / 'log.sqlite'}") as log:
            log.append([forecast(bar, name) for bar in bars for name in ("a", "b", "c")], writer="x")
            export(log, "predictions", "jsonl", folder / "all.jsonl")
            got = [(row["event_time"], row["name"]) for row in read(folder / "all.jsonl")]
            assert got == [(START + bar * STEP, name) for bar in sorted(set(bars)) for name in "abc"]
            first, length = window
            times = {"start_ms": START + first * STEP, "end_ms": START + (first + length) * STEP}
            export(log, "predictions", "jsonl", folder / "some.jsonl", **times)
            within = [one for one in got if times["start_ms"] <= one[0] < times["end_ms"]]
            assert [(row["event_time"], row["name"]) for row in read(folder / "some.jsonl")] == within
    finally:
        exports._MOST_EVENTS = before


def standing(name: str, *, edge: float | None = 0.1) -> Standing:
    return Standing(
        **{"name": name, "n": 5, "n_abstained": 1, "log_loss": 0.6, "brier": 0.2, "accuracy": 0.6},  # type: ignore[arg-type]
        **{"ece": None, "edge": edge, "edge_low": 0.0, "edge_high": 0.2, "benched": name == "b"},  # type: ignore[arg-type]
    )


SCORE = Score(
    **{"n": 9, "n_new": 2, "n_abstained": 0, "base_rate": 0.5, "accuracy": 0.6, "precision": None, "recall": 0.4},  # type: ignore[arg-type]
    **{"brier": 0.24, "log_loss": 0.68, "ece": 0.01, "win_rate": 0.5, "sharpe": 1.5},  # type: ignore[arg-type]
)


def test_scores_and_standings_are_one_table(log: EventLog, tmp_path: Path) -> None:
    league = League(window=2_000, rows=(standing("a"), standing("b", edge=None)))
    log.append([new_event(f"{SERIES}|online", START + 2, SCORE), new_event(SERIES, START + 1, league)], writer="scorer")
    rows = both(log, "metrics", tmp_path)
    assert [(row["kind"], row["name"], row["window"], row["edge"], row["sharpe"]) for row in rows] == [
        ("league", "a", 2_000, 0.1, None),
        ("league", "b", 2_000, None, None),
        ("score", "online", None, None, 1.5),
    ]
    assert [row["benched"] for row in rows] == [False, True, None]
    assert rows[2] | {"n": 9, "n_new": 2, "base_rate": 0.5, "precision": None, "ece": 0.01} == rows[2]
    fields = {*Score.__struct_fields__, *Standing.__struct_fields__}
    assert fields <= set(TABLES["metrics"].columns), "a figure that is added to an event is in the export too"


def test_every_figure_of_training_is_a_row(log: EventLog, tmp_path: Path) -> None:
    laid = Checkpoint(digest="ab12", position=3, size_bytes=77, reason="hourly", metrics={"loss": 0.5, "reward": None})
    trained = ModelTrained(model="BTCUSDT-15m-x", digest="d", metrics={"auc": 0.6})
    log.append(
        [
            new_event("online", START + 1, laid),
            new_event(SERIES, START, trained),
            new_event(f"{SERIES}|online", START + 2, SCORE),
        ],
        writer="x",
    )
    rows = both(log, "training", tmp_path)
    told = [(row["kind"], row["name"], row["about"], row["metric"], row["value"]) for row in rows]
    assert told[:4] == [
        ("model", "", "BTCUSDT-15m-x", "auc", 0.6),
        ("checkpoint", "online", "ab12", "loss", 0.5),
        ("checkpoint", "online", "ab12", "reward", None),
        ("checkpoint", "online", "ab12", "size_bytes", 77.0),
    ]
    assert (rows[0]["symbol"], rows[0]["timeframe"]) == ("BTCUSDT", "15m")
    assert {row["metric"]: row["value"] for row in rows if row["kind"] == "score"} == {
        name: getattr(SCORE, name) for name in Score.__struct_fields__
    }


def test_an_empty_log_gives_an_empty_table_with_its_columns(log: EventLog, tmp_path: Path) -> None:
    for what, table in TABLES.items():
        assert both(log, what, tmp_path) == []
        schema = pl.read_parquet_schema(tmp_path / f"{what}.parquet")
        assert list(schema) == list(table.columns)
    assert pl.read_parquet_schema(tmp_path / "predictions.parquet")["late"] == pl.Boolean


def test_bad_questions_are_quoted(log: EventLog, tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    with pytest.raises(UsageError, match="no export of 'secrets': choose one of predictions, metrics, training"):
        export(log, "secrets", "jsonl", path)
    with pytest.raises(UsageError, match="as 'csv': choose one of jsonl, parquet"):
        export(log, "metrics", "csv", path)
    with pytest.raises(UsageError, match="from 7 to 7 holds nothing"):
        export(log, "metrics", "jsonl", path, start_ms=7, end_ms=7)
    with pytest.raises(UsageError, match=r"absent.*name a file in a folder that is there"):
        export(log, "metrics", "jsonl", tmp_path / "absent" / "x.jsonl")
    with pytest.raises(UsageError, match="name a file"):
        export(log, "metrics", "jsonl", tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir() if "log.sqlite" not in file.name) == []


# --- whole, or not at all ---------------------------------------------------------------------------------------------


class EnoughError(Exception):
    """Somebody wants an export to end."""


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_what_ends_half_way_leaves_the_file_before_and_nothing_beside_it(
    log: EventLog, tmp_path: Path, form: str
) -> None:
    log.append([forecast(bar) for bar in range(20)], writer="x")
    folder = tmp_path / "out"
    folder.mkdir()
    path = folder / f"x.{form}"
    export(log, "predictions", form, path)
    before = path.read_bytes()

    def enough(rows: int) -> None:
        raise EnoughError

    with pytest.raises(EnoughError):
        export(log, "predictions", form, path, progress=enough)
    assert path.read_bytes() == before
    assert [file.name for file in folder.iterdir()] == [path.name]


_ON_A_FULL_DISK = """
import resource, signal, sys
from pathlib import Path
from kalibre.core.errors import HubError
from kalibre.hub.exports import export
from kalibre.log import open_log
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
url, form, path = sys.argv[1:]
with open_log(url) as log:
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096))  # no file may grow beyond a page
    try:
        export(log, "predictions", form, Path(path))
    except HubError as error:
        print(error)
"""


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_disk_that_is_full_is_named_and_nothing_is_left(tmp_path: Path, form: str) -> None:
    url, folder = f"sqlite:///{tmp_path / 'log.sqlite'}", tmp_path / "out"
    folder.mkdir()
    with open_log(url) as log:
        log.append([forecast(bar, f"n{bar * 7919 % 1009}") for bar in range(5_000)], writer="x")
    command = [sys.executable, "-c", _ON_A_FULL_DISK, url, form, str(folder / "x")]
    said = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    assert f"'{folder / 'x'}' cannot be written" in said
    assert "free some space" in said
    assert list(folder.iterdir()) == []


def test_killed_before_the_rename_the_file_before_stands(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    path = tmp_path / "x.jsonl"
    with open_log(url) as log:
        log.append([forecast(1)], writer="x")
        export(log, "predictions", "jsonl", path)
        before = path.read_bytes()
        log.append([forecast(2)], writer="x")
    child = os.fork()
    if child == 0:
        failpoints.arm("exports.written")
        with open_log(url) as log:
            export(log, "predictions", "jsonl", path)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert path.read_bytes() == before
    with open_log(url) as log:
        assert export(log, "predictions", "jsonl", path) == 2


_MEASURED = """
import resource, sys
from pathlib import Path
from kalibre.hub.exports import export
from kalibre.log import open_log
url, form, path, end = sys.argv[1:]
with open_log(url) as log:
    export(log, "predictions", form, Path(path), end_ms=int(end) if end != "-" else None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_ten_times_the_rows_take_no_more_memory(tmp_path: Path, form: str) -> None:
    url = f"sqlite:///{tmp_path / 'log.sqlite'}"
    n_bars, names = 30_000, ("a", "b", "c", "d")
    with open_log(url) as log:
        for first in range(0, n_bars, 2_500):
            bars = range(first, first + 2_500)
            log.append([make(bar, name) for bar in bars for name in names for make in (forecast, outcome)], writer="x")

    def megabytes(end: str) -> int:
        command = [sys.executable, "-c", _MEASURED, url, form, str(tmp_path / "x"), end]
        return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    tenth, whole = megabytes(f"{START + n_bars // 10 * STEP}"), megabytes("-")
    assert whole < tenth + 40, f"{tenth} MB for a tenth, {whole} MB for the whole"
