"""Fast serving: one posted row of features, beside `mlflow models serve` and FastAPI with `Booster.predict`.

One booster, one row, one machine, one run. Server and client each have a core of their own; rounds are interleaved and
medians compared. Kalibre's answer is more than the others' (calibrated, judged by the policy, kill switch and key
checked), which counts against it. Then: an open loop of 1,000 requests a second beside a niced training.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from benchmarks._http_load import ask_once, closed_loop, open_loop, request

SYMBOL = "BTCUSDT"
MLFLOW_BAR, FASTAPI_BAR, P99_BAR_MS = 10.0, 3.0, 10.0
CONNECTIONS = 16
_HERE = Path(__file__).parent


def build(folder: Path) -> tuple[list[float], float, float]:
    """Train one booster, store it for all three servers; returns a row, its raw score and its calibrated one."""
    import lightgbm

    from kalibre.core.events import Promotion, new_event
    from kalibre.core.settings import CostSettings, ModelSettings, RiskSettings, Settings
    from kalibre.features.engine import FeatureEngine, FeatureSpec
    from kalibre.log import open_log
    from kalibre.models.bundle import ModelBundle
    from kalibre.models.calibrator import Calibrator
    from kalibre.models.gradient_boosting import GradientBoosting

    engine = FeatureEngine(FeatureSpec("15m"))
    rng = np.random.default_rng(5)
    n = 20_000
    features = rng.normal(size=(n, len(engine.columns)))
    y = (features[:, :6].sum(axis=1) + rng.normal(0, 6, n) > 0).astype(float)
    half = n // 2
    classifier = GradientBoosting.fit(
        features[:half],
        y[:half],
        stop_features=features[half:],
        stop_y=y[half:],
        settings=ModelSettings(),
        columns=engine.columns,
    )
    knots = np.linspace(0.02, 0.98, 60)
    bundle = ModelBundle(
        symbol=SYMBOL,
        timeframe="15m",
        spec=engine.spec,
        feature_fingerprint=engine.fingerprint,
        classifier=classifier,
        calibrator=Calibrator("isotonic", scores=tuple(knots), probabilities=tuple(0.2 + 0.6 * knots)),
        entry_threshold=0.55,
        exit_threshold=0.45,
        horizon_bars=4,
        costs=CostSettings(),
        risk=RiskSettings(),
        created_at_ms=1_700_000_000_000,
        calibration={"ece_calibrated": 0.01, "ece_band": [0.0, 0.02]},
    )
    settings = Settings(home=folder / "home")
    bundle.save(settings.models_dir)
    with open_log(settings.log_url) as log:
        promotion = Promotion(
            model=bundle.model_id, digest=bundle.digest, alias="champion", previous=None, by="benchmark"
        )
        log.append([new_event(f"{SYMBOL}|15m|champion", 1, promotion)], writer="benchmark")
    (folder / "model.txt").write_text(classifier.text)
    booster = lightgbm.Booster(model_str=classifier.text)
    with contextlib.redirect_stdout(sys.stderr):
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        import mlflow.lightgbm

        mlflow.lightgbm.save_model(booster, str(folder / "mlflow"))
    row = features[0].tolist()
    print(f"booster: {classifier.best_round} trees of at most {ModelSettings().leaves} leaves, {len(row)} columns")
    return row, float(booster.predict(features[:1])[0]), float(bundle.predict(features[0])[0])


@contextlib.contextmanager
def started(command: list[str], *, core: int | None, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process on a core of its own until the block ends."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, "1"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    # `mlflow models serve` looks for uvicorn on the path.
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment.get('PATH', '')}"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
            cwd=_HERE.parent,
        )
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def wait_for(port: int, message: bytes, process: subprocess.Popen[bytes], log: Path) -> bytes:
    """Return the first answer of a server that is starting."""
    deadline = time.monotonic() + 180
    while True:
        try:
            return ask_once(port, message)
        except (OSError, RuntimeError) as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"server did not start ({error}):\n{log.read_text()[-3000:]}") from error
            time.sleep(0.2)


def main() -> int:
    """Run, print the table, and say which bars hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    rounds, seconds, open_s = (3, 1.0, 6.0) if options.quick else (7, 3.0, 30.0)
    cores = sorted(os.sched_getaffinity(0))
    server_core, client_core = (cores[0], cores[-1]) if len(cores) > 1 else (None, None)
    stdout = sys.stdout
    if options.json:
        sys.stdout = sys.stderr
    with tempfile.TemporaryDirectory() as place:
        result = measure(Path(place), rounds, seconds, open_s, server_core, client_core)
    result |= {"machine": platform.machine(), "cores": len(cores), "date": f"{datetime.now(tz=UTC):%Y-%m-%d %H:%M} UTC"}
    failed = report(result)
    if options.json:
        stdout.write(json.dumps(result) + "\n")
    return 1 if failed else 0


def measure(
    folder: Path, rounds: int, seconds: float, open_s: float, server_core: int | None, client_core: int | None
) -> dict[str, Any]:
    """Return every figure."""
    row, raw, calibrated = build(folder)
    posted = json.dumps({"symbol": SYMBOL, "features": row}).encode()
    ports = {name: free_port() for name in ("kalibre", "fastapi", "mlflow")}
    messages = {
        "kalibre": request(ports["kalibre"], "/ml/predict", posted),
        "fastapi": request(ports["fastapi"], "/predict", posted),
        "mlflow": request(ports["mlflow"], "/invocations", json.dumps({"inputs": [row]}).encode()),
    }
    own = [sys.executable, "-m", "benchmarks._serving_processes"]
    commands = {
        "kalibre": [*own, "kalibre", str(folder), str(ports["kalibre"])],
        "fastapi": [*own, "fastapi", str(folder), str(ports["fastapi"])],
        "mlflow": [
            *(sys.executable, "-m", "mlflow", "models", "serve", "-m", str(folder / "mlflow")),
            *("--env-manager", "local", "-h", "127.0.0.1", "-p", str(ports["mlflow"]), "-w", "1"),
        ],
    }
    with contextlib.ExitStack() as stack:
        for name, command in commands.items():
            log = folder / f"{name}.log"
            process = stack.enter_context(started(command, core=server_core, log=log))
            answer = json.loads(wait_for(ports[name], messages[name], process, log))
            if name == "kalibre":
                while answer["model"] is None:
                    time.sleep(0.2)
                    answer = json.loads(ask_once(ports[name], messages[name]))
            said = answer["predictions"][0] if name == "mlflow" else answer["p_up"]
            expected = calibrated if name == "kalibre" else raw
            if said != expected:
                raise SystemExit(f"{name} answers {said!r}, Booster.predict and the calibrator say {expected!r}")
        print("answers: bit for bit those of Booster.predict (Kalibre's: of the calibrator on top)")
        if client_core is not None:
            os.sched_setaffinity(0, {client_core})
        rates: dict[str, list[float]] = {name: [] for name in commands}
        busy: dict[str, list[float]] = {name: [] for name in commands}
        for name in commands:
            closed_loop(ports[name], messages[name], connections=CONNECTIONS, seconds=0.5)
        for _ in range(rounds):
            for name in commands:
                rate = closed_loop(ports[name], messages[name], connections=CONNECTIONS, seconds=seconds)
                rates[name].append(rate.per_s)
                busy[name].append(rate.client_busy)
        log = folder / "training.log"
        stack.enter_context(started([*own, "training", str(folder), "0"], core=None, log=log))
        while b"training" not in log.read_bytes():
            time.sleep(0.1)
        time.sleep(1.0)
        latencies = open_loop(ports["kalibre"], messages["kalibre"], per_s=1000, seconds=open_s, connections=64)
    median = {name: statistics.median(values) for name, values in rates.items()}
    points = {f"p{p:g}_ms": float(np.percentile(latencies, p)) for p in (50, 90, 99, 99.9, 100)}
    return {
        "requests_per_s": median,
        "rounds": rates,
        "client_busy": {name: statistics.median(values) for name, values in busy.items()},
        "times_mlflow": statistics.median(np.divide(rates["kalibre"], rates["mlflow"]).tolist()),
        "times_fastapi": statistics.median(np.divide(rates["kalibre"], rates["fastapi"]).tolist()),
        "open_loop": {"per_s": 1000, "seconds": open_s, **points},
    }


def report(result: dict[str, Any]) -> list[str]:
    """Print the table and the bars; returns those that were missed."""
    print(f"\n{'server':<28}{'req/s (median)':>16}{'spread':>18}{'client busy':>14}")
    named = {"kalibre": "kalibre serve", "fastapi": "FastAPI + Booster.predict", "mlflow": "mlflow models serve"}
    for name, text in named.items():
        values = result["rounds"][name]
        spread = f"{min(values):,.0f} to {max(values):,.0f}"
        busy = result["client_busy"][name]
        print(f"{text:<28}{result['requests_per_s'][name]:>16,.0f}{spread:>18}{busy:>14.0%}")
    loop = result["open_loop"]
    print(
        f"\nopen loop, {loop['per_s']} req/s for {loop['seconds']:.0f} s beside a niced training, from scheduled time:"
    )
    print(
        "  "
        + ", ".join(
            f"{key.removesuffix('_ms')} {value:.2f} ms"
            for key, value in loop.items()
            if key[0] == "p" and key != "per_s"
        )
    )
    bars = {
        f"{result['times_mlflow']:.1f}x mlflow models serve (bar {MLFLOW_BAR:g}x)": result["times_mlflow"]
        >= MLFLOW_BAR,
        f"{result['times_fastapi']:.1f}x FastAPI + Booster.predict (bar {FASTAPI_BAR:g}x)": result["times_fastapi"]
        >= FASTAPI_BAR,
        f"p99 {loop['p99_ms']:.2f} ms (bar {P99_BAR_MS:g} ms)": loop["p99_ms"] < P99_BAR_MS,
    }
    for text, holds in bars.items():
        print(f"{'PASS' if holds else 'FAIL'}  {text}")
    return [text for text, holds in bars.items() if not holds]


if __name__ == "__main__":
    raise SystemExit(main())
