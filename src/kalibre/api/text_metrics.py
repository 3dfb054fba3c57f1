"""What was counted of texts read, and how followed feeds stand, in Prometheus' text form."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from kalibre.api.counters import BUCKETS_S

if TYPE_CHECKING:
    from kalibre.api.texts import Texts
    from kalibre.language.headlines.inbox import Standing


def text_exposition(texts: Texts) -> str:
    """Return the metrics of what read text, in Prometheus' text form."""
    counters = texts.counters
    lines = [
        "# HELP kalibre_nlp_texts_total Texts read, by task and outcome.",
        "# TYPE kalibre_nlp_texts_total counter",
        *(
            f'kalibre_nlp_texts_total{{task="{task}",outcome="{outcome}"}} {count}'
            for (task, outcome), count in sorted(counters.texts.items())
        ),
    ]
    name = "kalibre_nlp_request_duration_seconds"
    lines += [f"# HELP {name} Time that reading the texts of a request took.", f"# TYPE {name} histogram"]
    for task, row in sorted(counters.durations.items()):
        total = 0.0
        for place, bound in enumerate((*BUCKETS_S, "+Inf")):
            total += row[place]
            lines.append(f'{name}_bucket{{task="{task}",le="{bound}"}} {total:.0f}')
        lines += [f'{name}_sum{{task="{task}"}} {row[-1]:.6f}', f'{name}_count{{task="{task}"}} {total:.0f}']
    if (stats := texts.cache_stats()) is not None:
        name = "kalibre_nlp_headline_lookups_total"
        lines += [f"# HELP {name} Headlines looked up in the cache, by what was found.", f"# TYPE {name} counter"]
        for found, count in (("exact", stats.exact_hits), ("near", stats.near_hits), ("miss", stats.misses)):
            lines.append(f'{name}{{found="{found}"}} {count}')
    for what, spent in texts.endpoint_spent().items():
        name = f"kalibre_nlp_endpoint_{what}_total"
        lines += [
            f"# HELP {name} What headlines scored by an endpoint have cost.",
            f"# TYPE {name} counter",
            f"{name} {spent}",
        ]
    return "\n".join([*lines, *followed_lines(texts.followed())]) + "\n"


def followed_lines(standings: Sequence[Standing]) -> list[str]:
    """Return heartbeats of followed sources: alert on their age, a source that nobody follows any more has none."""
    told: tuple[tuple[str, str, str, Callable[[Standing], float]], ...] = (
        ("tried_timestamp_seconds", "gauge", "When a source was last asked", lambda one: one.tried_ms / 1000),
        ("read_timestamp_seconds", "gauge", "When it was last read whole; 0 for never", lambda one: one.read_ms / 1000),
        ("failures", "gauge", "Looks in vain since then", lambda one: one.failures),
        ("headlines_total", "counter", "Headlines that it brought", lambda one: one.headlines),
    )
    lines = []
    for short, kind, meaning, value in told if standings else ():
        name = f"kalibre_nlp_followed_{short}"
        lines += [f"# HELP {name} {meaning}, of `kalibre news follow`.", f"# TYPE {name} {kind}"]
        lines += [f'{name}{{source="{_label(one.name)}"}} {value(one):.15g}' for one in standings]
    return lines


def _label(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
