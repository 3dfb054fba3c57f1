"""From drift to a training: one a day and series, whatever is delivered twice; nothing where nobody wants it."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from kalibre.core.clock import ManualClock
from kalibre.core.events import Event, new_event
from kalibre.core.hub_events import Drift
from kalibre.core.settings import load_settings
from kalibre.hub.retraining import Retraining
from kalibre.log import open_log
from kalibre.log.jobs import Jobs

DAY = 86_400_000


def alarm(name: str, time: int, *, test: str = "adwin", action: str = "retrain") -> Event:
    drift = Drift(test=test, statistic=1.0, threshold=0.5, cause="unknown", action=action, detail="losses rose")  # type: ignore[arg-type]
    return new_event(f"BTCUSDT|15m|{name}|{test}", time, drift)


@pytest.mark.parametrize("enabled", [True, False])
def test_an_alarm_about_the_champion_queues_one_training_a_day(tmp_path: Path, enabled: bool) -> None:
    settings = load_settings(home=tmp_path, hub={"retrain_on_drift": enabled})
    with open_log(settings.log_url) as log:
        retraining = Retraining(log, settings, clock=ManualClock(7))
        first = alarm("champion", 5 * DAY + 1)
        for event in (first, first, alarm("champion", 5 * DAY + 9, test="psi"), alarm("champion", 6 * DAY)):
            retraining.deliver(event)
        retraining.deliver(alarm("online", 7 * DAY, action="it goes on learning"))
        rows = Jobs(log).rows()
        assert len(rows) == (2 if enabled else 0)
        for row in rows:
            told = msgspec.to_builtins(row)
            assert (told["name"], told["due_ms"]) == ("retrain", 7)
            assert "losses rose" in str(told["payload"])
