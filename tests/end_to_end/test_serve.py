"""The server as a user meets it: a process, its answers over HTTP, its end."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.fakes.models import STEP_MS, bar_events, random_bars, small_bundle
from tests.fakes.serving import Server, appoint, running_server

from kalibre.bars.corporate_actions import DatedAction, adjust
from kalibre.core.bars import Bar, Bars
from kalibre.core.events import CorporateAction, Kill, Tick, new_event
from kalibre.core.settings import Settings
from kalibre.features.engine import FeatureEngine
from kalibre.log import open_log
from kalibre.log.protocol import EventLog

COLUMNS = ("realised_volatility_20", "rsi_14", "log_return_1")
N_BARS = 600
ADMIN, KILL, OPERATE, READ = (
    *("admin-key-00000000000", "kill-key-000000000000"),
    *("operate-key-000000000", "read-key-000000000000"),
)


@pytest.fixture(scope="module")
def bundles() -> list[Any]:
    return [
        small_bundle(seed=seed, columns=COLUMNS, entry_threshold=0.5 + 0.01 * seed, created_at_ms=1_000_000 * seed)
        for seed in (1, 2)
    ]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return Settings(home=tmp_path_factory.mktemp("serve"))


@pytest.fixture(scope="module")
def start_ms() -> int:
    return int(time.time() * 1000) // STEP_MS * STEP_MS - N_BARS * STEP_MS


@pytest.fixture(scope="module")
def log(settings: Settings, bundles: list[Any], start_ms: int) -> Iterator[EventLog]:
    with open_log(settings.log_url) as opened:
        opened.append(bar_events(random_bars(N_BARS, start_ms=start_ms)), writer="test")
        appoint(opened, settings, bundles[0])
        yield opened


@pytest.fixture(scope="module")
def server(settings: Settings, log: EventLog) -> Iterator[Server]:
    with running_server(settings.home) as running:
        running.wait_until("/healthz", lambda body: body["status"] == "ok")
        yield running


def test_the_newest_bar_is_answered_as_the_bundle_answers_it(
    server: Server, bundles: list[Any], start_ms: int, log: EventLog
) -> None:
    answer = server.get("/ml/predict?symbol=BTCUSDT")
    assert list(answer) == [
        *("symbol", "p_up", "confidence", "signal", "policy", "calibration"),
        *("staleness_seconds", "horizon_bars", "as_of", "model", "seq", "reasons"),
    ]
    values = FeatureEngine(bundles[0].spec).batch(random_bars(N_BARS, start_ms=start_ms))[-1]
    assert answer["p_up"] == bundles[0].predict(values)[0]
    assert answer["confidence"] == abs(2 * answer["p_up"] - 1)
    assert answer["model"] == bundles[0].model_id
    assert answer["policy"] == {"entry_threshold": 0.51, "exit_threshold": 0.45}
    assert answer["calibration"] == {"ece_calibrated": 0.012, "ece_band": [0.002, 0.02]}
    assert 0 <= answer["staleness_seconds"] < 2 * STEP_MS / 1000
    assert answer["seq"] == log.head()
    assert server.get("/ml/predict")["predictions"][0]["p_up"] == answer["p_up"]


def test_every_way_to_ask_gets_the_same_answer(server: Server, bundles: list[Any], start_ms: int) -> None:
    bars = random_bars(N_BARS, start_ms=start_ms)
    values = FeatureEngine(bundles[0].spec).batch(bars)[-1]
    key = "predict-key-000000000"
    rows = [{name: getattr(bar, name) for name in bar.__struct_fields__} for bar in bars]
    status, by_bars = server.ask("POST", "/ml/predict", {"symbol": "BTCUSDT", "bars": rows}, key=key)
    assert status == 200, by_bars
    posted = json.dumps({"symbol": "BTCUSDT", "features": values.tolist()}).encode()
    status, by_features = server.ask("POST", "/ml/predict", posted, key=key)
    assert status == 200, by_features
    # Once by urllib (which closes), once kept alive in one piece, once torn in two: the slow and the hot way.
    place = urlsplit(server.address)
    lines = [
        "POST /ml/predict HTTP/1.1",
        f"Host: {place.netloc}",
        f"X-API-Key: {key}",
        f"Content-Length: {len(posted)}",
    ]
    whole = "\r\n".join([*lines, "", ""]).encode() + posted
    with socket.create_connection((place.hostname, place.port)) as connection:
        bodies = []
        for pieces in ([whole], [whole[:50], whole[50:]], [whole], [whole, whole], [whole + whole]):
            for piece in pieces:
                connection.sendall(piece)
                time.sleep(0.02)
            response = b""
            n_answers = sum(map(len, pieces)) // len(whole)
            while response.count(b'"reasons"') < n_answers or not response.endswith(b"}"):
                response += connection.recv(65_536)
            assert response.count(b"HTTP/1.1 200 OK\r\n") == n_answers
            bodies += [json.loads(part.split(b"HTTP/1.1")[0]) for part in response.split(b"\r\n\r\n")[1:]]
    assert len(bodies) == 7
    assert all(body == by_features for body in bodies)
    assert by_features["p_up"] == by_bars["p_up"] == bundles[0].predict(values)[0]


def test_unusable_requests_are_told_why(server: Server, start_ms: int) -> None:
    key = ADMIN
    bars = [{name: getattr(bar, name) for name in bar.__struct_fields__} for bar in random_bars(60, start_ms=start_ms)]
    torn = [*bars[:30], {**bars[30], "high": bars[30]["low"] / 2}, *bars[31:]]
    spiked = [*bars[:-1], {**bars[-1], **{name: bars[-1][name] * 1e6 for name in ("open", "high", "low", "close")}}]
    future = {**bars[-1], "open_time": int(time.time() * 1000) // STEP_MS * STEP_MS}
    for body, status, quoted in [
        ({"symbol": "BTCUSDT", "features": [1.0]}, 422, "1 features posted"),
        ({"symbol": "BTCUSDT", "features": [1.0, 1e200, 1.0]}, 422, "1e+200"),
        ({"symbol": "NOPE", "features": [1.0]}, 404, "BTCUSDT"),
        ({"symbol": "BTCUSDT", "bars": bars[:5]}, 422, "5 bars posted"),
        ({"symbol": "BTCUSDT", "bars": []}, 422, "0 bars"),
        ({"symbol": "BTCUSDT", "bars": torn}, 422, "row 30"),
        ({"symbol": "BTCUSDT", "bars": bars[::-1]}, 422, "does not come after"),
        ({"symbol": "BTCUSDT", "bars": [{**bars[0], "open_time": 10**18}]}, 422, "1000000000000000000"),
        ({"symbol": "BTCUSDT", "bars": bars, "timeframe": "1h"}, 422, "'1h'"),
        ({"symbol": "BTCUSDT", "bars": spiked}, 422, "far from"),
        ({"symbol": "BTCUSDT", "bars": [*bars, future]}, 422, "not over yet"),
        (b'{"symbol": "BTCUSDT", "features": [NaN]}', 400, "NaN"),
        (b"x" * 9_000_000, 413, "9000000"),
    ]:
        got, answer = server.ask("POST", "/ml/predict", body, key=key)
        assert got == status, (body if len(str(body)) < 500 else "...", answer)
        assert quoted in answer["error"]["message"], answer
    assert server.ask("GET", "/ml/predict?symbol=NOPE")[0] == 404
    assert server.ask("GET", "/ml/predict?symbol=BTCUSDT&shadow=maybe")[0] == 422
    assert server.ask("GET", "/nothing")[0] == 404
    assert server.ask("GET", "/events?kinds=nonsense")[0] == 422
    assert server.ask("GET", "/automation/predictions?limit=-1")[0] == 422
    assert server.get("/healthz", key=None)["status"] == "ok"


def test_scopes_and_methods(server: Server) -> None:
    assert server.ask("GET", "/ml/predict", key=None)[0] == 401
    assert server.ask("GET", "/ml/predict", key="wrong")[0] == 401
    assert server.ask("GET", "/ml/predict", Origin="https://evil.example")[0] == 403
    assert server.ask("POST", "/ml/predict", {"symbol": "BTCUSDT", "features": []}, key=READ)[0] == 403
    assert server.ask("POST", "/automation/stop", key=READ)[0] == 403
    assert server.ask("POST", "/ml/kill", {}, key=READ)[0] == 403
    for path in ("/ml/kill", "/automation/start", "/automation/stop"):
        status, body = server.ask("GET", path, key=ADMIN)
        assert status == 405
        assert "POST" in body["error"]["message"]
    assert server.ask("GET", "/docs", key=None)[0] == 200
    page = server.get("/docs", key=None)
    assert "/ml/predict" in page
    assert "src=" not in page
    assert "//" not in page.replace("/docs", "").replace("http://", "")
    assert "own scale" in page
    # Its examples call the server by the name and port that the reader used.
    place = urlsplit(server.address)
    assert f"{place.netloc}/ml/predict" in page
    assert ":8617" not in page
    named = server.ask("GET", "/docs", key=None, Host="localhost:4321")[1]
    assert "localhost:4321/ml/predict" in named
    assert place.netloc not in named


def test_the_kill_switch_is_felt_by_the_next_answer(server: Server, log: EventLog, settings: Settings) -> None:
    status, body = server.ask("POST", "/ml/kill", {"reason": "a test"}, key=KILL)
    assert (status, body["engaged"], body["reason"]) == (200, True, "a test")
    answer = server.get("/ml/predict?symbol=BTCUSDT")
    assert answer["signal"] == "HOLD"
    assert "kill switch" in answer["reasons"][0]
    assert answer["p_up"] is not None
    newest = log.latest("kill")
    assert newest is not None
    assert isinstance(newest.payload, Kill)
    assert newest.payload.engaged
    assert server.ask("POST", "/automation/start", key=OPERATE)[0] == 409
    assert server.ask("POST", "/ml/kill", {"release": True}, key=KILL)[0] == 403
    assert server.ask("POST", "/ml/kill", {"release": True, "flatten": True}, key=ADMIN)[0] == 422
    assert server.ask("POST", "/ml/kill", {"relase": True}, key=ADMIN)[0] == 422
    assert server.ask("POST", "/ml/kill", {"release": True}, key=ADMIN)[1]["engaged"] is False
    assert "kill" not in str(server.get("/ml/predict?symbol=BTCUSDT")["reasons"])
    settings.kill_file.touch()
    try:
        assert "kill switch" in server.get("/ml/predict?symbol=BTCUSDT")["reasons"][0]
        assert server.ask("POST", "/ml/kill", {"release": True}, key=ADMIN)[0] == 409
    finally:
        settings.kill_file.unlink()


def test_automation_is_started_stopped_and_shown(server: Server) -> None:
    assert server.get("/automation/status")["running"] is True
    assert server.ask("POST", "/automation/stop", key=OPERATE)[1]["running"] is False
    assert server.get("/automation/status")["running"] is False
    assert server.ask("POST", "/automation/start", key=OPERATE)[1]["running"] is True
    assert server.get("/automation/predictions?symbol=BTCUSDT") == {"predictions": []}
    assert server.ask("GET", "/automation/predictions?symbol=NOPE")[0] == 404


def test_metrics_can_be_read_by_prometheus(server: Server, bundles: list[Any]) -> None:
    server.get("/ml/predict?symbol=BTCUSDT")
    families = {family.name: family for family in text_string_to_metric_families(server.get("/metrics/prom"))}
    assert families["kalibre_ml_model_ece"].samples[0].value == 0.012
    assert families["kalibre_ml_model_auc"].samples[0].labels["model"] == bundles[0].model_id
    assert families["kalibre_ml_predictions"].samples[0].value >= 1
    assert 0 <= families["kalibre_ml_feature_staleness_seconds"].samples[0].value < 2 * STEP_MS / 1000
    assert abs(families["kalibre_live_heartbeat_timestamp_seconds"].samples[0].value - time.time()) < 30
    duration = families["kalibre_http_request_duration_seconds"].samples
    assert [s.value for s in duration if s.labels.get("le") == "+Inf"] == [
        s.value for s in duration if s.name.endswith("_count")
    ]


def test_a_stream_of_events_goes_on_where_it_was_left(server: Server, log: EventLog) -> None:
    def frames(path: str, wanted: int, **headers: str) -> list[dict[str, Any]]:
        place = urlsplit(server.address)
        connection = http.client.HTTPConnection(place.netloc, timeout=30)
        connection.request("GET", path, headers={"X-API-Key": READ, **headers})
        response = connection.getresponse()
        assert response.status == 200
        found = []
        while len(found) < wanted and (line := response.readline()):
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
        connection.close()
        return found

    everything = frames("/events?after=0&follow=false", 10_000)
    assert [frame["seq"] for frame in everything] == list(range(1, log.head() + 1))
    first = frames("/events?after=0&kinds=bar", 5)
    assert [frame["seq"] for frame in first] == [1, 2, 3, 4, 5]
    again = frames("/events?after=0&kinds=bar", 5, **{"Last-Event-ID": "5"})
    assert [frame["seq"] for frame in again] == [6, 7, 8, 9, 10]
    got: list[dict[str, Any]] = []
    head = log.head()  # asked before the thread runs: it would see the tick otherwise, and wait for another
    waiting = threading.Thread(target=lambda: got.extend(frames(f"/events?after={head}&kinds=tick", 1)))
    waiting.start()
    now_ms = int(time.time() * 1000)
    seq = log.append([new_event("clock", now_ms, Tick(now_ms=now_ms))], writer="test")[0].seq
    waiting.join(30)
    assert [(frame["seq"], frame["payload"]["now_ms"]) for frame in got] == [(seq, now_ms)]


def test_a_champion_changes_without_a_restart_and_never_halfway(
    server: Server, settings: Settings, log: EventLog, bundles: list[Any], start_ms: int
) -> None:
    values = FeatureEngine(bundles[0].spec).batch(random_bars(N_BARS, start_ms=start_ms))[-1]
    whole = {
        bundle.model_id: (bundle.predict(values)[0], bundle.entry_threshold, bundle.exit_threshold)
        for bundle in bundles
    }
    body = json.dumps({"symbol": "BTCUSDT", "features": values.tolist()})
    seen: list[tuple[str, float, float, float]] = []
    done = threading.Event()

    def ask() -> None:
        connection = http.client.HTTPConnection(urlsplit(server.address).netloc, timeout=30)
        while not done.is_set():
            for method, path, content in (("POST", "/ml/predict", body), ("GET", "/ml/predict?symbol=BTCUSDT", None)):
                connection.request(method, path, content, {"X-API-Key": ADMIN})
                answer = json.loads(connection.getresponse().read())
                policy = answer["policy"]
                seen.append((answer["model"], answer["p_up"], policy["entry_threshold"], policy["exit_threshold"]))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(8):
        bundle = bundles[(n + 1) % 2]
        appoint(log, settings, bundle, at_ms=STEP_MS * (n + 2))
        server.wait_until("/ml/model/status", lambda status, wanted=bundle.model_id: champion(status) == wanted)
    done.set()
    for thread in threads:
        thread.join(30)
    assert {model for model, *_ in seen} == set(whole)
    assert len({p_up for p_up, *_ in whole.values()}) == 2
    assert all(whole[model] == (p_up, entry, exit_) for model, p_up, entry, exit_ in seen)


def champion(status: Any) -> Any:
    model = status["symbols"]["BTCUSDT"]["champion"]["model"]
    return model and model["model"]


def test_a_damaged_champion_holds_and_is_named_then_heals(
    server: Server, settings: Settings, log: EventLog, bundles: list[Any]
) -> None:
    other = small_bundle(seed=3, columns=COLUMNS, created_at_ms=9_000_000)
    text = other.save(settings.models_dir) / "model.txt"
    sound = text.read_bytes()
    text.write_bytes(sound.replace(b"leaf_value", b"leaf_valve", 1))
    appoint_event = appoint
    from kalibre.core.events import Promotion

    promotion = Promotion(model=other.model_id, digest=other.digest, alias="champion", previous=None, by="test")
    log.append([new_event("BTCUSDT|15m|champion", STEP_MS * 99, promotion)], writer="test")
    answer = server.wait_until("/ml/predict?symbol=BTCUSDT", lambda body: body["model"] is None)
    assert answer["signal"] == "HOLD"
    assert answer["p_up"] is None
    assert "model.txt" in answer["reasons"][0]
    status, health = server.ask("GET", "/healthz")
    assert status == 503
    assert "model.txt" in str(health["reasons"])
    text.write_bytes(sound)
    server.wait_until("/ml/predict?symbol=BTCUSDT", lambda body: body["model"] == other.model_id)
    appoint_event(log, settings, bundles[0], at_ms=STEP_MS * 100)
    server.wait_until("/ml/predict?symbol=BTCUSDT", lambda body: body["model"] == bundles[0].model_id)


def test_the_challenger_is_shown_beside_the_champion(
    server: Server, settings: Settings, log: EventLog, bundles: list[Any]
) -> None:
    assert server.get("/ml/predict?symbol=BTCUSDT&shadow=1")["challenger"] is None
    seq = appoint(log, settings, bundles[1], "challenger", at_ms=STEP_MS * 101)
    answer = server.wait_until("/ml/predict?symbol=BTCUSDT&shadow=1", lambda body: body["seq"] >= seq)
    assert answer["model"] == bundles[0].model_id
    assert answer["challenger"]["model"] == bundles[1].model_id
    assert np.isfinite(answer["challenger"]["p_up"])


@pytest.fixture(scope="module")
def rows(start_ms: int) -> list[Bar]:
    """Return the bars by time that the tests below change, one after the other."""
    return list(random_bars(N_BARS, start_ms=start_ms))


def test_late_and_corrected_bars_count_at_once(
    server: Server, log: EventLog, bundles: list[Any], start_ms: int, rows: list[Bar]
) -> None:
    more, others = (random_bars(N_BARS + 3, seed=seed, start_ms=start_ms) for seed in (1, 8))
    # The next bar, its correction, the bar after one that is missing, the missing one, an old correction.
    steps = [(more, N_BARS), (others, N_BARS), (more, N_BARS + 2), (more, N_BARS + 1), (others, N_BARS - 6)]
    seen = set()
    for bars, place in steps:
        rows[:] = sorted([*(row for row in rows if row.open_time != bars[place].open_time), bars[place]], key=opened)
        seq = log.append([bar_events(bars)[place]], writer="test")[0].seq
        answer = server.wait_until("/ml/predict?symbol=BTCUSDT", lambda body, seq=seq: body["seq"] >= seq)
        values = FeatureEngine(bundles[0].spec).batch(Bars.from_rows("BTCUSDT", "15m", rows))[-1]
        assert answer["p_up"] == bundles[0].predict(values)[0]
        seen.add(tuple(values))
    assert len(seen) == len(steps)


def opened(bar: Bar) -> int:
    return bar.open_time


def test_an_undecided_corporate_action_holds_until_a_person_has_decided(
    server: Server, log: EventLog, bundles: list[Any], rows: list[Bar]
) -> None:
    bars = Bars.from_rows("BTCUSDT", "15m", rows)
    split_ms = rows[-5].open_time
    for status in ("detected", "rejected", "detected", "confirmed"):
        factor = 2.0 if status != "confirmed" else 4.0
        payload = CorporateAction(factor=factor, status=status, evidence=f"{status} {len(log.read(kinds={'tick'}))}")
        seq = log.append([new_event("BTCUSDT", split_ms, payload)], writer="test")[0].seq
        answer = server.wait_until("/ml/predict?symbol=BTCUSDT", lambda body, seq=seq: body["seq"] >= seq)
        code, health = server.ask("GET", "/healthz")
        held = [reason for reason in answer["reasons"] if "corporate action" in reason]
        if status == "detected":
            assert (answer["signal"], answer["p_up"]) == ("HOLD", None)
            assert "kalibre actions confirm BTCUSDT 20" in held[0]
            assert "kalibre actions reject BTCUSDT 20" in held[0]
            assert code == 503
            assert held[0] in health["reasons"]
            log.append([new_event("clock", seq, Tick(now_ms=int(time.time() * 1000)))], writer="test")
        else:
            assert not held
            assert (code, health["reasons"]) == (200, [])
            dated = [DatedAction(split_ms, payload)] if status == "confirmed" else []
            values = FeatureEngine(bundles[0].spec).batch(adjust(bars, dated, forward=True))[-1]
            assert answer["p_up"] == bundles[0].predict(values)[0]


def test_it_ends_cleanly_while_streams_are_open(settings: Settings, log: EventLog) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with running_server(settings.home) as running:
            connection = http.client.HTTPConnection(urlsplit(running.address).netloc, timeout=30)
            connection.request("GET", "/events?after=0", headers={"X-API-Key": READ})
            assert connection.getresponse().readline()
            running.process.send_signal(number)
            assert running.process.wait(30) == 0, running.log.read_text()
            assert "Traceback" not in running.log.read_text()
            connection.close()


def test_without_anything_it_holds_says_why_and_imports_nothing_heavy(tmp_path: Path) -> None:
    with running_server(tmp_path / "home", keys={}, python=("-X", "importtime")) as running:
        answer = running.wait_until(
            "/ml/predict?symbol=BTCUSDT", lambda body: "no model" in str(body["reasons"]), key=None
        )
        assert "X-API-Key" in running.log.read_text()
        assert (answer["signal"], answer["p_up"], answer["model"]) == ("HOLD", None, None)
        assert running.ask("GET", "/healthz", key=None)[0] == 503
        assert running.ask("POST", "/automation/stop", key=None)[0] == 403
        assert running.get("/ml/predict", key=None)["predictions"][0] == answer
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(30) == 0
        imported = {line.rpartition("|")[2].strip() for line in running.log.read_text().splitlines()}
        assert "kalibre.registry.champion" in imported
        assert not imported & {"mlflow", "lightgbm", "sklearn", "polars", "pandas", "matplotlib", "torch"}


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        config = tmp_path / "kalibre.toml"
        config.write_text(f'home = "{tmp_path}"\n[api]\nport = {port}\n')
        command = [sys.executable, "-m", "kalibre", "serve", "--config", str(config)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr
