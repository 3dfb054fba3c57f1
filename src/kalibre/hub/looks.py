"""What a learner has learnt, for people: read from its newest snapshot, so that no worker is disturbed."""

from __future__ import annotations

from typing import Any

from kalibre.core.clock import to_text
from kalibre.core.errors import HubError
from kalibre.core.settings import Settings
from kalibre.learners.base import enabled_learners, learner_projection
from kalibre.log.snapshots import Snapshots


def learnt(settings: Settings, name: str) -> dict[str, Any]:
    """Return by series what a learner knows, its figures, and as of when.

    Raises
    ------
    HubError
        If there is no such learner, or it has left no snapshot of this version yet.
    """
    names = enabled_learners(settings)
    if name not in names:
        raise HubError(f"learner {name!r} is not in this hub: choose one of {', '.join(names)}")
    projection = learner_projection(name, settings)
    for state, about in Snapshots(settings.snapshots_dir, name).newest():
        if about.version != projection.version:
            continue
        projection.restore(state)
        series = {}
        for key, one in projection.series.items():
            last = one.line.last
            series[key] = {
                "as_of": None if last is None else to_text(last.open_time + one.step_ms),
                "bars": one.line.n_bars,
                "model": one.model,
                "figures": one.learner.figures(),
                "learnt": one.learner.show(),
            }
        return {"learner": name, "position": about.position, "series": series}
    raise HubError(
        f"{name} has left no snapshot in {str(settings.snapshots_dir)!r} that this version can read: let the hub run "
        "(`kalibre hub up`) until it has, or stop it once"
    )
