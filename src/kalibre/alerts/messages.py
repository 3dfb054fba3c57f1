"""From alerts to messages: what happened, cause, consequence, the command that mends it, when, and where in the log.

Plain text in Turkish or English. What an alert says may come from outside (a symbol, an exchange's error), so it is
cleaned here: no control or direction signs, no line of its own making, no mention, no password. The markup of each
service (HTML of Telegram, `<...>` of Slack) is escaped by apprise, which is told that this is plain text.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import Literal

from kalibre.alerts.dispatch import Level, Note, Outgoing
from kalibre.core.clock import to_text

Language = Literal["tr", "en"]

_WORDS: dict[Language, dict[str, str]] = {
    "en": {
        "info": "INFO",
        "warning": "WARNING",
        "critical": "CRITICAL",
        "recovered": "RECOVERED",
        "cause": "Cause",
        "consequence": "Consequence",
        "mend": "Mend it with",
        "time": "Time",
        "istanbul": "Istanbul",
        "position": "Position in the log",
        "times": "came {times} times",
        "over": "over since {time}",
        "digest": "{count} alerts that waited",
        "left_out": "and {count} more of level {level}",
        "test": "Test alert",
        "test_cause": "somebody asked for it",
        "test_consequence": "none: alerts reach this place",
    },
    "tr": {
        "info": "BİLGİ",
        "warning": "UYARI",
        "critical": "KRİTİK",
        "recovered": "DÜZELDİ",
        "cause": "Neden",
        "consequence": "Sonuç",
        "mend": "Çözüm komutu",
        "time": "Zaman",
        "istanbul": "İstanbul",
        "position": "Günlükteki sırası",
        "times": "{times} kez geldi",
        "over": "{time} itibarıyla sona erdi",
        "digest": "Bekleyen {count} uyarı",
        "left_out": "ve {level} düzeyinde {count} uyarı daha",
        "test": "Deneme uyarısı",
        "test_cause": "biri istedi",
        "test_consequence": "yok: uyarılar buraya ulaşıyor",
    },
}

_LONGEST = {"title": 200, "cause": 900, "consequence": 600, "mend": 300}
_LONGEST_IN_DIGEST = {"title": 200, "cause": 200, "mend": 300}

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@]*:[^/\s]*@")
# `@name` where a word begins, Slack's `<!channel>` and `<#room>`, and Discord's words, which it hears anywhere.
_MENTION = re.compile(r"(?<!\w)@(?=\w)|@(?=everyone\b|here\b|channel\b)|(?<=<)(?=[!#@])", re.IGNORECASE)
_BREAK = "\N{ZERO WIDTH SPACE}"


@dataclass(frozen=True)
class Message:
    """A message as every target gets it: plain text."""

    title: str
    body: str
    level: Level
    recovered: bool = False


def plain(text: str, longest: int = 900) -> str:
    r"""Make one line of text from outside that no service reads as anything but text.

    Parameters
    ----------
    longest
        Characters that are kept; what is cut is shown by an ellipsis.

    Examples
    --------
    >>> plain("bad\x1b[31m symbol\n<!channel> of postgresql://me:secret@host/db").replace("\u200b", "^")
    'bad [31m symbol <^!channel> of postgresql://hidden@host/db'
    """
    # A control sign parts words, a format sign (direction, zero width) or half a surrogate stands for nothing.
    kept = "".join(
        " " if kind in {"Cc", "Zl", "Zp"} else "" if kind in {"Cf", "Cs", "Co", "Cn"} else sign
        for sign, kind in ((sign, unicodedata.category(sign)) for sign in text)
    )
    line = _CREDENTIALS.sub("hidden@", " ".join(kept.split()))
    if len(line) > longest:
        line = line[: longest - 1].rstrip() + "…"
    return _MENTION.sub(lambda found: found.group() + _BREAK, line)


def compose(outgoing: Outgoing, lang: Language) -> Message:
    """Write a note or a digest as a message."""
    if len(outgoing.notes) == 1 and not outgoing.left_out:
        return _single(outgoing.notes[0], lang)
    words = _WORDS[lang]
    count = len(outgoing.notes) + sum(outgoing.left_out.values())
    blocks = [_entry(place, note, lang) for place, note in enumerate(outgoing.notes, start=1)]
    blocks += [
        words["left_out"].format(count=number, level=words[level]) for level, number in outgoing.left_out.items()
    ]
    title = f"{words[outgoing.level]}: {words['digest'].format(count=count)}"
    return Message(title, "\n\n".join(blocks), outgoing.level, all(note["recovered"] for note in outgoing.notes))


def check_message(lang: Language, now_ms: int) -> Message:
    """Write the message of the test button."""
    words = _WORDS[lang]
    lines = [f"{words[name]}: {words[f'test_{name}']}" for name in ("cause", "consequence")]
    return Message(words["test"], "\n".join([*lines, _time(now_ms, lang)]), "info")


def _single(note: Note, lang: Language) -> Message:
    words = _WORDS[lang]
    lines = [
        f"{words[name]}: {plain(text, _LONGEST[name])}"
        for name, text in (("cause", note["cause"]), ("consequence", note["consequence"]), ("mend", note["mend"]))
        if text
    ]
    lines.append(_time(note["time_ms"], lang) + _history(note, lang))
    if note["seq"]:
        lines.append(f"{words['position']}: {note['seq']}")
    return Message(_headline(note, lang), "\n".join(lines), note["level"], note["recovered"])


def _entry(place: int, note: Note, lang: Language) -> str:
    """Write a note as a part of a digest."""
    words = _WORDS[lang]
    lines = [f"{place}. {to_text(note['time_ms'])} {_headline(note, lang)}{_history(note, lang)}"]
    for name, text in (("cause", note["cause"]), ("mend", note["mend"])):
        if text:
            lines.append(f"{words[name]}: {plain(text, _LONGEST_IN_DIGEST[name])}")
    return "\n".join(lines)


def _headline(note: Note, lang: Language) -> str:
    kind = "recovered" if note["recovered"] else note["level"]
    return f"{_WORDS[lang][kind]}: {plain(note['title'], _LONGEST['title'])}"


def _time(time_ms: int, lang: Language) -> str:
    return f"{_WORDS[lang]['time']}: {to_text(time_ms)} ({_WORDS[lang]['istanbul']})"


def _history(note: Note, lang: Language) -> str:
    """Say how often a trouble came, and since when it is over, where there is something to say."""
    words, said = _WORDS[lang], []
    if note["times"] > 1:
        said.append(words["times"].format(times=note["times"]))
    if note["over_ms"] is not None:
        said.append(words["over"].format(time=to_text(note["over_ms"])))
    return f" ({', '.join(said)})" if said else ""
