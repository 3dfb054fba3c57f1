"""NiceGUI's way to show the same market: candles and forecast lines in its own ECharts, refreshed by its own timer.

Run by NiceGUI's interpreter: `python _page_peer.py LOG PORT`. It reads the log's file by itself, so that it needs
nothing of Kalibre.
"""

import json
import sqlite3
import sys
from typing import Any

from nicegui import ui  # type: ignore[import-not-found]

LOG, PORT = sys.argv[1], int(sys.argv[2])
N_BARS = 480
LOOK_S = 0.05
_SQL = """SELECT e.content FROM events e JOIN streams s ON s.id = e.stream WHERE s.kind = ? AND s.key = ?
          ORDER BY e.event_time DESC LIMIT ?"""


def read(connection: sqlite3.Connection, kind: str, key: str) -> list[dict[str, Any]]:
    """Return the newest payloads of a stream, oldest first."""
    rows = connection.execute(_SQL, (kind, key, N_BARS)).fetchall()
    return [json.loads(bytes(row[0])) for row in reversed(rows)]


def options(connection: sqlite3.Connection) -> dict[str, Any]:
    """Return the chart: candles, and a line for each forecaster."""
    bars = read(connection, "bar", "BTCUSDT|15m")
    names = ("agents", "champion", "online", "reinforcement")
    lines = {name: read(connection, "forecast", f"BTCUSDT|15m|{name}") for name in names}
    return {
        "animation": False,
        "xAxis": {"type": "category", "data": [bar["open_time"] for bar in bars]},
        "yAxis": [{"scale": True}, {"scale": True}],
        "series": [
            {"type": "candlestick", "data": [[bar["open"], bar["close"], bar["low"], bar["high"]] for bar in bars]},
            *(
                {"type": "line", "showSymbol": False, "yAxisIndex": 1, "data": [one["p_up"] for one in line]}
                for line in lines.values()
            ),
        ],
    }


@ui.page("/")
def page() -> None:
    """Show the market and keep it up to date."""
    connection = sqlite3.connect(LOG)
    chart = ui.echart(options(connection)).style("width: 1000px; height: 500px")
    seen = {"head": connection.execute("SELECT max(seq) FROM events").fetchone()[0]}

    def look() -> None:
        head = connection.execute("SELECT max(seq) FROM events").fetchone()[0]
        if head != seen["head"]:
            seen["head"] = head
            chart.options.update(options(connection))
            chart.update()

    ui.timer(LOOK_S, look)


ui.run(host="127.0.0.1", port=PORT, reload=False, show=False)
