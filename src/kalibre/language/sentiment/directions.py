"""Which way a text points, read clause by clause: moves bound to their subjects, negated, ended, weakened, asked.

`Enflasyon geriledi` is good and `kâr geriledi` bad; `düşüş sınırlı kaldı` hardly bad; `dolar yükselirken altın düştü`
says two things of two assets. Rules, not a model: what they find becomes features of one, and the spans show why.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, replace

from kalibre.language.sentiment.lexicon import Lexicon
from kalibre.language.text.casing import fold, lower

_TOKEN = re.compile(r"[^\W\d_]+|\d+(?:[.,:]\d+)*|[%$€£₺!?;:|…,.]|[–—-]")
_APOSTROPHES = "'’‘`´"
_NEGATED = re.compile(
    r"(?:[td]?[iu]?r?|t|l[ae]|l[ae]n|s[ae])?m(?:[aeiu]yor|[ae](?:di|z$|zlar|zken|mis|yacak|yecek|den$|dan$|sin$))"
)
_FINITE = re.compile(r".*(?:[dt][iu]|[iu]yor)(?:l[ae]r)?")
"""Verbs that end a sentence where no mark does: `dolar yükseldi altın düştü`."""
_CLAUSE_END = frozenset("!?;:|….")
_AMOUNT = frozenset("milyon milyar trilyon bin mn mlr m".split())
_MONEY = frozenset(("USD", "EUR", "TRY", "GBP", "JPY"))
_ASIDE = frozenset(
    """
    sonra sonrasi sonrasinda oncesi oncesinde nedeniyle sebebiyle dolayisiyla yuzunden etkisiyle ile after before
    """.split()
)
"""Behind a noun they make it a cause or a time."""
_REACH, _AHEAD = 6, 10


@dataclass(frozen=True)
class Word:
    """A token with its place in the text, its folded form and what the lexicon says of it."""

    start: int
    end: int
    key: str
    kind: str = ""
    weight: float = 0.0
    stem: str = ""


@dataclass(frozen=True)
class Finding:
    """What one move or event adds: above 0 good, below bad; `asset` is the one that its clause speaks of, if any.

    `start` to `end` takes in its subject, `word` is the place of the move or event itself.
    """

    start: int
    end: int
    weight: float
    kind: str
    clause: int
    asset: str = ""
    sign: str = ""
    word: tuple[int, int] = (0, 0)


@dataclass
class Reading:
    """All that was found in a text, with counts that say how it is written.

    `assets` are those that the lexicon knows, with the place where each begins; `spans` those of the clauses.
    """

    findings: list[Finding] = field(default_factory=list)
    assets: list[tuple[int, str]] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    clauses: int = 0
    asked: int = 0
    words: int = 0
    negated: int = 0
    softened: int = 0
    strengthened: int = 0
    numbers: int = 0
    moves: int = 0

    def net(self) -> float:
        """Return the sum of the findings, squashed into -1 to 1."""
        return math.tanh(sum(one.weight for one in self.findings))


def words_of(text: str, lexicon: Lexicon) -> list[Word]:
    """Cut a text into words and look each up; a suffix behind an apostrophe is left out."""
    folded, small = fold(text), lower(text)
    words: list[Word] = []
    for found in _TOKEN.finditer(folded):
        start, end = found.span()
        if start and text[start - 1] in _APOSTROPHES and start > 1 and text[start - 2].isalnum():
            continue
        key = found[0]
        if key == "kar" and small[start:end] != "kâr" and "yag" in folded:
            words.append(Word(start, end, key))
            continue
        kind, weight, stem = _look_up(key, lexicon)
        if kind == "asset" and lexicon.assets[stem] in _MONEY and words and _counts(words[-1].key):
            kind = "unit"
        words.append(Word(start, end, key, kind, weight, stem))
    return _paired(words, lexicon)


def _counts(key: str) -> bool:
    """Say whether a currency behind this word is an amount of it, not the currency itself."""
    return key in _AMOUNT or key[0].isdigit() or key in "$€£₺"


def _look_up(key: str, lexicon: Lexicon) -> tuple[str, float, str]:
    whole = f"{key}$"
    if whole in lexicon.none:
        return "", 0.0, ""
    tables = (
        ("asset", lexicon.assets),
        ("move", lexicon.moves),
        ("subject", lexicon.subjects),
        ("event", lexicon.events),
    )
    for length in range(min(len(key), lexicon.longest), 1, -1):
        for stem in ((whole,) if length == len(key) else ()) + (key[:length],):
            if stem in lexicon.none:
                return "", 0.0, ""
            for kind, table in tables:
                if stem in table:
                    return kind, 1.0 if kind == "asset" else float(table[stem]), stem
    return "", 0.0, ""


def _paired(words: list[Word], lexicon: Lexicon) -> list[Word]:
    """Let two words in a row mean what they mean together."""
    found = list(words)
    for i in range(len(found) - 1):
        one, two = found[i], found[i + 1]
        if not any(one.key.startswith(first) for first in lexicon.firsts):
            continue
        for (first, second), (kind, weight) in lexicon.pairs.items():
            if one.key.startswith(first) and two.key.startswith(second):
                stem = f"{first}_{second}"
                found[i] = Word(one.start, one.end, one.key)
                found[i + 1] = Word(one.start, two.end, two.key, "" if kind == "none" else kind, weight, stem)
                break
    return found


def clauses_of(words: list[Word], lexicon: Lexicon) -> tuple[list[list[Word]], set[int]]:
    """Cut at marks, at words that turn, behind converbs (`yükselirken`), and where another asset's sentence begins.

    Returns
    -------
    The clauses, and which of them are asides.
    """
    clauses: list[list[Word]] = [[]]
    asides: list[list[Word]] = []
    moved = False  # whether the clause that is open holds a move or an event
    for i, word in enumerate(words):
        ends = word.key in _CLAUSE_END and not (word.key == "." and _inside_number(words, i))
        turns = word.key in lexicon.breaks or (word.key == "," and moved)
        joins = word.key in ("ve", "and", "while", "as") and moved and _opens(words[i + 1 : i + 1 + _AHEAD])
        begins = word.kind == "asset" and _has_ended(clauses[-1]) and _opens(words[i : i + _AHEAD])
        if ends or turns or joins or begins:
            clauses.append([])
            moved = False
        if ends or turns or joins:
            if word.key in lexicon.asides:
                asides.append(clauses[-1])
            continue
        clauses[-1].append(word)
        moved |= word.kind in ("move", "event")
        if word.key.endswith(("rken", "rkene", "mesiyle", "masiyla", "masina", "mesine", "diktan", "dikten")):
            clauses.append([])
            moved = False
    whole = [clause for clause in clauses if clause]
    return whole, {i for i, clause in enumerate(whole) if any(clause is one for one in asides)}


def _inside_number(words: list[Word], i: int) -> bool:
    return i > 0 and words[i - 1].key.isdigit() and i + 1 < len(words) and words[i].end == words[i + 1].start


def _has_ended(clause: list[Word]) -> bool:
    return any(word.kind == "move" and _FINITE.fullmatch(word.key) for word in clause[-2:])


def _opens(rest: list[Word]) -> bool:
    """Say whether a subject or an asset of its own and a move stand in what follows, before the next mark."""
    named = False
    for word in rest:
        if word.key in _CLAUSE_END:
            return False
        named |= word.kind in ("asset", "subject")
        if named and word.kind in ("move", "event"):
            return True
    return False


def read(text: str, lexicon: Lexicon) -> Reading:
    """Read a text.

    Examples
    --------
    >>> from kalibre.language.sentiment.lexicon import TURKISH
    >>> [round(read(text, TURKISH).net(), 1) for text in ("Enflasyon geriledi", "Şirketin kârı geriledi")]
    [0.7, -0.7]
    """
    words = words_of(text, lexicon)
    reading = Reading(words=len(words))
    reading.numbers = sum(word.key[0].isdigit() for word in words)
    reading.asked = sum(word.key in lexicon.asking or word.key == "?" for word in words)
    asset, topic = "", None
    clauses, asides = clauses_of(words, lexicon)
    reading.clauses = len(clauses)
    for number, clause in enumerate(clauses):
        named = _assets(clause, lexicon)
        reading.spans.append((clause[0].start, clause[-1].end))
        reading.assets += named
        asset = named[0][1] if named else asset
        _read_clause(clause, number, asset, lexicon, reading, topic)
        standing = [word for word in clause if _stands(word)]
        topic = standing[0] if standing and not any(word.kind == "move" for word in clause) else None
    spoken = any(one.clause not in asides for one in reading.findings)
    asked = 0.35 if reading.asked else 1.0
    reading.findings = [
        replace(one, weight=one.weight * asked * (0.3 if spoken and one.clause in asides else 1.0))
        for one in reading.findings
    ]
    return reading


def _assets(clause: list[Word], lexicon: Lexicon) -> list[tuple[int, str]]:
    return [(word.start, lexicon.assets[word.stem]) for word in clause if word.kind == "asset"]


def _read_clause(
    clause: list[Word], number: int, asset: str, lexicon: Lexicon, reading: Reading, topic: Word | None
) -> None:
    used: set[int] = set()
    for i, word in enumerate(clause):
        if word.kind != "move" or (word.stem in lexicon.level and not _levelled(clause, i)):
            continue
        if word.key in ("altinda", "altina") and _is_gold(clause, i):
            continue
        reading.moves += 1
        weight = word.weight
        subject = _subject(clause, i, lexicon)
        polarity, stem, first = 1.0, "", word.start
        if subject is not None:
            at = clause[subject]
            polarity = _polarity(clause, subject, used)
            stem, first = at.stem, min(at.start, word.start)
            used.add(subject)
            if subject and clause[subject - 1].kind in ("subject", "event"):
                used.add(subject - 1)
        elif topic is not None:
            # `Enflasyonda son durum: yüzde 30'a geriledi` has its subject in the clause before.
            polarity, stem = (1.0 if topic.kind == "asset" else math.copysign(1.0, topic.weight)), topic.stem
        weight *= polarity * _turned(clause, i, lexicon, reading)
        last = max(word.end, clause[subject].end if subject is not None else 0)
        sign = f"{stem}|{'+' if word.weight > 0 else '-'}"
        reading.findings.append(Finding(first, last, weight, "move", number, asset, sign, (word.start, word.end)))
        used.add(i)
    for i, word in enumerate(clause):
        if i in used:
            continue
        if word.kind == "event" or (word.kind == "subject" and word.stem in lexicon.events):
            weight = word.weight if word.kind == "event" else lexicon.events[word.stem]
            weight *= 0.8 * _turned(clause, i, lexicon, reading, ended=-0.8)
            reading.findings.append(
                Finding(word.start, word.end, weight, "event", number, asset, word.stem, (word.start, word.end))
            )


def _levelled(clause: list[Word], i: int) -> bool:
    return any(word.key[0].isdigit() or word.kind == "move" for word in clause[max(0, i - 3) : i]) or any(
        word.key.startswith(("puan", "seviye", "dolar", "lira", "yuzde", "zirve")) for word in clause[max(0, i - 2) : i]
    )


def _is_gold(clause: list[Word], i: int) -> bool:
    """`Altında sert düşüş` speaks of gold, `beklentinin altında` of below."""
    if not i:
        return True
    before = clause[i - 1].key
    return not (before[0].isdigit() or before.endswith(("in", "un")) or before.startswith(("puan", "seviye", "yuzde")))


def _subject(clause: list[Word], i: int, lexicon: Lexicon) -> int | None:
    """Return what a move speaks of: behind it if it is attributive, else the nearest before it, else behind it."""
    move = clause[i]
    ahead = [j for j in range(i + 1, min(len(clause), i + 4)) if _stands(clause[j])]
    back = [j for j in range(i - 1, max(-1, i - 1 - _REACH), -1) if _stands(clause[j]) and not _aside(clause, j)]
    if ahead and move.key.endswith(lexicon.attributive) and ahead[0] <= i + 2:
        return ahead[0]
    if back:
        return back[0]
    return ahead[0] if ahead else None


def _aside(clause: list[Word], j: int) -> bool:
    """A cause or a time is not what moves: `savaştan sonra`, `endişeler nedeniyle`."""
    return any(word.key in _ASIDE for word in clause[j + 1 : j + 2])


def _stands(word: Word) -> bool:
    return word.kind in ("subject", "asset") or (word.kind == "event" and abs(word.weight) >= 0.3)


def _polarity(clause: list[Word], at: int, used: set[int]) -> float:
    """A compound is what its worse part is: `zarar beklentisi`, `faiz gideri`, `risk primi`."""
    found = []
    for j in (at, at - 1):
        if j < 0 or (j != at and j in used) or not _stands(clause[j]):
            break
        word = clause[j]
        found.append(1.0 if word.kind == "asset" else math.copysign(1.0, word.weight))
    return min(found)


def _turned(clause: list[Word], i: int, lexicon: Lexicon, reading: Reading, *, ended: float = -0.5) -> float:
    """Return the factor of what stands around a move: negation, an end, weakening, strengthening."""
    factor = 1.0
    word = clause[i]
    core = word.stem.rstrip("$").split("_")[-1]
    if lexicon.negated_before:
        pass
    elif _NEGATED.match(word.key[len(core) :]) or _NEGATED.match(word.key[max(2, len(core) - 1) :]):
        factor *= -0.7
        reading.negated += 1
    if lexicon.negated_before and any(near.key in lexicon.negators for near in clause[max(0, i - 3) : i]):
        factor *= -0.7
        reading.negated += 1
    for near in clause[i + 1 : i + 4]:
        if near.key in lexicon.negators and not lexicon.negated_before:
            factor *= -0.7
            reading.negated += 1
            break
        if near.kind == "end" or any(near.key.startswith(ender) for ender in lexicon.enders):
            factor *= ended
            reading.negated += 1
            break
        if near.kind == "move":
            break
    around = {near.key for near in clause[max(0, i - 2) : i + 3]} - {word.key}
    if around & lexicon.softeners:
        factor *= 0.4
        reading.softened += 1
    elif around & lexicon.strengtheners:
        factor *= 1.3
        reading.strengthened += 1
    return factor
