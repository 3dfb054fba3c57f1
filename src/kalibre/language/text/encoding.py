"""Text that was decoded wrongly, found and undone piece by piece: `Ã¶ÄŸren` was `öğren`, `Ýþ Bankasý` was `İş Bankası`.

Only what decodes to a character that Turkish texts hold is touched, so that good text stays as it is; ftfy has a second
look at lines that still read badly.
"""

from __future__ import annotations

import re
from collections.abc import Callable

Edit = tuple[int, int, str]
Repair = Callable[[str], list[Edit]]


def _bytes_by_character() -> dict[str, int]:
    found: dict[str, int] = {}
    for byte in range(0x80, 0x100):
        found[chr(byte)] = byte
        for codec in ("cp1252", "cp1254"):
            character = bytes([byte]).decode(codec, "ignore")
            if character:
                found.setdefault(character, byte)
    return found


_BYTES = _bytes_by_character()
_BEHIND = "[" + "".join(re.escape(one) for one, byte in _BYTES.items() if byte < 0xC0) + "]"


def _leads(low: int, high: int) -> str:
    return "[" + "".join(re.escape(one) for one, byte in _BYTES.items() if low <= byte <= high) + "]"


_DOUBLE = re.compile(f"[ÂÃÄÅ]{_BEHIND}|â{_BEHIND}{{2}}|[ðğ]{_BEHIND}{{3}}")
_ANY = re.compile(
    f"{_leads(0xC2, 0xDF)}{_BEHIND}|{_leads(0xE0, 0xEF)}{_BEHIND}{{2}}|{_leads(0xF0, 0xF4)}{_BEHIND}{{3}}"
)
_LINE = re.compile(r"[^\n]+")
_QUOTES = frozenset("“”‘’…–—»«›‹\"'")
_DASHES = frozenset("–—…")
_CERTAIN = 3
_LATIN_EXTENDED = frozenset("ĞğİıŞşČčĆćĐđĘęĚěŠšŽžŁłŃńŐőŰűŘřŚśŤťŮůŹźŻżŸ")
_TURKISH = frozenset("çğıöşüÇĞİÖŞÜâîûÂÎÛ’‘“”–—…€₺°")
_OFTEN_TOO_MUCH = frozenset("ÂÃÄÅâ")
"""What a second look may take out; another letter is somebody's."""
_PASSES = 3
"""How often a text may have been encoded too often."""

_WESTERN = str.maketrans("þðýÞÐÝ", "şğıŞĞİ")
_WESTERN_LETTER = re.compile("[þðýÞÐÝ]")
_SMALL_WORD = re.compile(r"(?<!\w)[a-zçöüâîû]{0,30}[þðý][a-zçöüâîû]{0,30}(?!\w)")
_NOT_WESTERN = re.compile("[şğıŞĞİáéíóúæåøøÁÉÍÓÚÆÅØčěřšžůČĚŘŠŽŮ]")


def repairs(text: str) -> list[Repair]:
    """Return the repairs that a text may need, in order; each takes the text as the one before left it."""
    if text.isascii():
        return []
    found: list[Repair] = [double] * _PASSES if _DOUBLE.search(text) else []
    return [*found, western, second_look]


def double(text: str) -> list[Edit]:
    """Find characters that are one each, encoded as UTF-8 and decoded as Windows-1252, Windows-1254 or Latin-1.

    Where a line is that from end to end, and often, all of it is undone; else only what gives a likely character.
    """
    found: list[Edit] = []
    for line in _LINE.finditer(text):
        if not _DOUBLE.search(text, *line.span()):
            continue
        pieces = [one for one in _DOUBLE.finditer(text, *line.span()) if _character(one[0])]
        certain = [one for one in pieces if _likely(_character(one[0]), text, one) and not _meant(text, one)]
        if len(certain) >= _CERTAIN and _is_wrong(line[0]):
            certain = [one for one in _ANY.finditer(text, *line.span()) if _character(one[0])]
        found += [(one.start(), one.end(), _character(one[0])) for one in certain]
    return found


def _character(piece: str) -> str:
    try:
        return bytes(_BYTES[one] for one in piece).decode("utf-8")
    except UnicodeDecodeError:
        return ""


def _is_wrong(line: str) -> bool:
    """Say whether a whole line, taken as bytes, is UTF-8."""
    try:
        bytes(_BYTES.get(one, ord(one)) for one in line).decode("utf-8")
    except ValueError:
        return False
    return True


def _likely(character: str, text: str, piece: re.Match[str]) -> bool:
    code = ord(character)
    if character in "œŒŸ":  # behind what is wrong itself: `Ã` and `€` once more
        return text[piece.start() - 1 : piece.start()] in ("Ã", "â", "Ä", "Å", "€")
    return (
        0xA0 <= code <= 0xFF
        or character in _LATIN_EXTENDED
        or 0x2010 <= code <= 0x203A
        or 0x20A0 <= code <= 0x20BF
        or code in (0x2122, 0x2212, 0x2248, 0x2264, 0x2265, 0xFE0F, 0x200B, 0x200E)
        or 0x2190 <= code <= 0x21FF
        or 0x2600 <= code <= 0x27BF
        or code >= 0x1F000
    )


def _meant(text: str, piece: re.Match[str]) -> bool:
    """Say whether it stands as it was written: a capital with a hat at a word's end before a closing quote."""
    before, after = text[piece.start() - 1 : piece.start()], text[piece.end() : piece.end() + 1]
    quotes = _QUOTES - _DASHES if piece[0][0] == "Ã" else _QUOTES
    return before.isupper() and not after.isalpha() and piece[0][1] in quotes and piece[0][0] in "ÂÃÄÅ"


def western(text: str) -> list[Edit]:
    """Find Turkish letters read as Western European ones, in a text that is Turkish once they are put right."""
    letters = list(_WESTERN_LETTER.finditer(text))
    if not letters or _NOT_WESTERN.search(text):
        return []
    if len(letters) == 1 and not _SMALL_WORD.search(text):
        return []
    from kalibre.language.text.language_id import detect

    if detect(text[:5_000].translate(_WESTERN))[0] != "tr":
        return []
    return [(one.start(), one.end(), one[0].translate(_WESTERN)) for one in letters]


def second_look(text: str) -> list[Edit]:
    """Let ftfy repair the lines that still read like wrongly decoded ones."""
    from ftfy import fix_encoding
    from ftfy.badness import is_bad

    found: list[Edit] = []
    for line in re.finditer(r"[^\n]*[^\n\x00-\x7f][^\n]*", text):
        if len(line[0]) > 2_000 or not is_bad(line[0]):
            continue
        fixed = fix_encoding(line[0])
        if fixed == line[0] or not fixed:
            continue
        for start, end, text_now in _differences(line[0], fixed):
            kept = start and line[0][start - 1].isupper() and line[0][start] in "ÂÃÄÅ" and end - start <= 2
            lost = not text_now and not set(line[0][start:end]) <= _OFTEN_TOO_MUCH
            if not kept and not lost and all(one.isascii() or one in _TURKISH for one in text_now):
                found.append((line.start() + start, line.start() + end, text_now))
    return found


def _differences(one: str, other: str) -> list[Edit]:
    from difflib import SequenceMatcher

    matcher = SequenceMatcher(None, one, other, autojunk=False)
    return [(a, b, other[c:d]) for tag, a, b, c, d in matcher.get_opcodes() if tag != "equal" and b > a]
