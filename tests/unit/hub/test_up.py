"""What `kalibre hub up` runs: every worker, or all but the learners; a replay leaves the market's copies alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kalibre.core.settings import Settings, load_settings
from kalibre.hub.replays import environment_of, replay_settings
from kalibre.hub.up import worker_specs
from kalibre.learners.base import enabled_learners

SERVED = {"api", "ingest", "jobs", "outbox"}


def names(settings: Settings, **changes: Any) -> set[str]:
    return {spec.name for spec in worker_specs(settings, config=None, environment={}, **changes)}


@pytest.mark.parametrize(
    ("grouping", "judges"), [("grouped", {"judges"}), ("apart", {"paper", "ensemble", "scorer", "alarms"})]
)
def test_without_learners_everything_else_runs(tmp_path: Path, grouping: str, judges: set[str]) -> None:
    settings = Settings(home=tmp_path, hub={"grouping": grouping})  # type: ignore[arg-type]
    learners = {"learners"} if grouping == "grouped" else set(enabled_learners(settings))
    assert names(settings) == SERVED | judges | learners
    assert names(settings, learners=False) == SERVED | judges
    assert names(settings, learners=False, page=False) == (SERVED | judges) - {"api"}


def test_a_replay_sends_no_checkpoints_to_where_the_markets_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its workers read the same file of settings, and are told otherwise by their environment."""
    config, bars = tmp_path / "kalibre.toml", tmp_path / "bars.csv"
    bars.touch()
    config.write_text(f'home = "{tmp_path}"\n[hub]\ncheckpoint_copies = "s3://bucket/kalibre"\n', encoding="utf-8")
    settings = load_settings(config)
    played = replay_settings(settings, bars, speed="max", folder=None)
    for asked, copies in ((settings, "s3://bucket/kalibre"), (played, "")):
        with monkeypatch.context() as told:
            for name, value in environment_of(asked, ["market"]).items():
                told.setenv(name, value)
            found = load_settings(config)
        assert (found.hub.checkpoint_copies, found.home) == (copies, asked.home.absolute())
