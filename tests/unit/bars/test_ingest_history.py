"""History into the log: gaps, holes, quarantine, resumption, revisions, corporate actions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.fakes.scripted_source import ScriptedSource
from tests.unit.bars.test_checks import STEP, times, walk

from kalibre.bars.calendars import get_calendar
from kalibre.bars.gaps import find_gaps, gap_rows
from kalibre.bars.history import load_bars
from kalibre.bars.ingest import heal_gaps, ingest_history
from kalibre.bars.report import IngestReport
from kalibre.core.bars import Bar
from kalibre.core.clock import ManualClock, to_text
from kalibre.core.errors import BarError, UsageError
from kalibre.core.events import Gap
from kalibre.log import open_log
from kalibre.log.protocol import EventLog

CLOCK = ManualClock(10**13)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as opened:
        yield opened


def ingest(log: EventLog, source: ScriptedSource, **options: object) -> IngestReport:
    return ingest_history(log, source, "X", "15m", calendar="24/7", clock=CLOCK, **options)  # type: ignore[arg-type]


def gap_history(log: EventLog) -> list[tuple[int, str, int]]:
    return [
        (event.event_time // STEP, event.payload.status, event.payload.missing_bars)
        for event in log.read(kinds={"gap"})
        if isinstance(event.payload, Gap)
    ]


def test_everything_arrives_once(log: EventLog) -> None:
    bars = walk(350)
    source = ScriptedSource({"X": bars})
    seen: list[tuple[int, int]] = []
    report = ingest(log, source, progress=lambda read, last: seen.append((read, last)))
    assert report.bars_written == 350
    assert [read for read, _ in seen] == [100, 200, 300, 350]
    assert seen[-1][1] == bars[-1].open_time
    assert list(load_bars(log, "X", "15m")) == bars
    assert {event.provenance for event in log.read(kinds={"bar"})} == {"backfilled"}
    head = log.head()
    assert ingest(log, source).wrote_nothing
    assert ingest(log, source, refresh=True).wrote_nothing
    assert log.head() == head


def test_a_hole_is_announced_and_healed_when_the_source_has_it_later(log: EventLog) -> None:
    bars = walk(300)
    source = ScriptedSource({"X": bars})
    for i in range(120, 125):
        source.hidden["X", bars[i].open_time] = 3
    report = ingest(log, source)
    assert (report.gaps_found, report.bars_missing, report.holes, report.bars_in_holes) == (1, 5, 1, 5)
    assert gap_history(log) == [(120, "open", 5), (120, "hole", 5)]
    heal = heal_gaps(log, source, "X", "15m", calendar="24/7", clock=CLOCK)  # the third time it still has nothing
    assert heal.wrote_nothing
    heal = heal_gaps(log, source, "X", "15m", calendar="24/7", clock=CLOCK)
    assert (heal.gaps_healed, heal.bars_healed, heal.bars_written) == (1, 5, 5)
    assert gap_history(log)[-1] == (120, "healed", 5)
    assert list(load_bars(log, "X", "15m")) == bars


def test_what_is_missing_is_asked_for_again_at_once(log: EventLog) -> None:
    bars = walk(300)
    source = ScriptedSource({"X": bars})
    source.hidden["X", bars[99].open_time] = source.hidden["X", bars[100].open_time] = 1  # across two chunks
    report = ingest(log, source)
    assert (report.gaps_found, report.gaps_healed, report.bars_healed, report.holes) == (1, 1, 2, 0)
    assert gap_history(log) == [(99, "open", 2), (99, "healed", 2)]
    assert [event.event_time for event in log.read(kinds={"bar"})] == [bar.open_time for bar in bars]


def test_bad_bars_are_kept_aside_and_their_place_is_a_hole(log: EventLog) -> None:
    bars = walk(300)
    bad = list(bars)
    bad[50] = msgspec.structs.replace(bars[50], high=float("nan"))
    bad[51] = msgspec.structs.replace(bars[51], volume=-1.0)
    bad[200] = times(bars[200], 1e6)
    report = ingest(log, ScriptedSource({"X": bad}))
    assert report.quarantined == {"not_finite": 1, "volume_negative": 1, "price_magnitude": 1}
    assert report.holes == 3
    assert {event.payload.reason for event in log.read(kinds={"gap"}) if event.revision} == {  # type: ignore[attr-defined]
        "quarantined: not_finite",
        "quarantined: volume_negative",
        "quarantined: price_magnitude",
    }
    [aside] = [e for e in log.read(kinds={"quarantine"}) if "not_finite" in e.payload.reasons]  # type: ignore[attr-defined]
    assert aside.payload.raw["high"] == "nan"  # type: ignore[attr-defined]
    assert len(load_bars(log, "X", "15m")) == 297
    assert ingest(log, ScriptedSource({"X": bad}), refresh=True).wrote_nothing
    # The source mends them: the next reading takes them in.
    mended = ingest(log, ScriptedSource({"X": bars}), refresh=True)
    assert mended.bars_written == 3
    assert list(load_bars(log, "X", "15m")) == bars


def test_an_interrupted_ingest_goes_on_where_it_ended(log: EventLog, tmp_path: Path) -> None:
    bars = walk(600)
    bars[333] = times(bars[333], 3.0)
    del bars[250:253]
    whole = ScriptedSource({"X": bars})

    class StopError(Exception):
        pass

    def stop_at(read: int, _: int) -> None:
        if read >= 300:
            raise StopError

    with pytest.raises(StopError):
        ingest(log, whole, progress=stop_at)
    assert len(load_bars(log, "X", "15m")) == 300
    ingest(log, whole)
    with open_log(f"sqlite:///{tmp_path / 'other.sqlite'}") as other:
        ingest(other, whole)
        content = [[(e.identity, e.payload) for e in one.read()] for one in (log, other)]
    assert sorted(content[0], key=lambda pair: pair[0]) == sorted(content[1], key=lambda pair: pair[0])


def test_a_correction_becomes_a_revision(log: EventLog) -> None:
    bars = walk(300)
    ingest(log, ScriptedSource({"X": bars}))
    before = log.latest("bar")
    assert before is not None
    corrected = msgspec.structs.replace(bars[100], volume=99.0)
    report = ingest(log, ScriptedSource({"X": [*bars[:100], corrected, *bars[101:]]}), refresh=True)
    assert (report.bars_written, report.bars_revised) == (1, 1)
    assert load_bars(log, "X", "15m").volume[100] == 99.0
    back = ingest(log, ScriptedSource({"X": bars}), refresh=True)  # the source takes its correction back
    assert (back.bars_written, back.bars_revised) == (1, 1)
    assert list(load_bars(log, "X", "15m")) == bars
    assert ingest(log, ScriptedSource({"X": bars}), refresh=True).wrote_nothing


@pytest.mark.parametrize("factor", [1 / 15, 1 / 1.5, 1.2])
def test_another_instrument_rewrites_nothing(log: EventLog, factor: float) -> None:
    """A wrong file of the same times, and one whose vendor has adjusted it for a split since."""
    bars = walk(600)
    ingest(log, ScriptedSource({"X": bars}))
    head = log.head()
    with pytest.raises(BarError, match=r"of X 15m are not those that the log has.*nothing was written"):
        ingest(log, ScriptedSource({"X": [times(bar, factor) for bar in bars]}), refresh=True)
    assert log.head() == head


def test_a_correction_that_is_none_is_kept_aside_beside_those_that_are(log: EventLog) -> None:
    bars = walk(600)
    ingest(log, ScriptedSource({"X": bars}))
    again = list(bars)
    again[0], again[300] = times(bars[0], 15.0), times(bars[300], 2.0)
    again[301] = msgspec.structs.replace(bars[301], volume=99.0)
    report = ingest(log, ScriptedSource({"X": again}), refresh=True)
    assert (report.bars_written, report.bars_revised, report.quarantined) == (1, 1, {"revision_jump": 2})
    assert list(load_bars(log, "X", "15m")) == [*bars[:301], again[301], *bars[302:]]


def test_what_is_passed_over_is_said(log: EventLog) -> None:
    bars = walk(300)
    source = ScriptedSource({"X": bars})
    assert ingest(log, source).notes == []
    (note,) = ingest(log, source, start_ms=bars[100].open_time).notes
    assert "--refresh" in note
    assert to_text(bars[100].open_time) in note
    assert to_text(bars[299].open_time) in note
    assert ingest(log, source, refresh=True).notes == []


def test_a_range_read_again_changes_nothing_but_what_was_corrected(log: EventLog) -> None:
    bars = walk(300)
    ingest(log, ScriptedSource({"X": bars}))
    corrected = msgspec.structs.replace(bars[100], volume=99.0)
    head = log.head()
    part = ScriptedSource({"X": [*bars[80:100], corrected, *bars[101:140]]})
    report = ingest(log, part, start_ms=bars[80].open_time, end_ms=bars[140].open_time, refresh=True)
    assert (report.bars_written, report.bars_revised, report.bars_read) == (1, 1, 60)
    assert (log.head(), report.gaps_found, report.held) == (head + 1, 0, ())


def test_what_another_source_had_is_no_hole_of_this_one(log: EventLog) -> None:
    bars = walk(300)
    ingest(log, ScriptedSource({"X": bars}))
    lacking = ScriptedSource({"X": [*bars[:100], *bars[200:]]})
    assert ingest(log, lacking, refresh=True).wrote_nothing


def test_a_hole_that_is_filled_when_read_again_is_healed(log: EventLog) -> None:
    bars = walk(300)
    ingest(log, ScriptedSource({"X": [*bars[:100], *bars[103:200], *bars[205:]]}))
    report = ingest(log, ScriptedSource({"X": [*bars[:200], *bars[205:]]}), refresh=True)
    assert (report.bars_written, report.gaps_healed, report.bars_healed) == (3, 1, 3)
    assert [(row["missing_bars"], row["status"]) for row in gap_rows(log, "X", "15m")] == [(3, "healed"), (5, "hole")]


def test_a_range_beyond_the_newest_bar_leaves_no_silent_hole(log: EventLog) -> None:
    bars = walk(300)
    source = ScriptedSource({"X": bars})
    ingest(log, source, end_ms=bars[100].open_time)
    assert ingest(log, source, start_ms=bars[200].open_time, refresh=True).bars_written == 200
    assert list(load_bars(log, "X", "15m")) == bars


def test_as_of_shows_what_was_known(tmp_path: Path) -> None:
    bars = walk(100)
    clock = ManualClock(10**12)
    with open_log(f"sqlite:///{tmp_path / 'log.sqlite'}") as log:
        ingest_history(log, ScriptedSource({"X": bars}), "X", "15m", calendar="24/7", clock=clock)
        clock.set(2 * 10**12)
        corrected = [*bars[:50], msgspec.structs.replace(bars[50], volume=99.0), *bars[51:]]
        ingest_history(log, ScriptedSource({"X": corrected}), "X", "15m", calendar="24/7", clock=clock, refresh=True)
        assert load_bars(log, "X", "15m", as_of=10**12).volume[50] == 10.0
        assert load_bars(log, "X", "15m").volume[50] == 99.0


def test_an_earlier_start_fills_the_front(log: EventLog) -> None:
    bars = walk(400)
    source = ScriptedSource({"X": [*bars[:150], *bars[155:]]})
    ingest(log, source, start_ms=bars[200].open_time)
    assert len(load_bars(log, "X", "15m")) == 200
    report = ingest(log, source, start_ms=bars[0].open_time)
    assert report.bars_written == 195
    assert gap_history(log) == [(150, "open", 5), (150, "hole", 5)]
    assert ingest(log, source, start_ms=bars[0].open_time).wrote_nothing


def test_bars_out_of_order_and_doubled_within_an_answer(log: EventLog) -> None:
    bars = walk(60)
    shuffled = [*bars[:10], bars[12], bars[11], bars[10], *bars[13:]]

    class Untidy(ScriptedSource):
        def history(self, symbol, timeframe, *, start_ms=None, end_ms=None):  # type: ignore[no-untyped-def]
            from kalibre.core.bars import Bars

            other = msgspec.structs.replace(bars[20], volume=77.0)
            rows = [b for b in [*shuffled, bars[30], other] if start_ms is None or start_ms <= b.open_time < end_ms]
            if rows:
                yield Bars.from_rows(symbol, timeframe, rows)

    report = ingest(log, Untidy({"X": bars}))
    assert list(load_bars(log, "X", "15m")) == bars
    assert report.quarantined == {"duplicate_conflict": 1}
    assert not report.gaps_found


def test_a_level_shift_at_the_end_waits_for_more(log: EventLog) -> None:
    bars = walk(300)
    shifted = [*bars[:298], *(times(bar, 0.5) for bar in bars[298:])]
    report = ingest(log, ScriptedSource({"X": shifted}))
    assert report.bars_written == 298
    assert report.held == tuple(bar.open_time for bar in shifted[298:])
    more = [*shifted, *(times(bar, 0.5) for bar in walk(310)[300:])]
    assert ingest(log, ScriptedSource({"X": more})).bars_written == 12
    assert list(load_bars(log, "X", "15m")) == more


def test_daily_bars_of_an_exchange_are_searched_for_splits(log: EventLog) -> None:
    days = get_calendar("XIST").expected_opens("1d", 1_640_995_200_000, 1_672_531_200_000)
    bars = [
        msgspec.structs.replace(
            times(bar, 5.0) if i < 60 else bar, open_time=int(day), volume=bar.volume / (5.0 if i < 60 else 1.0)
        )
        for i, (day, bar) in enumerate(zip(days, walk(len(days), sigma=0.01), strict=True))
    ]
    source = ScriptedSource({"X": bars}, timeframe="1d")
    report = ingest_history(log, source, "X", "1d", calendar="XIST", clock=CLOCK)
    assert report.actions == ["2022-03-28 confirmed factor 5"]
    adjusted = load_bars(log, "X", "1d")
    assert np.abs(np.diff(np.log(adjusted.close))).max() < 0.06
    assert load_bars(log, "X", "1d", adjusted=False).close[0] == bars[0].close
    # What was known before it stays as it was; backward it is the newest prices that do.
    np.testing.assert_array_equal(adjusted.close[:60], [bar.close for bar in bars[:60]])
    backward = load_bars(log, "X", "1d", backward=True)
    assert (backward.close[0], backward.close[-1]) == (bars[0].close / 5.0, bars[-1].close)
    assert load_bars(log, "X", "1d", backward=True, end_ms=int(days[59]) + 1).close[0] == bars[0].close
    assert ingest_history(log, source, "X", "1d", calendar="XIST", clock=CLOCK, refresh=True).wrote_nothing


def test_the_report_is_plain_and_printable(log: EventLog) -> None:
    bars = walk(50)
    report = ingest(log, ScriptedSource({"X": [*bars[:20], *bars[25:]]}))
    assert json.loads(json.dumps(report.as_dict()))["holes"] == 1
    rows = dict(report.rows())
    assert rows["gaps"] == "1 with 5 missing bars"
    assert rows["series"] == "X 15m from scripted"
    table = gap_rows(log, "X", "15m")
    assert [(row["missing_bars"], row["status"]) for row in table] == [(5, "hole")]


def test_a_range_that_ends_before_it_starts_is_refused(log: EventLog) -> None:
    with pytest.raises(UsageError, match="ends at 5"):
        ingest(log, ScriptedSource({"X": []}), start_ms=10, end_ms=5)


def test_an_empty_source_is_no_error(log: EventLog) -> None:
    assert ingest(log, ScriptedSource({"X": []})).wrote_nothing
    assert len(load_bars(log, "X", "15m")) == 0
    assert find_gaps(load_bars(log, "X", "15m"), get_calendar("24/7")) == []


def test_a_single_bar_arrives(log: EventLog) -> None:
    [bar] = walk(1)
    assert ingest(log, ScriptedSource({"X": [bar]})).bars_written == 1
    assert list(load_bars(log, "X", "15m")) == [bar]


def test_a_bar_of_now_is_not_taken_before_it_is_over(log: EventLog) -> None:
    bars: list[Bar] = walk(10)
    clock = ManualClock(bars[9].open_time + 1_000)
    report = ingest_history(log, ScriptedSource({"X": bars}), "X", "15m", calendar="24/7", clock=clock)
    assert report.bars_written == 9
    assert report.quarantined == {"not_closed": 1}
    clock.set(bars[9].open_time + STEP)
    assert ingest_history(log, ScriptedSource({"X": bars}), "X", "15m", calendar="24/7", clock=clock).bars_written == 1
