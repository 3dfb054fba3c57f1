"""Whether headlines help: the same model with and without the two news columns, walked forward, compared bar by bar.

Nothing of the answer may come from the scorer having read the future: the scorer's last training text must lie before
the first headline that is used, or the verdict is "cannot tell". The gain is the mean log-loss without news less that
with news on the same out-of-sample bars, with a block-bootstrap interval; beside it stand placebos, the same columns
turned round in time, which keep everything but what the headlines say when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from kalibre.bars.calendars import Calendar
from kalibre.bars.news import COLUMNS, news_rows
from kalibre.core.bars import Bars
from kalibre.core.clock import to_text
from kalibre.core.errors import DatasetError, EvaluationError
from kalibre.core.protocols import FloatArray
from kalibre.core.settings import Settings
from kalibre.core.text_events import HeadlineScore
from kalibre.dataset.join import Dataset, build_dataset
from kalibre.dataset.splits import walk_forward
from kalibre.evaluation.calibration import fit_calibrator
from kalibre.evaluation.materials import feature_spec, make_label
from kalibre.evaluation.resampling import block_bootstrap_means, block_length
from kalibre.features.engine import FeatureEngine, FeatureSpec
from kalibre.models.gradient_boosting import GradientBoosting

Verdict = Literal["helps", "hurts", "cannot tell"]

LEAST_STORIES: Final = 30
LEAST_COVERAGE: Final = 0.02
_RESAMPLES: Final = 2_000
_FINAL_SHARE: Final = 0.1
"""The newest tenth is left alone: who trains with news afterwards still has bars that nobody has judged by."""
_WARM_SHARE: Final = 0.1
"""Columns that need more of the history than this to warm up are left out, with and without news alike."""


@dataclass(frozen=True)
class NewsBacktest:
    """What was found. Losses and gain in nats a forecast; None where nothing could be computed."""

    verdict: Verdict
    reason: str
    n_headlines: int
    n_stories: int
    coverage: float
    """Share of the bars that knew any news."""
    n_forecasts: int = 0
    log_loss_without: float | None = None
    log_loss_with: float | None = None
    gain: float | None = None
    gain_low: float | None = None
    gain_high: float | None = None
    placebo_p: float | None = None
    """Share of the placebos (and the true columns) whose gain is at least the true one."""
    correlation: float | None = None
    """Of `snews_impact` with the log return over the horizon, where there was news."""
    columns: int = 0


def news_backtest(
    bars: Bars,
    scores: Sequence[tuple[int, HeadlineScore]],
    settings: Settings,
    calendar: Calendar,
    *,
    relevance: Mapping[str, float],
    trained_until_ms: int | None,
    placebos: int = 19,
    seed: int = 7,
) -> NewsBacktest:
    """Judge whether recorded scores help to forecast a history.

    Parameters
    ----------
    bars
        The history.
    scores
        (event time, score) as recorded; those that cannot touch the history are left out.
    settings
        Label, horizon and model, as a study takes them.
    calendar
        When the market is open.
    relevance
        Weight of each asset whose headlines matter, see `NewsFeatures`.
    trained_until_ms
        Date of the newest text that the scorer learnt from; None where it is not known.
    placebos
        How often the news columns are turned round in time.
    seed
        Of bootstrap and placebos.

    Raises
    ------
    EvaluationError
        If there is no bar.
    DatasetError
        If the history is too short for the folds.
    """
    if not len(bars):
        raise EvaluationError(f"there are 0 bars of {bars.symbol} {bars.timeframe} to judge: ingest some first")
    closes = np.array([calendar.bar_end(bars.timeframe, time) for time in bars.open_time.tolist()], dtype=np.int64)
    end = int(closes[-1])
    used = [(when, score) for when, score in scores if score.asset in relevance and when <= end]
    rows = news_rows(used, closes, relevance)
    known = rows[:, 1] > 0
    found = NewsBacktest(
        verdict="cannot tell",
        reason="",
        n_headlines=len({score.headline for _, score in used}),
        n_stories=len({score.story for _, score in used}),
        coverage=float(known.mean()),
    )
    if reason := _against(found, used, trained_until_ms):
        return replace(found, reason=reason)
    engine, values = _bar_columns(bars, settings)
    label = make_label(settings, calendar)
    names = (*engine.columns, *COLUMNS)
    both = build_dataset(bars, np.hstack([values, rows]), names, label, warmup=_warmup(engine))
    folds, _ = walk_forward(both, settings.model.folds, _FINAL_SHARE)
    plain = _losses(folds, settings, names, slice(0, len(engine.columns)))
    with_news = _losses(folds, settings, names, slice(None))
    gains = plain - with_news
    length = block_length(gains, horizon_bars=settings.model.horizon_bars)
    means = block_bootstrap_means(gains, length=length, resamples=_RESAMPLES, seed=seed)
    gain = float(gains.mean())
    low, high = (2 * gain - float(np.quantile(means, q)) for q in (0.975, 0.025))
    placebo = _placebos(
        bars, values, rows, folds_of=settings, engine=engine, calendar=calendar, plain=plain, count=placebos, seed=seed
    )
    p = (1 + sum(one >= gain for one in placebo)) / (1 + len(placebo))
    horizon = settings.model.horizon_bars
    moved = np.log(bars.close[horizon:] / bars.close[:-horizon])
    inside = known[:-horizon]
    verdict, why = _verdict(low, high, p, placebos)
    return replace(
        found,
        verdict=verdict,
        reason=why,
        n_forecasts=len(gains),
        log_loss_without=float(plain.mean()),
        log_loss_with=float(with_news.mean()),
        gain=gain,
        gain_low=low,
        gain_high=high,
        placebo_p=p,
        correlation=_correlation(rows[:-horizon, 0][inside], moved[inside]),
        columns=len(engine.columns),
    )


def _against(
    found: NewsBacktest, used: Sequence[tuple[int, HeadlineScore]], trained_until_ms: int | None
) -> str | None:
    """Return why nothing can be said before any model is fitted."""
    if found.n_stories < LEAST_STORIES or found.coverage < LEAST_COVERAGE:
        return (
            f"too few headlines: {found.n_stories} stories on {found.coverage:.1%} of the bars, at least "
            f"{LEAST_STORIES} on {LEAST_COVERAGE:.0%} are needed"
        )
    first = min(when for when, _ in used)
    if trained_until_ms is None:
        return "the scorer does not say until when its training texts reach: it may know the future"
    if trained_until_ms >= first:
        return (
            f"the scorer learnt from texts up to {to_text(trained_until_ms)}, the first headline is of "
            f"{to_text(first)}: it may know the future; train one on labels dated before"
        )
    return None


def _verdict(low: float, high: float, p: float, placebos: int) -> tuple[Verdict, str]:
    told = f"gain between {low:+.5f} and {high:+.5f} nats a forecast, placebo p {p:.2f}"
    # Extra columns alone move the loss a little either way: the true ones have to stand outside what placebos do.
    if low > 0 and p <= max(0.05, 1 / (1 + placebos)):
        return "helps", told
    if high < 0 and p >= min(0.95, placebos / (1 + placebos)) + 1e-9:
        return "hurts", told
    return "cannot tell", f"{told}: no difference can be told from chance"


def _bar_columns(bars: Bars, settings: Settings) -> tuple[FeatureEngine, FloatArray]:
    """Compute the columns of the bars that a history of this length can warm up."""
    spec = feature_spec(bars, settings, news=False)
    engine = FeatureEngine(spec)
    fitting = [
        name
        for name, warm in zip(engine.columns, engine.warmup_bars.tolist(), strict=True)
        if warm <= _WARM_SHARE * len(bars)
    ]
    if not fitting:
        raise DatasetError(f"{len(bars)} bars of {bars.symbol} {bars.timeframe} warm up no column: take more bars")
    if len(fitting) < len(engine.columns):
        engine = FeatureEngine(
            FeatureSpec(bars.timeframe, spec.higher_timeframes, spec.scale_window, columns=tuple(fitting))
        )
    return engine, engine.batch(bars)


def _warmup(engine: FeatureEngine) -> NDArray[np.int64]:
    # News needs no warm-up to be true, only to be independent of the start; the bars' columns need more anyway.
    return np.append(engine.warmup_bars, [0, 0]).astype(np.int64)


def _losses(
    folds: Sequence[Mapping[str, Dataset]], settings: Settings, names: Sequence[str], kept: slice
) -> FloatArray:
    """Return the log-loss of each out-of-sample forecast, all folds in order of time."""
    losses = []
    for parts in folds:
        fit, stop, calibrate, test = (
            replace(parts[name], features=np.ascontiguousarray(parts[name].features[:, kept]))
            for name in ("fit", "stop", "calibrate", "test")
        )
        model = GradientBoosting.fit(
            fit.features,
            fit.y,
            stop_features=stop.features,
            stop_y=stop.y,
            settings=settings.model,
            columns=names[kept],
        )
        horizon = settings.model.horizon_bars
        calibrator = fit_calibrator(model.predict_proba(calibrate.features), calibrate.y, horizon_bars=horizon)
        p = np.clip(calibrator.apply(model.predict_proba(test.features)), 1e-9, 1 - 1e-9)
        losses.append(-(test.y * np.log(p) + (1 - test.y) * np.log1p(-p)))
    return np.concatenate(losses)


def _placebos(
    bars: Bars,
    values: FloatArray,
    rows: FloatArray,
    *,
    folds_of: Settings,
    engine: FeatureEngine,
    calendar: Calendar,
    plain: FloatArray,
    count: int,
    seed: int,
) -> list[float]:
    rng = np.random.default_rng(seed)
    names = (*engine.columns, *COLUMNS)
    gains = []
    for _ in range(count):
        turn = int(rng.integers(len(bars) // 10, len(bars) - len(bars) // 10))
        turned = np.hstack([values, np.roll(rows, turn, axis=0)])
        dataset = build_dataset(bars, turned, names, make_label(folds_of, calendar), warmup=_warmup(engine))
        folds, _ = walk_forward(dataset, folds_of.model.folds, _FINAL_SHARE)
        gains.append(float((plain - _losses(folds, folds_of, names, slice(None))).mean()))
    return gains


def _correlation(x: FloatArray, y: FloatArray) -> float | None:
    if len(x) < 3 or not x.std() or not y.std():
        return None
    return float(np.corrcoef(x, y)[0, 1])
