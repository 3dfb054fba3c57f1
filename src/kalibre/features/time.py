"""Time: where in the day and the week a bar closes, and which part of the world is at work. UTC throughout.

A cycle is two columns, sine and cosine, so that 23:45 and 00:00 are neighbours. All are known from the bar's close time
alone: they have no warm-up and no state.
"""

from __future__ import annotations

import math

from kalibre.features.base import Column, Family, Plan, Value

_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS
_WEEK_MS = 7 * _DAY_MS
_MONDAY_MS = 4 * _DAY_MS
"""1970-01-05 was a Monday."""
_CYCLE = (-1.0, 1.0)


def _turn(plan: Plan, period_ms: int, offset_ms: int = 0) -> Value:
    angle = plan.let("({} - {}) % {} * {}", plan.close_time, offset_ms, period_ms, 2.0 * math.pi / period_ms)
    return angle


def _sine(plan: Plan, angle: Value) -> Value:
    return plan.let("sin({})", angle)


def _cosine(plan: Plan, angle: Value) -> Value:
    return plan.let("cos({})", angle)


def _session(plan: Plan, opens_hour: int, closes_hour: int) -> Value:
    """Tell whether the next bar opens within `opens_hour` to `closes_hour` UTC, Monday to Friday: 1 or 0."""
    hour = plan.let("{} % {}", plan.close_time, _DAY_MS)
    weekday = plan.let("({} - {}) % {} // {}", plan.close_time, _MONDAY_MS, _WEEK_MS, _DAY_MS)
    return plan.let(
        "1.0 if {} < 5 and {} >= {} and {} < {} else 0.0",
        weekday,
        hour,
        opens_hour * _HOUR_MS,
        hour,
        closes_hour * _HOUR_MS,
    )


FAMILY = Family(
    doc="Place in the day and the week, sessions; UTC.",
    columns=(
        Column("hour_sin", "Sine of the time of day.", lambda plan: _sine(plan, _turn(plan, _DAY_MS)), bounds=_CYCLE),
        Column(
            "hour_cos", "Cosine of the time of day.", lambda plan: _cosine(plan, _turn(plan, _DAY_MS)), bounds=_CYCLE
        ),
        Column(
            "weekday_sin",
            "Sine of the time of the week, from Monday on.",
            lambda plan: _sine(plan, _turn(plan, _WEEK_MS, _MONDAY_MS)),
            bounds=_CYCLE,
        ),
        Column(
            "weekday_cos",
            "Cosine of the time of the week, from Monday on.",
            lambda plan: _cosine(plan, _turn(plan, _WEEK_MS, _MONDAY_MS)),
            bounds=_CYCLE,
        ),
        Column(
            "session_asia",
            "1 while Tokyo and Hong Kong trade (00:00 to 08:00 on weekdays), else 0.",
            lambda plan: _session(plan, 0, 8),
            bounds=(0.0, 1.0),
        ),
        Column(
            "session_europe",
            "1 while London, Frankfurt and Istanbul trade (07:00 to 16:00 on weekdays), else 0.",
            lambda plan: _session(plan, 7, 16),
            bounds=(0.0, 1.0),
        ),
        Column(
            "session_america",
            "1 while New York trades (13:00 to 21:00 on weekdays), else 0.",
            lambda plan: _session(plan, 13, 21),
            bounds=(0.0, 1.0),
        ),
    ),
)
