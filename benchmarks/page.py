"""The hub's page in a real Chromium, beside a NiceGUI page with the same candles and forecasts (its own ECharts).

Both servers read the same log. Usable: from the start of the navigation, with an empty cache, until candles are on the
canvas (ours: until every section stands as well). Weight: every byte that came over the wire. Latency: from before a
bar is appended to the log until a frame with its candle has been painted. Bars: usable in less than 1.5 s (median and
the slowest), a bar on the screen within 1 s (the slowest of at least 20).

    python -m benchmarks.page [--quick] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.fakes.browser import launched
from tests.fakes.hub_log import HubLog
from tests.fakes.serving import running_server

from kalibre.log import open_log

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parents[1]
PEER = ROOT / ".venv-nicegui"
USABLE_S, LATENCY_S = 1.5, 1.0
_FIRST_PAINT = """
// The first moment at which something coloured is on a canvas: looked for at every frame.
const look = () => {
  for (const canvas of document.querySelectorAll("canvas")) {
    if (canvas.width < 200 || canvas.height < 100) continue;
    const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    let drawn = 0;
    for (let i = 3; i < pixels.length; i += 64) drawn += pixels[i] > 0;
    if (drawn > 100 && WHOLE) { window.painted = performance.now(); return; }
  }
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
_DRAWS = """
// Notes when a canvas was last drawn on.
const fill = CanvasRenderingContext2D.prototype.fillRect;
const stroke = CanvasRenderingContext2D.prototype.stroke;
const noted = (draw) => function (...given) { window.drawn = Date.now(); return draw.apply(this, given); };
CanvasRenderingContext2D.prototype.fillRect = noted(fill);
CanvasRenderingContext2D.prototype.stroke = noted(stroke);
"""
_OURS, _ANY = "document.body.dataset.ready !== undefined", "true"
_WAIT_FOR_CANDLE = """([last, began]) => new Promise((resolve) => {
  const look = () => (document.querySelector("#chart").dataset.last === String(last))
    ? requestAnimationFrame(() => resolve(Date.now() - began)) : requestAnimationFrame(look);
  look();
})"""
_WAIT_FOR_DRAW = """(began) => new Promise((resolve) => {
  const look = () => (window.drawn ?? 0) >= began
    ? requestAnimationFrame(() => resolve(Date.now() - began)) : requestAnimationFrame(look);
  look();
})"""


def peer_python() -> Path:
    """Return NiceGUI's own interpreter; made on the first run."""
    python = PEER / "bin" / "python"
    if not (PEER / "installed").is_file():
        print(f"making {PEER.name} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(PEER)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", "nicegui"], check=True, capture_output=True)
        (PEER / "installed").touch()
    return python


def installed_mb() -> float:
    """Return what NiceGUI and its dependencies take on the disk, without pip and setuptools."""
    folder = next((PEER / "lib").glob("python*/site-packages"))
    skipped = ("pip", "setuptools", "pkg_resources", "_distutils_hack")
    owned = [path for path in folder.iterdir() if path.name.split("-")[0] not in skipped]
    return sum(_bytes_in(path) for path in owned) / 1e6


def _bytes_in(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(one.stat().st_size for one in path.rglob("*") if one.is_file() and not one.is_symlink())


@contextmanager
def peer_server(log: Path) -> Iterator[str]:
    """Run the NiceGUI page."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(peer_python()), str(ROOT / "benchmarks" / "_page_peer.py"), str(log), str(port)]
    environment = {**os.environ, "NICEGUI_STORAGE_PATH": str(log.parent / "nicegui")}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5).read()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait(30)


def usable(browser: Browser, address: str, whole: str, runs: int) -> tuple[list[float], float, int]:
    """Return the seconds until the page could be used in each run, and its bytes and requests."""
    seconds, weight, count = [], 0.0, 0
    for _ in range(runs):
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        context.add_init_script(_FIRST_PAINT.replace("WHOLE", whole))
        page = context.new_page()
        wire = context.new_cdp_session(page)
        wire.send("Network.enable")
        sizes: list[float] = []
        wire.on("Network.loadingFinished", lambda told, sizes=sizes: sizes.append(told["encodedDataLength"]))
        page.goto(address, wait_until="commit")
        page.wait_for_function("() => window.painted !== undefined", timeout=60_000)
        seconds.append(page.evaluate("window.painted") / 1000)
        page.wait_for_load_state("load")
        weight, count = sum(sizes), len(sizes)
        context.close()
    return seconds, weight, count


def latencies(page: Page, made: HubLog, n_bars: int, *, ours: bool) -> list[float]:
    """Return for each bar the seconds from before it is appended until its candle is on the screen."""
    found = []
    for _ in range(n_bars):
        page.wait_for_timeout(300)  # a bar comes alone, not into the drawing of the one before
        open_ms, began = made.series[0].open_ms, time.time() * 1000
        made.next_bar()
        question: Any = [open_ms, began] if ours else began
        found.append(page.evaluate(_WAIT_FOR_CANDLE if ours else _WAIT_FOR_DRAW, question) / 1000)
    return found


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Measure both pages on one log."""
    runs, n_bars = (3, 20) if options.quick else (9, 40)
    result: dict[str, Any] = {"runs": runs, "bars": n_bars}
    with tempfile.TemporaryDirectory() as name, launched() as browser:
        home = Path(name)
        with open_log(f"sqlite:///{home / 'log.sqlite'}") as log:
            made = HubLog(log, now_ms=int(time.time() * 1000), symbols=("BTCUSDT",))
            made.write()
            with running_server(home, keys={}) as server, peer_server(home / "log.sqlite") as peer:
                server.wait_until("/hub/state", lambda body: body["now"]["ready"], key=None)
                for side, address, whole in (("kalibre", server.address, _OURS), ("nicegui", peer, _ANY)):
                    seconds, weight, count = usable(browser, f"{address}/", whole, runs)
                    context = browser.new_context(viewport={"width": 1440, "height": 900})
                    context.add_init_script(_DRAWS)
                    page = context.new_page()
                    page.goto(f"{address}/")
                    page.wait_for_selector("body[data-ready]" if side == "kalibre" else "canvas")
                    page.wait_for_timeout(1_000)
                    late = latencies(page, made, n_bars, ours=side == "kalibre")
                    context.close()
                    result[side] = {
                        "usable_s": statistics.median(seconds),
                        "usable_slowest_s": max(seconds),
                        "weight_kb": weight / 1000,
                        "requests": count,
                        "latency_s": statistics.median(late),
                        "latency_slowest_s": max(late),
                    }
    result["nicegui"]["installed_mb"] = installed_mb()
    result["kalibre"]["installed_mb"] = _bytes_in(ROOT / "src" / "kalibre" / "dashboard") / 1e6
    return result


def main() -> int:
    """Measure, print the table, judge."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs and bars")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    result = measured(options)
    ours = result["kalibre"]
    usable_s, latency_s = ours["usable_slowest_s"], ours["latency_slowest_s"]
    bars = {
        f"usable {usable_s:.2f} s at the slowest, bar {USABLE_S} s": usable_s < USABLE_S,
        f"bar close to pixel {latency_s:.2f} s at the slowest, bar {LATENCY_S} s": latency_s < LATENCY_S,
    }
    passed = all(bars.values())
    if options.json:
        print(json.dumps({**result, "pass": passed}))
        return 0 if passed else 1
    print(f"{result['runs']} loads with an empty cache, {result['bars']} bars, Chromium without a screen")
    rows = (
        ("usable, median", "usable_s", "{:.2f} s"),
        ("usable, slowest", "usable_slowest_s", "{:.2f} s"),
        ("over the wire", "weight_kb", "{:,.0f} kB"),
        ("requests", "requests", "{}"),
        ("bar close to pixel, median", "latency_s", "{:.3f} s"),
        ("bar close to pixel, slowest", "latency_slowest_s", "{:.3f} s"),
        ("on the disk", "installed_mb", "{:.1f} MB"),
    )
    print(f"{'':32s}{'kalibre':>14s}{'NiceGUI':>14s}")
    for label, key, form in rows:
        print(f"{label:32s}{form.format(ours[key]):>14s}{form.format(result['nicegui'][key]):>14s}")
    print("kalibre: the whole page, its state included; NiceGUI: one chart, nothing else of the hub")
    for text, holds in bars.items():
        print(f"{'PASS' if holds else 'FAIL'}: {text}")
    return 0 if passed else 1


if __name__ == "__main__":
    raise SystemExit(main())
