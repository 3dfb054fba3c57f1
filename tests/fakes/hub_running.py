"""What the machinery of a hub and its people said in a busy week, for tests: nothing here is about prices."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from kalibre.core import events as said
from kalibre.core import hub_events as hub
from kalibre.core.events import Event, new_event

_HOUR_MS = 3_600_000


def running(key: str, now: int, step_ms: int) -> Iterator[Event]:
    """Say what the machinery and people did: workers, jobs, checkpoints, alerts, gaps, verdicts, commands."""
    hour = _HOUR_MS
    yield new_event("clock", now, said.Tick(now_ms=now))
    states = {"agents": "online", "api": "online", "ensemble": "online", "explain": "online", "ingest": "online"}
    states |= {"jobs": "online", "online": "online", "regime": "restarting", "reinforcement": "error"}
    for number, (name, state) in enumerate(sorted((states | {"scorer": "online"}).items())):
        reason = {"error": "5 crashes in 60 s: the breaker is open", "restarting": "no heartbeat for 30 s"}
        worker = hub.WorkerState(
            state=state,  # type: ignore[arg-type]
            pid=4_200 + number,
            restarts=5 * (state == "error") + (state == "restarting"),
            reason=reason.get(state, ""),
        )
        yield new_event(name, now - hour + 1_000 * number, worker)
    for back in range(18, 0, -1):
        for name in ("agents", "online", "reinforcement"):
            digest = hashlib.sha256(f"{name}{back}".encode()).hexdigest()
            metrics: dict[str, float | None] = {"loss": 0.68 + 0.002 * back, "reward": 1.8 - 0.1 * back}
            checkpoint = hub.Checkpoint(
                digest=digest, position=1_000 * (20 - back), size_bytes=48_000 + 900 * back, reason="hourly",
                metrics=metrics,
            )  # fmt: skip
            yield new_event(name, now - back * hour, checkpoint)
    for back, state in ((3, "done"), (2, "failed"), (1, "running"), (0, "queued")):
        queued = now - back * hour
        job = hub.Job(
            job="retrain", state=state, attempt=1 + (state == "failed"), detail="BTCUSDT: drift of champion",
            result={"model": "gbm-20260101"} if state == "done" else {},
        )  # type: ignore[arg-type]  # fmt: skip
        yield new_event(f"retrain|BTCUSDT|{back}", queued, job)
    yield new_event(
        "worker|reinforcement",
        now - 600_000,
        hub.Alert(
            level="critical",
            title="reinforcement keeps crashing",
            cause="it ended 5 times within 60 s; the last words were: MemoryError",
            consequence="it makes no forecasts and is not waited for",
            mend="kalibre hub worker reinforcement",
        ),
    )
    for back, recovered in ((9, False), (8, True)):
        yield new_event(
            "source|binance",
            now - back * hour,
            hub.Alert(
                level="warning",
                title="Binance is away",
                cause="no answer for 90 s",
                consequence="no new bars; learners wait",
                mend="kalibre doctor",
                recovered=recovered,
            ),
        )
    for number, (status, back) in enumerate((("healed", 60), ("hole", 40), ("open", 2))):
        start = now - back * step_ms
        gap = said.Gap(start_ms=start, end_ms=start + step_ms, missing_bars=1 + number, status=status)  # type: ignore[arg-type]
        yield new_event(key, start, gap)
    yield new_event(
        key,
        now - 90 * step_ms,
        said.BarQuarantined(raw={"high": "1.0", "low": "2.0"}, reasons=("high below low",), detail="high 1.0, low 2.0"),
    )  # fmt: skip
    yield new_event(
        f"{key}|online|adwin",
        now - 5 * hour,
        hub.Drift(
            test="adwin", statistic=0.31, threshold=0.12, cause="regime switch", action="retrain asked for",
            detail="its log-loss rose from 0.672 to 0.701",
        ),
    )  # fmt: skip
    digest = hashlib.sha256(b"champion-1").hexdigest()
    yield new_event(key, now - 20 * hour, said.ModelTrained(model="champion-1", digest=digest, metrics={"auc": 0.61}))
    promotion = said.Promotion(
        model="champion-1", digest=digest, alias="champion", previous=None, by="gates", note="all gates passed"
    )
    yield new_event(f"{key}|champion", now - 20 * hour + 1, promotion)
    yield new_event(key, now - 4 * hour, said.ModelTrained(model="gbm-20260101", digest=digest, metrics={"auc": 0.53}))
    failed = {"calibration": "ece 0.081 is above 0.05", "sharpe": "0.71 is below 1.2"}
    yield new_event(key, now - 4 * hour + 1, said.Refusal(model="gbm-20260101", failed=failed))
    bench = hub.Bench(benched=True, by="supervisor", reason="its worker is in error")
    yield new_event("reinforcement", now - hour, bench)
    yield new_event("agents", now - 7 * hour, hub.Command(verb="pause", by="page:7f3a", reason="looking into it"))
    yield new_event("agents", now - 6 * hour, hub.Command(verb="resume", by="page:7f3a"))
