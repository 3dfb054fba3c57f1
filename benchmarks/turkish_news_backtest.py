"""Do brokers' daily notes help to forecast Borsa Istanbul? Asked with a scorer that had read nothing of that time.

Bars: the equal-weight index of 92 daily shares, 2021-2023. Headlines: the sentences of 1,498 brokers' notes, known from
the session after their date on. Scorer: `builtin:fast` trained here on the project's labels whose texts are dated
before the first note. Beside it two controls on the same bars: scores that know the next day (the leak must show as
"helps" when its date is hidden, and be refused when it is told), and the same scores in random order. "Cannot tell" is
a good answer; the bars are that both controls come out right.
"""

from __future__ import annotations

import benchmarks._single_thread  # noqa: F401  # isort: skip

import json
import sys
import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
from benchmarks import _turkish as sets

from kalibre.bars.calendars import get_calendar
from kalibre.core.bars import Bars
from kalibre.core.settings import Settings
from kalibre.core.text_events import HeadlineScore
from kalibre.language.headlines.backtest import NewsBacktest, news_backtest
from kalibre.language.headlines.publication import known_ms
from kalibre.language.headlines.recording import Published, score_events
from kalibre.language.headlines.scoring import BuiltinScorer, scored
from kalibre.language.load import from_bundle
from kalibre.language.sentiment.fast import train

XIST = get_calendar("XIST")
COLLECTED = "2017-12-31"
"""The category news and the older news were collected before this day; they carry no dates of their own."""
SETTINGS = Settings(
    market={"timeframe": "1d", "calendar": "XIST", "symbols": ("XU092",)},
    features={"higher_timeframes": ()},
    model={"horizon_bars": 1, "min_samples_leaf": 20, "folds": 3},
)


def index_bars() -> Bars:
    """Return the equal-weight index: each day's mean relative move of the shares that traded on both days."""
    import polars as pl

    path = sets.ROOT.parent / "market" / "bist" / "bist92_daily_2021_2025-06.parquet"
    frame = pl.read_parquet(path).filter((pl.col("volume") > 0) & (pl.col("date") < datetime(2023, 9, 1)))
    frame = frame.sort("ticker", "date").with_columns(pl.col("close").shift(1).over("ticker").alias("before"))
    relative = [(pl.col(name) / pl.col("before")).alias(name) for name in ("open", "high", "low", "close")]
    moves = (
        frame.with_columns(relative)
        # Unadjusted splits move further than the exchange lets a share move in a day.
        .filter(pl.col("close").is_between(0.88, 1.12) & pl.col("open").is_between(0.88, 1.12))
        .group_by("date")
        .agg(pl.col("open", "high", "low", "close").mean(), pl.len().alias("volume"))
        .filter(pl.col("volume") >= 10)
        .sort("date")
    )
    close = 1_000 * np.cumprod(moves["close"].to_numpy())
    base = close / moves["close"].to_numpy()
    opened, high, low = (base * moves[name].to_numpy() for name in ("open", "high", "low"))
    times = moves["date"].dt.epoch("ms").to_numpy()
    return Bars(
        "XU092",
        "1d",
        times,
        opened,
        np.maximum.reduce([opened, high, close]),
        np.minimum.reduce([opened, low, close]),
        close,
        moves["volume"].to_numpy().astype(np.float64),
    )


def dated_labels() -> list[tuple[str, str, int]]:
    """Return the project's labels whose texts have a date: text, label, and from when on it was known."""
    with (sets.LABELS / "headlines.jsonl").open(encoding="utf-8") as stream:
        rows: list[dict[str, Any]] = [json.loads(line) for line in stream]
    texts = sets.texts_by_hash()
    dates = {sets.text_hash(row["text"]): row["date"] for row in sets.weak_news()}
    found = []
    for row in rows:
        when = dates.get(row["hash"]) if row["source"] == "haberler" else None
        when = COLLECTED if row["source"] in ("ekonomi", "news") else when
        if when is not None:
            found.append((texts[row["hash"]], row["label"], known_ms(when, XIST)))
    return found


def main() -> int:
    """Print the verdicts; exit 0 if the controls come out right."""
    if not sets.there():
        print("the shared sets are not here")
        return 1
    started = time.perf_counter()
    bars = index_bars()
    notes = [(row["date"], sentence) for row in sets.broker_notes() for sentence in sets.sentences(row["text"])]
    told = [Published(text, date, "broker") for date, text in notes if len(text) >= 25]
    first = min(known_ms(one.published, XIST) for one in told)
    labels = dated_labels()
    before = [row for row in labels if row[2] < first]
    until = max(when for *_, when in before)
    print(
        f"{len(bars):,} daily bars {_day(int(bars.open_time[0]))} .. {_day(int(bars.open_time[-1]))}; {len(told):,} "
        f"sentences from {_day(first)} on; scorer trained on {len(before):,} of {len(labels):,} dated labels, the last "
        f"of {_day(until)}"
    )
    bundle = train([text for text, *_ in before], [label for _, label, _ in before])
    scorer = BuiltinScorer(from_bundle(bundle), None, ["BIST100"])
    results = scored([one.text for one in told], scorer=scorer, universe=["BIST100"])
    scores = [
        (when, what)
        for one, (score, _) in zip(told, results, strict=True)
        for when, _, what in score_events(one, score, known_ms(one.published, XIST))
    ]
    print(f"{len(scores):,} scores in {time.perf_counter() - started:.0f} s\n")
    rows = {
        "brokers' notes": _judged(bars, scores, until),
        "in random order": _judged(bars, _shuffled(scores), until),
        "knows tomorrow, hidden": _judged(bars, _leaking(bars), until),
        "knows tomorrow, told": _judged(bars, _leaking(bars), int(bars.close_time[-1])),
    }
    print(
        f"{'scores':<24} {'verdict':<12} {'gain, nats [95 %]':<30} {'placebo p':>9} {'corr':>6} {'bars with news':>14}"
    )
    for name, found in rows.items():
        gain = "-" if found.gain is None else f"{found.gain:+.4f} [{found.gain_low:+.4f}, {found.gain_high:+.4f}]"
        p = "-" if found.placebo_p is None else f"{found.placebo_p:.2f}"
        correlation = "-" if found.correlation is None else f"{found.correlation:+.2f}"
        print(f"{name:<24} {found.verdict:<12} {gain:<30} {p:>9} {correlation:>6} {found.coverage:>14.0%}")
    print(f"\nrefusal of the last: {rows['knows tomorrow, told'].reason}")
    held = (
        rows["in random order"].verdict == "cannot tell"
        and rows["knows tomorrow, hidden"].verdict == "helps"
        and rows["knows tomorrow, told"].verdict == "cannot tell"
        and rows["knows tomorrow, told"].gain is None
    )
    print(f"controls: {'PASS' if held else 'MISS'}; the notes: {rows[next(iter(rows))].verdict}")
    return 0 if held else 1


def _judged(bars: Bars, scores: list[tuple[int, HeadlineScore]], until: int) -> NewsBacktest:
    return news_backtest(bars, scores, SETTINGS, XIST, relevance={"BIST100": 1.0}, trained_until_ms=until)


def _shuffled(scores: list[tuple[int, HeadlineScore]]) -> list[tuple[int, HeadlineScore]]:
    order = np.random.default_rng(7).permutation(len(scores))
    return [(when, scores[k][1]) for (when, _), k in zip(scores, order.tolist(), strict=True)]


def _leaking(bars: Bars) -> list[tuple[int, HeadlineScore]]:
    """Return scores that were made by looking at the next close, right two times of three."""
    rng = np.random.default_rng(7)
    ahead = np.sign(np.diff(bars.close))
    right = rng.random(len(ahead)) < 2 / 3
    one = HeadlineScore(
        headline="h", story="s", asset="BIST100", impact=0.8, confidence=0.8, horizon="intraday", model="leak"
    )
    return [
        (int(bars.close_time[k]), _changed(one, k, float(ahead[k] * (1 if right[k] else -1)) or 0.1))
        for k in range(len(ahead))
    ]


def _changed(one: HeadlineScore, k: int, sign: float) -> HeadlineScore:
    import msgspec

    return msgspec.structs.replace(one, headline=f"h{k}", story=f"s{k}", impact=0.8 * sign)


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, tz=UTC).date().isoformat()


if __name__ == "__main__":
    sys.exit(main())
