"""The pictures of a report: plain arrays in, a matplotlib figure out, written once as SVG and once as PNG."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

# Colours that people with colour-blindness can tell apart (Okabe & Ito), on white.
INK, MUTED, GRID = "#1d2733", "#66727f", "#e3e7eb"
BLUE, ORANGE, GREEN, RED = "#0072b2", "#d55e00", "#009e73", "#b3261e"
_MOST_POINTS = 1_200


@contextmanager
def _styled() -> Iterator[None]:
    import matplotlib as mpl

    style: dict[Any, Any] = {
        "font.family": "sans-serif",
        "font.size": 9,
        "text.color": INK,
        "axes.labelcolor": MUTED,
        "axes.edgecolor": GRID,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": GRID,
        "axes.axisbelow": True,
        "legend.frameon": False,
        "svg.fonttype": "none",
        "svg.hashsalt": "kalibre",
    }
    with mpl.rc_context(style):
        yield


def _axes(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()


def thinned(length: int) -> NDArray[np.int64]:
    """Return the rows to draw: at most 1,200, evenly spread, first and last included."""
    return np.unique(np.linspace(0, max(length - 1, 0), min(length, _MOST_POINTS)).astype(np.int64))


def _dates(time_ms: NDArray[np.int64]) -> NDArray[np.datetime64]:
    return time_ms.astype("datetime64[ms]")


def equity_chart(
    time_ms: NDArray[np.int64], equity: FloatArray, buy_and_hold: FloatArray, *, names: tuple[str, str], label: str
) -> Figure:
    """Draw equity beside buy and hold, both starting at 1; all shapes (n_bars,)."""
    with _styled():
        figure, axes = _axes(8.4, 2.9)
        rows = thinned(len(equity))
        axes.plot(_dates(time_ms[rows]), buy_and_hold[rows] / buy_and_hold[0], color=MUTED, lw=1.1, label=names[1])
        axes.plot(_dates(time_ms[rows]), equity[rows] / equity[0], color=BLUE, lw=1.6, label=names[0])
        axes.axhline(1.0, color=INK, lw=0.6)
        axes.set_ylabel(label)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
        return figure


def drawdown_chart(
    time_ms: NDArray[np.int64], equity: FloatArray, *, limit: float, label: str, limit_label: str
) -> Figure:
    """Draw the fall from the highest equity so far, in per cent, and the gate's limit."""
    with _styled():
        figure, axes = _axes(8.4, 1.9)
        peak = np.maximum.accumulate(equity)
        drawdown = 100 * (equity / peak - 1)
        # The deepest point of each drawn stretch, so that thinning never hides a fall.
        rows = thinned(len(equity))
        deepest = np.minimum.reduceat(drawdown, rows) if len(rows) else drawdown
        axes.fill_between(_dates(time_ms[rows]), deepest, 0, color=ORANGE, alpha=0.35, lw=0)
        axes.axhline(-100 * limit, color=RED, lw=1, ls="--", label=limit_label)
        axes.set_ylabel(label)
        axes.set_ylim(min(-100 * limit * 1.15, float(drawdown.min(initial=0)) * 1.1), 0)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1))
        return figure


def threshold_chart(
    entries: FloatArray,
    exits: FloatArray,
    sharpe: FloatArray,
    *,
    chosen: Sequence[int] | None,
    labels: tuple[str, str, str],
) -> Figure:
    """Draw the Sharpe ratio over entry and exit thresholds, shape (n_entries, n_exits); `chosen` is the promoted cell.

    Cells are as wide as the next, whatever lies between two thresholds: they are quantiles of the score.
    """
    with _styled():
        figure, axes = _axes(4.1, 3.3)
        finite = sharpe[np.isfinite(sharpe)]
        most = max(float(np.quantile(np.abs(finite), 0.98)) if finite.size else 1.0, 1e-9)
        cells = axes.imshow(sharpe.T, cmap="PuOr", vmin=-most, vmax=most, origin="lower", aspect="auto")
        if chosen is not None:
            axes.plot(*chosen, marker="o", ms=11, mfc="none", mec=INK, mew=1.8)
        for axis, values in ((axes.xaxis, entries), (axes.yaxis, exits)):
            places = np.unique(np.linspace(0, len(values) - 1, 5).astype(int))
            axis.set_ticks(places, [f"{values[place]:.3f}" for place in places])
        axes.grid(visible=False)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        figure.colorbar(cells, ax=axes, label=labels[2])
        return figure


def reliability_chart(
    forecast: FloatArray, observed: FloatArray, low: FloatArray, high: FloatArray, *, labels: tuple[str, str, str]
) -> Figure:
    """Draw observed frequency over forecast probability per bin with the band a perfect model stays in, (n_bins,)."""
    with _styled():
        figure, axes = _axes(3.6, 3.3)
        ends = np.array(
            [min(forecast.min(), observed.min(), low.min()), max(forecast.max(), observed.max(), high.max())]
        )
        ends += np.array([-0.02, 0.02])
        axes.plot(ends, ends, color=INK, lw=0.8)
        axes.fill_between(forecast, low, high, color=BLUE, alpha=0.18, lw=0, label=labels[2])
        axes.plot(forecast, observed, marker="o", ms=4.5, color=BLUE, lw=1)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.legend(loc="upper left")
        return figure


def importance_chart(importance: Mapping[str, float], *, label: str, most: int = 15) -> Figure:
    """Draw the columns that matter most, as shares of the whole."""
    with _styled():
        total = sum(importance.values()) or 1.0
        top = sorted(importance.items(), key=lambda item: item[1])[-most:]
        figure, axes = _axes(4.1, 3.3)
        axes.barh([name for name, _ in top], [100 * value / total for _, value in top], color=BLUE, height=0.65)
        axes.set_xlabel(label)
        axes.tick_params(axis="y", labelsize=7.5, length=0)
        axes.grid(visible=False, axis="y")
        return figure


def fold_chart(names: Sequence[str], sharpe: FloatArray, *, label: str, bar: float) -> Figure:
    """Draw the Sharpe ratio of each walk-forward fold beside the gate's bar."""
    with _styled():
        figure, axes = _axes(3.6, 2.4)
        axes.bar(names, sharpe, color=[GREEN if value > bar else ORANGE for value in sharpe], width=0.6)
        axes.axhline(bar, color=RED, lw=1, ls="--")
        axes.axhline(0, color=INK, lw=0.6)
        axes.set_ylabel(label)
        axes.grid(visible=False, axis="x")
        return figure


def decimal_comma(figure: Figure) -> None:
    """Write the numbers of a figure's axes as Turkish does, 0,5 for 0.5."""
    from matplotlib.ticker import FixedLocator, ScalarFormatter

    class Comma(ScalarFormatter):
        def __call__(self, x: float, pos: int | None = None) -> str:
            return super().__call__(x, pos).replace(".", ",")

    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            if isinstance(axis.get_major_locator(), FixedLocator):
                labels = [tick.get_text().replace(".", ",") for tick in axis.get_ticklabels()]
                axis.set_ticks(axis.get_ticklocs(), labels)
            elif type(axis.get_major_formatter()) is ScalarFormatter:
                axis.set_major_formatter(Comma())


def svg(figure: Figure) -> str:
    """Return a figure as an SVG element to stand inside HTML."""
    stream = io.StringIO()
    with _styled():
        metadata: dict[str, Any] = {"Date": None, "Creator": None}
        figure.savefig(stream, format="svg", metadata=metadata)
    # The places are found: drawing the picture again for the PNG need not search for them again.
    figure.set_layout_engine("none")
    text = stream.getvalue()
    return text[text.index("<svg") :]


def save_png(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG fit for a slide, on white."""
    with _styled():
        figure.savefig(path, format="png", dpi=130, facecolor="white")
