"""The worker of jobs: one result however often it is killed, bounded tries, clean stops; real trainings and exports."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import polars as pl
import pytest
from tests.fakes.models import bar_events

from kalibre.core.bars import Bars
from kalibre.core.clock import ManualClock
from kalibre.core.errors import CatalogError, LogUnavailableError, RegistryError, UsageError
from kalibre.core.events import Event, Forecast, Look, ModelTrained, Promotion, Refusal, Tick, new_event
from kalibre.core.hub_events import Job
from kalibre.core.settings import ModelSettings, Settings
from kalibre.hub import jobs as hub_jobs
from kalibre.hub.handlers import retrain
from kalibre.hub.job_context import JobContext, JobHandler
from kalibre.hub.jobs import JobWorker, handlers
from kalibre.hub.worker_process import WorkerProcess, adopt
from kalibre.log import failpoints, open_log
from kalibre.log.jobs import Jobs
from kalibre.log.protocol import EventLog
from kalibre.models.bundle import ModelBundle
from kalibre.registry.store import Registry
from kalibre.sources.simulated import Simulated

NOW_MS = 1_700_000_000_000
ROOT = Path(__file__).resolve().parents[3]


class Scripted:
    """A handler of the name `scripted` that does what a test tells it to."""

    name: ClassVar[str] = "scripted"

    def __init__(self, do: Callable[[Mapping[str, Any], JobContext], list[Event]]) -> None:
        self._do = do
        self.attempts: list[int] = []

    def run(self, payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        self.attempts.append(context.job.attempt)
        return self._do(payload, context)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    home = tmp_path / "home"
    home.mkdir()
    return Settings(home=home)


@pytest.fixture
def log(settings: Settings) -> Iterator[EventLog]:
    with open_log(settings.log_url) as opened:
        yield opened


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW_MS)


def gave(payload: Mapping[str, Any], context: JobContext) -> list[Event]:
    context.result["answer"] = "42"
    return [new_event(f"result-{payload['n']}", 7, Tick(now_ms=payload["n"]))]


def worker(log: EventLog, settings: Settings, handler: JobHandler, clock: ManualClock, **more: Any) -> JobWorker:
    return JobWorker(log, settings, {handler.name: handler}, clock=clock, **more)


def told(log: EventLog) -> list[tuple[str, int, str]]:
    events = [event.payload for event in log.read(kinds={"job"})]
    return [(job.state, job.attempt, job.detail) for job in events if isinstance(job, Job)]


def states(log: EventLog) -> list[tuple[str, int]]:
    return [(state, attempt) for state, attempt, _ in told(log)]


def until(holds: Callable[[], object], *, step: Callable[[], object] = lambda: None) -> None:
    limit = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < limit
        step()
        time.sleep(0.002)


# --- what becomes of a job --------------------------------------------------------------------------------------------


def test_what_a_handler_gives_is_stored_with_the_jobs_being_done(
    log: EventLog, settings: Settings, clock: ManualClock
) -> None:
    for number in (1, 2):
        Jobs(log).enqueue("scripted", f"{number}", {"n": number}, due_ms=NOW_MS)
    Jobs(log).enqueue("unheard of", "k", due_ms=0)  # left to a worker that knows it
    assert worker(log, settings, Scripted(gave), clock).run_until_idle() == 2
    assert [event.key for event in log.read(kinds={"tick"})] == ["result-1", "result-2"]
    done = [event.payload for event in log.read(kinds={"job"}, key="scripted|1") if isinstance(event.payload, Job)]
    assert [job.state for job in done] == ["queued", "running", "done"]
    assert done[-1].result == {"answer": "42"}
    assert Jobs(log).counts() == {"done": 2, "queued": 1}


def test_a_failure_is_tried_again_after_longer_and_longer_pauses(
    log: EventLog, settings: Settings, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        if context.job.attempt == 1:
            raise RegistryError("MLflow is away")
        raise ZeroDivisionError("a bug")

    handler = Scripted(fail)
    one = worker(log, settings, handler, clock)
    Jobs(log).enqueue("scripted", "k", {"n": 1}, due_ms=NOW_MS)
    assert one.run_until_idle() == 1
    for pause_ms in (30_000, 60_000):
        clock.set(clock.now_ms() + pause_ms - 1)
        assert one.run_until_idle() == 0
        clock.set(clock.now_ms() + 1)
        assert one.run_until_idle() == 1
    assert handler.attempts == [1, 2, 3]
    assert [entry for entry in told(log) if entry[0] in ("queued", "failed")] == [
        ("queued", 0, ""),
        ("queued", 1, "MLflow is away"),
        ("queued", 2, "ZeroDivisionError: a bug"),
        ("failed", 3, "ZeroDivisionError: a bug"),
    ]
    assert "Traceback" in caplog.text  # a bug is told with where it is


def test_what_trying_again_cannot_mend_is_not_tried_again(
    log: EventLog, settings: Settings, clock: ManualClock
) -> None:
    def refuse(payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        raise UsageError("there is no symbol 'X'")

    Jobs(log).enqueue("scripted", "k", due_ms=NOW_MS)
    worker(log, settings, Scripted(refuse), clock).run_until_idle()
    assert told(log)[-1] == ("failed", 1, "there is no symbol 'X'")


def test_a_result_that_cannot_be_stored_is_a_failure(log: EventLog, settings: Settings, clock: ManualClock) -> None:
    def give_nan(payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        said = Forecast(model="m", role="r", horizon_bars=1, score=float("nan"), p_up=0.5)
        return [new_event("result", 1, Tick(now_ms=1)), new_event("X|1m|r", 1, said)]

    Jobs(log).enqueue("scripted", "k", due_ms=NOW_MS, max_attempts=1)
    worker(log, settings, Scripted(give_nan), clock).run_until_idle()
    assert told(log)[-1][0] == "failed"
    assert "its result cannot be stored" in told(log)[-1][2]
    assert log.read(kinds={"tick"}) == []  # not half of it either


def test_a_lease_is_renewed_while_the_handler_works(log: EventLog, settings: Settings) -> None:
    go_on = threading.Event()

    def wait(payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        assert go_on.wait(60)
        return gave(payload, context)

    one = JobWorker(log, settings, {"scripted": Scripted(wait)}, lease_ms=60)
    other = JobWorker(log, settings, {"scripted": Scripted(gave)}, lease_ms=60)
    Jobs(log).enqueue("scripted", "k", {"n": 1}, due_ms=0)
    assert one.step()
    began = time.monotonic()
    while time.monotonic() - began < 0.5:  # many times the lease
        assert one.step()
        assert not other.step()
        time.sleep(0.005)
    go_on.set()
    until(lambda: not one.step())
    assert states(log) == [("queued", 0), ("running", 1), ("done", 1)]


def test_a_worker_that_lost_its_job_stores_nothing(
    log: EventLog, settings: Settings, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    go_on, checked = threading.Event(), threading.Event()

    def wait(payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        if context.job.attempt > 1:
            return gave({"n": 2}, context)
        assert go_on.wait(60)
        try:
            until(lambda: False, step=context.check)
        finally:
            checked.set()
        return gave(payload, context)

    one, other = (worker(log, settings, Scripted(wait), clock, lease_ms=1) for _ in range(2))
    Jobs(log).enqueue("scripted", "k", {"n": 1}, due_ms=0)
    one.step()
    clock.set(NOW_MS + 1)  # it has slept through its lease
    until(lambda: Jobs(log).counts().get("done"), step=other.step)
    go_on.set()
    until(checked.is_set, step=one.step)  # told at its next sign of life, and the handler leaves
    until(lambda: not one.step())
    assert [event.key for event in log.read(kinds={"tick"})] == ["result-2"]
    assert states(log)[-1] == ("done", 2)
    assert "what this worker made of it is not stored" in caplog.text


def test_a_handler_that_hangs_is_let_go(log: EventLog, settings: Settings, clock: ManualClock) -> None:
    end = threading.Event()

    def hang(payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        end.wait(60)
        return []

    one = worker(log, settings, Scripted(hang), clock, lease_ms=1, longest_s=0.01)
    Jobs(log).enqueue("scripted", "k", {"n": 1}, due_ms=0)
    one.step()
    until(lambda: one.hangs)  # the worker stops beating for it, and its supervisor ends it
    clock.set(NOW_MS + 5)
    one.step()
    assert Jobs(log).next_ready_ms() == NOW_MS + 1, "the lease is not renewed any more"
    end.set()
    one.stop()


def test_a_clean_stop_hands_the_job_back_and_costs_no_attempt(
    log: EventLog, settings: Settings, clock: ManualClock
) -> None:
    begun = threading.Event()

    def work(payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        if context.job.attempt > 1:
            return gave(payload, context)
        begun.set()
        until(lambda: False, step=lambda: context.progress("folds", 1, 5))
        return []

    Jobs(log).enqueue("scripted", "k", {"n": 1}, due_ms=0, max_attempts=1)
    one = worker(log, settings, Scripted(work), clock)
    one.step()
    assert begun.wait(60)
    one.stop()
    assert states(log)[-1] == ("queued", 1)
    worker(log, settings, Scripted(work), clock).run_until_idle()
    assert states(log)[-1] == ("done", 2)


def test_a_stop_does_not_wait_for_a_handler_that_will_not_leave(
    log: EventLog, settings: Settings, clock: ManualClock
) -> None:
    end = threading.Event()

    def stubborn(payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        end.wait(60)
        return gave(payload, context)

    Jobs(log).enqueue("scripted", "k", {"n": 1}, due_ms=0)
    one = worker(log, settings, Scripted(stubborn), clock)
    one.step()
    one.stop(patience_s=0.01)
    assert states(log)[-1] == ("queued", 1)
    end.set()
    assert not log.read(kinds={"tick"})


def test_a_log_that_was_away_at_the_end_is_told_later(
    log: EventLog, settings: Settings, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = [True]
    complete = Jobs.complete

    def complete_if_there(self: Jobs, *given: Any, **named: Any) -> list[Event]:
        stored = complete(self, *given, **named)
        if away[0]:
            raise LogUnavailableError("the connection was lost; the commit had gone through")
        return stored

    monkeypatch.setattr(Jobs, "complete", complete_if_there)
    handler = Scripted(gave)
    one = worker(log, settings, handler, clock)
    Jobs(log).enqueue("scripted", "k", {"n": 1}, due_ms=0)
    one.step()

    def fails() -> bool:
        try:
            one.step()
        except LogUnavailableError:
            return True
        return False

    until(fails)
    away[0] = False
    until(lambda: not one.step())
    assert handler.attempts == [1]
    assert len(log.read(kinds={"tick"})) == 1


# --- killed -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["jobs.claim", "jobs.claimed", "jobs.worked", "jobs.complete", "jobs.completed"])
def test_killed_at_any_place_the_worker_gives_its_result_once(settings: Settings, place: str) -> None:
    with open_log(settings.log_url) as log:
        Jobs(log).enqueue("scripted", "k", {"n": 1}, due_ms=0)
    for life, armed in enumerate((place, place, "")):
        child = os.fork()
        if child == 0:
            failpoints.arm(armed)
            with open_log(settings.log_url) as log:
                worker(log, settings, Scripted(gave), ManualClock(NOW_MS + life), lease_ms=1).run_until_idle()
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended in ((0, -signal.SIGKILL) if life else (-signal.SIGKILL,))
    with open_log(settings.log_url) as log:
        assert [event.key for event in log.read(kinds={"tick"})] == ["result-1"]
        assert [state for state, _ in states(log)].count("done") == 1
        assert log.check() == []


# --- what can be done -------------------------------------------------------------------------------------------------


def test_every_file_of_the_folder_is_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    found = handlers()
    assert {"export", "retrain"} <= set(found)
    for name, handler in found.items():
        assert handler.name == name
    from kalibre.hub.handlers import export

    monkeypatch.setattr(export, "HANDLER", retrain.HANDLER)
    with pytest.raises(CatalogError, match="give one whose name is 'export'"):
        handlers()


def test_an_export_writes_where_exports_lie(log: EventLog, settings: Settings, clock: ManualClock) -> None:
    said = Forecast(model="m", role="online", horizon_bars=4, score=0.5, p_up=0.5)
    log.append([new_event("BTCUSDT|15m|online", time, said) for time in range(5)], writer="x")
    payload = {"what": "predictions", "start_ms": 1, "end_ms": 4}
    Jobs(log).enqueue("export", "../../etc/passwd", payload, due_ms=0)
    Jobs(log).enqueue("export", "k2", {"what": "metrics", "form": "jsonl", "by": "test"}, due_ms=1)
    JobWorker(log, settings, handlers(), clock=clock).run_until_idle()
    done = [event.payload for event in log.read(kinds={"job"}) if isinstance(event.payload, Job)]
    results = [job.result for job in done if job.state == "done"]
    first, second = (Path(result["path"]) for result in results)
    assert first.parent == second.parent == settings.home / "exports"
    assert results[0]["rows"] == "3"
    assert pl.read_parquet(first)["event_time"].to_list() == [1, 2, 3]
    assert second.read_text() == ""


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"what": "secrets"}, "no export of 'secrets'"),
        ({"what": "metrics", "path": "/etc/passwd"}, "cannot be told path"),
        ({"what": "metrics", "start_ms": "yesterday"}, "cannot be told start_ms = 'yesterday'"),
        ({"what": "metrics", "form": "../x"}, "cannot be written as '../x'"),
        ({}, "no export of ''"),
    ],
)
def test_an_export_that_makes_no_sense_fails_at_once(
    log: EventLog, settings: Settings, clock: ManualClock, payload: dict[str, Any], words: str
) -> None:
    Jobs(log).enqueue("export", "k", payload, due_ms=0)
    JobWorker(log, settings, handlers(), clock=clock).run_until_idle()
    state, attempt, detail = told(log)[-1]
    assert (state, attempt) == ("failed", 1)
    assert words in detail


def test_the_worker_process_does_what_ticks_make_due(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """`work` as the hub runs it: cron on ticks, beats while a job runs, and a stop that leaves nothing running."""
    hub = settings.hub.model_copy(update={"retrain_cron": "0 * * * *"})
    settings = settings.model_copy(update={"hub": hub})
    begun = threading.Event()

    def train(payload: Mapping[str, Any], context: JobContext) -> list[Event]:
        begun.set()
        until(lambda: False, step=context.check)
        return []

    handler = Scripted(train)
    monkeypatch.setattr(hub_jobs, "handlers", lambda: {"retrain": handler})
    hour = NOW_MS - NOW_MS % 3_600_000
    process = adopt("jobs", settings.home / "run", heartbeat_limit_s=None)
    with open_log(settings.log_url) as log, process:
        log.append([new_event("clock", hour - 1_000, Tick(now_ms=hour - 1_000))], writer="ingest")

        def act() -> None:
            with open_log(settings.log_url) as beside:
                until(lambda: beside.progress("schedule") is not None)
                beside.append([new_event("clock", hour, Tick(now_ms=hour))], writer="ingest")
                assert begun.wait(60)
                _until_it_beats(process)
            process.stop()

        actor = threading.Thread(target=act)
        actor.start()
        hub_jobs.work(log, settings, process)
        actor.join(60)
        assert states(log) == [("queued", 0), ("running", 1), ("queued", 1)]
        row = Jobs(log).rows()[0]
        assert (row.name, row.due_ms, row.schedule) == ("retrain", hour, "retrain BTCUSDT")
        assert handler.attempts == [1]


def _until_it_beats(process: WorkerProcess) -> None:
    from kalibre.hub.worker_process import read_beat

    path = process._heart.path
    first = read_beat(path)
    assert first is not None
    until(lambda: (beat := read_beat(path)) is not None and beat.count > first.count)


# --- real trainings ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def bars() -> Bars:
    return Simulated("edge", auc=0.72, seed=3, n_bars=4_000).simulate("SIM", "15m")[0]


@pytest.fixture(scope="module")
def mlflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home whose MLflow database is made: making it takes seconds, copying it does not."""
    home = tmp_path_factory.mktemp("prepared")
    Registry(Settings(home=home)).versions("SIM", "15m")
    return home


Prepare = Callable[..., tuple[Settings, int]]


@pytest.fixture(scope="module")
def prepare(bars: Bars, mlflow_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Prepare:
    """Return what makes a home with bars and a queued retrain; its settings, and when it is due."""

    def made(name: str) -> tuple[Settings, int]:
        home = tmp_path_factory.mktemp(name) / "home"
        shutil.copytree(mlflow_home, home)
        market = Settings(home=home).market.model_copy(update={"symbols": ("SIM",)})
        model = ModelSettings(folds=2, threshold_pairs=20, rounds=10)  # type: ignore[call-arg]
        settings = Settings(home=home, market=market, model=model)
        due_ms = int(bars.close_time[-1]) + 60_000
        with open_log(settings.log_url) as log:
            log.append(bar_events(bars), writer="ingest", recorded_at_ms=due_ms)
            Jobs(log).enqueue("retrain", "SIM|1", {"symbol": "SIM", "by": "test", "reason": "drill"}, due_ms=due_ms)
        return settings, due_ms

    return made


def run(settings: Settings, now_ms: int) -> None:
    with open_log(settings.log_url) as log:
        JobWorker(log, settings, handlers(), clock=ManualClock(now_ms), lease_ms=1).run_until_idle()


def summary(settings: Settings) -> list[tuple[Any, ...]]:
    """Return all that the log holds beside bars and the job's way, as interruption must leave it."""
    with open_log(settings.log_url) as log:
        events = log.read(kinds={"look", "trial", "model", "promotion", "refusal"})
        return sorted((*event.identity, repr(event.payload)) for event in events)


@pytest.fixture(scope="module")
def undisturbed(prepare: Prepare) -> list[tuple[Any, ...]]:
    """Return what a training leaves in the log that nobody killed."""
    settings, due_ms = prepare("undisturbed")
    run(settings, due_ms)
    return summary(settings)


def test_a_retrain_trains_a_challenger_and_the_gates_judge_it(prepare: Prepare, bars: Bars) -> None:
    settings, due_ms = prepare("home")
    run(settings, due_ms)
    with open_log(settings.log_url) as log:
        model, refusal, promotion = (log.latest(kind) for kind in ("model", "refusal", "promotion"))
        assert model is not None
        assert promotion is not None
        assert isinstance(model.payload, ModelTrained)
        assert isinstance(promotion.payload, Promotion)
        assert (promotion.payload.alias, promotion.payload.model) == ("challenger", model.payload.model)
        assert promotion.payload.by == "test"
        assert refusal is not None  # ten rounds on six weeks of bars prove nothing
        assert isinstance(refusal.payload, Refusal)
        last = log.latest("job")
        assert last is not None
        assert isinstance(last.payload, Job)
        assert last.payload.state == "done"
        assert last.payload.result["model"] == model.payload.model
        assert set(last.payload.result["failed"].split(", ")) == set(refusal.payload.failed)
        assert last.payload.result["bars"] == f"{len(bars) - 1}"  # the last one may have been on its way
        assert log.latest("promotion", key="SIM|15m|champion") is None
    assert (settings.models_dir / model.payload.model).is_dir()


@pytest.mark.slow
@pytest.mark.parametrize("killed", ["look", "retrain.trained", "retrain.promoted", "jobs.worked", "jobs.complete"])
def test_a_training_killed_half_way_gives_the_very_same_model(
    prepare: Prepare, undisturbed: list[tuple[Any, ...]], killed: str
) -> None:
    settings, due_ms = prepare("killed")
    # In a process of its own, as numba, LightGBM and MLflow do not care to be forked.
    code = _KILLED.format(killed=killed if killed != "look" else "", due_ms=due_ms)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")])}
    environment |= {"KALIBRE_HOME": str(settings.home), "KALIBRE_FAILPOINT": "" if killed == "look" else killed}
    told = subprocess.run([sys.executable, "-c", code], env=environment, check=False, capture_output=True, text=True)
    assert told.returncode == -signal.SIGKILL, told.stderr
    with open_log(settings.log_url) as log:
        assert log.latest("look") is not None, "it had looked at the final window already"
    # More bars come, and somebody else looks elsewhere, before it begins again.
    with open_log(settings.log_url) as log:
        other = Look(start_ms=0, end_ms=1, model="other", series="OTHER|15m")
        log.append([new_event("other", 0, other)], writer="study")
    run(settings, due_ms + 10)
    left = [entry for entry in summary(settings) if "OTHER" not in entry[-1]]
    assert left == undisturbed
    with open_log(settings.log_url) as log:
        refusal = log.latest("refusal")
        assert refusal is not None
        assert isinstance(refusal.payload, Refusal)
        assert "final_unseen" not in refusal.payload.failed, "its own look, which nobody saw, is not held against it"
        assert states(log)[-1][0] == "done"


_KILLED = """
import os, signal
from pathlib import Path
from kalibre.core.clock import ManualClock
from kalibre.core.settings import GateSettings, ModelSettings, Settings
from kalibre.hub.jobs import JobWorker, handlers
from kalibre.log import open_log
from kalibre.models.bundle import ModelBundle
home = Path(os.environ["KALIBRE_HOME"])
market = Settings(home=home).market.model_copy(update={{"symbols": ("SIM",)}})
model = ModelSettings(folds=2, threshold_pairs=20, rounds=10)
settings = Settings(home=home, market=market, model=model)
if not "{killed}":  # between the look and the model's being stored
    ModelBundle.save = lambda self, folder: os.kill(os.getpid(), signal.SIGKILL)
with open_log(settings.log_url) as log:
    JobWorker(log, settings, handlers(), clock=ManualClock({due_ms}), lease_ms=1).run_until_idle()
"""


@pytest.mark.parametrize("planted", [False, True])
def test_a_look_that_nobody_was_told_of_would_burn_the_final_window(
    prepare: Prepare, undisturbed: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, planted: bool
) -> None:
    """The planted bug: an attempt that sees its predecessor's look. The model it gives is refused, and another one."""
    save = ModelBundle.save

    def fails_once(bundle: ModelBundle, folder: Path) -> Path:
        monkeypatch.setattr(ModelBundle, "save", save)
        raise RegistryError("the disk was full for a moment")

    settings, due_ms = prepare("planted")
    monkeypatch.setattr(ModelBundle, "save", fails_once)
    if planted:
        monkeypatch.setattr(retrain, "_SHOWN", frozenset())
    run(settings, due_ms)
    run(settings, due_ms + 3_600_000)
    with open_log(settings.log_url) as log:
        assert states(log)[-1] == ("done", 2)
        refusal = log.latest("refusal")
        assert refusal is not None
        assert isinstance(refusal.payload, Refusal)
        assert ("final_unseen" in refusal.payload.failed) is planted
    assert (summary(settings) == undisturbed) is not planted


def test_the_next_job_is_held_to_what_this_one_saw(prepare: Prepare) -> None:
    settings, due_ms = prepare("home")
    with open_log(settings.log_url) as log:
        Jobs(log).enqueue("retrain", "SIM|2", {"symbol": "SIM"}, due_ms=due_ms + 1)
    run(settings, due_ms + 1)
    with open_log(settings.log_url) as log:
        first, second = log.read(kinds={"refusal"})
        assert isinstance(first.payload, Refusal)
        assert isinstance(second.payload, Refusal)
        assert "final_unseen" not in first.payload.failed
        assert "final_unseen" in second.payload.failed


def test_a_model_that_every_gate_lets_act_becomes_challenger_and_acts_only_if_told_to(
    prepare: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kalibre.registry import promotion

    monkeypatch.setattr(promotion, "failed_gates", lambda *_: {})
    for name, act in (("shadow", False), ("acts", True)):
        settings, due_ms = prepare(name)
        with open_log(settings.log_url) as log:
            Jobs(log).complete(Jobs(log).claim(due_ms, "nobody", 1), [])  # type: ignore[arg-type]
            Jobs(log).enqueue("retrain", "SIM|2", {"symbol": "SIM", "act": act}, due_ms=due_ms)
        run(settings, due_ms)
        with open_log(settings.log_url) as log:
            moved = log.latest("promotion")
            assert moved is not None
            assert isinstance(moved.payload, Promotion)
            assert moved.payload.alias == ("champion" if act else "challenger")
            assert log.latest("refusal") is None


@pytest.mark.parametrize(
    ("payload", "words"),
    [
        ({"symbol": "NOBODY"}, "the log holds no bar of 'NOBODY' 15m"),
        ({"symbol": "SIM", "days": 0}, "days as a whole number"),
        ({"symbol": 7}, "cannot be told {'symbol': 7}"),
        ({"symbol": "SIM", "timeframe": "15x"}, "15x"),
        ({"symbol": "SIM", "colour": "red"}, "colour"),
    ],
)
def test_a_retrain_that_makes_no_sense_is_refused(
    log: EventLog, settings: Settings, clock: ManualClock, payload: dict[str, Any], words: str
) -> None:
    Jobs(log).enqueue("retrain", "k", payload, due_ms=0, max_attempts=1)
    JobWorker(log, settings, handlers(), clock=clock).run_until_idle()
    state, _, detail = told(log)[-1]
    assert state == "failed"
    assert words in detail
