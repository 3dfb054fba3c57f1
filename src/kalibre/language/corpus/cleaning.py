"""Text made fit to learn from, or the reason why it is not."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import get_args

import msgspec

from kalibre.core.errors import LanguageError, SettingsError
from kalibre.language.text.language_id import Language
from kalibre.language.text.normal import LIMIT

_BOILERPLATE = re.compile(  # of a folded line
    r"""(?x)^\W*(?:
      (?:tum\ haklari\ (?:saklidir|mahfuzdur)|copyright|©).*
      | .{0,60}(?:cerez\ politikasi|cerezler?i?\ kullan|gizlilik\ politikasi|kvkk\ aydinlatma).{0,120}
      | (?:haberin\ devami|devamini\ oku|devami\ icin|daha\ fazlasi\ icin|(?:.{0,40}icin\ )?tiklayin).{0,60}
      | (?:abone\ ol|takip\ et|paylas|yorum\ ya[pz]|yorumlar|begen|reklam|ana\ ?sayfa|giris\ yap|uye\ ol)\b.{0,30}
      | (?:ilgili\ haberler?|bunlar\ da\ ilgi|onerilen\ haber|son\ dakika\ haberleri|en\ cok\ okunan).{0,60}
      | (?:bizi\ )?(?:google\ news|facebook|twitter|instagram|whatsapp|telegram|youtube).{0,40}\btakip\ ed.{0,20}
    )\W*$"""
)
_SHORT_LINE = 200
_LONGEST_LINE = 2_000
_TOKEN = re.compile(r"\S+")


class Rules(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a text has to keep to.

    Attributes
    ----------
    languages
        Codes that are kept (`kalibre.language.text.language_id`).
    shortest_words, longest_chars
        Limits of size; what is longer is refused, not cut.
    letters
        Share of letters among what is no blank, at least.
    repeated
        Share of text in lines that came before, at most.
    common_word
        Share of the commonest word, at most.
    """

    languages: tuple[str, ...] = ("tr",)
    shortest_words: int = 8
    longest_chars: int = 5_000_000
    letters: float = 0.6
    repeated: float = 0.3
    common_word: float = 0.3

    def __post_init__(self) -> None:
        known = get_args(Language)
        if not self.languages or (wrong := sorted(set(self.languages) - set(known))):
            told = repr(wrong[0]) if self.languages else "an empty list"
            raise SettingsError(f"languages: {told} is none that is told apart: choose of {', '.join(known)}")
        for name in ("shortest_words", "longest_chars"):
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} = {getattr(self, name)!r} is out of range: choose 1 or more")
        if self.longest_chars > LIMIT:
            raise SettingsError(f"longest_chars = {self.longest_chars!r} is out of range: choose up to {LIMIT}")
        for name in ("letters", "repeated", "common_word"):
            if not 0 <= getattr(self, name) <= 1:
                raise SettingsError(f"{name} = {getattr(self, name)!r} is no share: choose 0 to 1")


class Cleaned(msgspec.Struct, frozen=True):
    """A clean text with its language, or the reason why it was refused."""

    text: str
    language: str = ""
    refused: str = ""


def clean(text: str, rules: Rules) -> Cleaned:
    r"""Repair a text, take boilerplate out of it, and judge it.

    Examples
    --------
    >>> kept = clean("Merkez Bankası faizi bugün de sabit tuttu, kararı piyasalar bekliyordu.\nTıklayınız", Rules())
    >>> kept.text, kept.language
    ('Merkez Bankası faizi bugün de sabit tuttu, kararı piyasalar bekliyordu.', 'tr')
    >>> clean("kısa", Rules()).refused
    'short'
    """
    from kalibre.language.text import normal
    from kalibre.language.text.language_id import detect

    if len(text) > rules.longest_chars:
        return Cleaned("", refused="long")
    try:
        whole = normal.clean(text).text
    except LanguageError:
        return Cleaned("", refused="not text")
    lines, repeated = _lines(whole)
    kept = "\n".join(lines).strip()
    reason = _judge(kept, repeated, rules)
    if reason:
        return Cleaned("", refused=reason)
    language = str(detect(kept)[0])
    if language not in rules.languages:
        return Cleaned("", language, f"language {language}")
    return Cleaned(kept, language)


def line(text: str) -> str:
    r"""Repair a title or address and bring it to one line; what is no text becomes empty.

    Examples
    --------
    >>> line("Åžirket\n kÃ¢rÄ±\u200f")
    'Şirket kârı'
    """
    from kalibre.language.text import normal

    try:
        return " ".join(normal.clean(text[:_LONGEST_LINE]).text.split())
    except LanguageError:
        return ""


def _lines(text: str) -> tuple[list[str], float]:
    """Return lines without boilerplate and repetition, and the share of text that was repetition."""
    from kalibre.language.text.casing import fold

    seen: set[str] = set()
    kept: list[str] = []
    total = again = 0
    for raw in text.split("\n"):
        line = " ".join(raw.split())
        if not line:
            if kept and kept[-1]:
                kept.append("")
            continue
        total += len(line)
        if line in seen and len(line) > 20:
            again += len(line)
        elif len(line) > _SHORT_LINE or not _BOILERPLATE.match(fold(line)):
            kept.append(line)
        seen.add(line)
    return kept, again / total if total else 0.0


def _judge(text: str, repeated: float, rules: Rules) -> str:
    words = _TOKEN.findall(text)
    if len(words) < rules.shortest_words:
        return "short"
    if repeated > rules.repeated:
        return "repetitive"
    solid = "".join(words)
    if sum(map(str.isalpha, solid)) < rules.letters * len(solid):
        return "few letters"
    if not 2 <= len(solid) / len(words) <= 25:
        return "no words"
    if len(words) >= 20 and _commonest(words) > rules.common_word * len(words):
        return "repetitive"
    return ""


def _commonest(words: Sequence[str]) -> int:
    counts: dict[str, int] = {}
    for word in words:
        counts[word] = counts.get(word, 0) + 1
    return max(counts.values())
