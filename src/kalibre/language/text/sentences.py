"""Sentences of Turkish text: a full stop ends one unless it belongs to an abbreviation, an ordinal or an initial.

Rules, not a model: each mark that may end a sentence is judged by the word before it and the word behind it.
"""

from __future__ import annotations

import re

from kalibre.language.text.casing import lower

_CLOSING = "\"'”’»)]›"
_OPENING = "\"'“‘«([‹„—–-•*"
_END = re.compile(rf"(?:[.!?…]|\.\.\.)+[{re.escape(_CLOSING)}]*")
_PIECE = re.compile(r"\S(?:[^\r\n\u2028\u2029]*\S)?")
_BEFORE = re.compile(r"[^\s(\[\"“”«'’]+$")
_AFTER = re.compile(rf"\s*([{re.escape(_OPENING)}\s]*)([^\s,;:!?)\]]*)")
_REACH = 60
"""Characters read on each side of a mark: a longer word is no abbreviation."""

_GOES_ON = frozenset(
    """
    dr prof doç doc av yrd yard öğr ogr gör gor arş uzm müh muh mim sn bay tğm ütğm yzb bnb alb tuğg tümg korg org amr
    müf vet ecz dt mr mrs ms bkz bk krş örn orn md nr num mah cad cd sk blv apt böl haz cev sf syf ss ör agm vd pp maks
    ort yakl tah hz hst ith ihr bşk gn gnl müd yön krl t.c tc m.ö m.s mö ms i.ö i.s r.g ph jan feb mar apr jun jul
    aug sep sept oct nov dec
    """.split()
)
"""Never end a sentence: titles, addresses, references."""

_GOES_ON_LARGE = frozenset(
    "no s c st ars mad tel fax faks sok bul kat bl çev ed der yay cilt age vol fig min max".split()
) | {
    "kim",
    "fiz",
    "mat",
    "tic",
    "san",
    "paz",
    "müş",
    "op",
    "sayın",
}
"""Abbreviations that are words too: only with a capital before a name, or before a number."""

_MAY_END = frozenset(
    "vb vs vd vbg vds a.ş aş a.o ltd şti sti inc corp co plc llc s.a a.g n.v ş bşk ark u.s a.b.d".split()
)
"""Often end a sentence: they do where what follows reads like a beginning."""

_BEGINNERS = frozenset(
    """
    bu şu o bunun buna bunu bunlar böylece böyle şirket şirketin şirketimiz banka ancak ayrıca fakat ama lakin oysa
    öte diğer bir her hem ne nitekim dolayısıyla sonuç sonra önce daha yine eğer çünkü zira ilk son yeni en geçen dün
    bugün yarın toplam söz konusu anılan ilgili açıklamada toplantıda analistler yatırımcılar biz ben siz onlar kim
    peki evet hayır örneğin kısacası özetle bundan buradan burada orada artık nasıl neden niçin hangi
    """.split()
)
_AFTER_ORDINAL = frozenset(
    """
    madde fıkra bent bölüm kısım kitap cilt sayfa daire dairesi lig liga yüzyıl asır çeyrek dönem sınıf kat etap tur gün
    hafta ay yıl dünya ordu kolordu tümen tugay alay tabur hukuk ceza asliye ağır sulh icra iş idare vergi ulusal
    uluslararası olağan olağanüstü genel kongre kurultay zirve yargıtay noter noterliği cumhurbaşkanı hükümet sıra
    cadde cad sokak sok blok organize bölge maddesi fıkrası bendi el grup seviye derece kuşak nesil boğaz köprü
    havalimanı
    geleneksel yıldönümü ölüm doğum kuruluş abdülhamid mehmet mehmed murat mahmud mahmut selim süleyman osman abdülmecid
    mustafa ahmet ahmed bayezid bayezit louis henry henri elizabeth george philip katerina nikola wilhelm friedrich papa
    ocak şubat mart nisan mayıs haziran temmuz ağustos eylül ekim kasım aralık
    """.split()
)
_NAME_END = re.compile(r"['’.]")
_INITIALS = re.compile(r"(?:[A-ZÇĞİÖŞÜ]\.)*[A-ZÇĞİÖŞÜ]")
_ENDS = frozenset("vb vs vd vds vbg".split())
_ROMAN = re.compile(r"[IVXLCDM]{1,7}")
_NUMBER = re.compile(r"\d{1,3}")
_AMOUNT_BEFORE = re.compile(r"(?:yüzde|binde|%|saat|tl|usd|euro|dolar|no|sayılı|toplam|yaklaşık)\s*$", re.IGNORECASE)


def split(text: str) -> list[tuple[int, int]]:
    """Return where each sentence begins and ends, white space around it left out.

    A line break ends a sentence, unless the next line goes on in small letters. Marks inside a decimal, date, link or
    ticker (`1.250`, `GARAN.IS`) end nothing; closing quotes stay with their sentence.

    Examples
    --------
    >>> text = "Prof. Dr. Kaya 14. maddeyi okudu. Endeks 9.850,5 puana çıktı!"
    >>> [text[start:end] for start, end in split(text)]
    ['Prof. Dr. Kaya 14. maddeyi okudu.', 'Endeks 9.850,5 puana çıktı!']
    """
    found: list[tuple[int, int]] = []
    for start, end in _paragraphs(text):
        small = not any(one.isupper() for one in text[start : min(end, start + 2_000)])
        begin = start
        for mark in _END.finditer(text, start, end):
            at = mark.end()
            if at >= end or mark.start() < begin or not _ends(text, begin, mark, end, small):
                continue
            found.append((begin, at))
            begin = at
            while begin < end and text[begin].isspace():
                begin += 1
        if begin < end:
            found.append((begin, end))
    return found


def _paragraphs(text: str) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for piece in _PIECE.finditer(text):
        start, end = piece.span()
        if found and text[start].islower() and "\n" not in text[found[-1][1] : start].replace("\n", "", 1):
            before = text[found[-1][1] - 1]
            if before not in ".!?…:":
                found[-1] = (found[-1][0], end)
                continue
        found.append((start, end))
    return found


def _ends(text: str, begin: int, mark: re.Match[str], end: int, small: bool) -> bool:
    at, signs = mark.end(), mark[0]
    after = _AFTER.match(text, at, min(end, at + _REACH))
    opening, follows = (after[1], after[2]) if after else ("", "")
    before = _BEFORE.search(text, max(begin, mark.start() - _REACH), mark.start())
    word = before[0] if before else ""
    if not text[at].isspace():
        return signs == "." and word[-3:].islower() and word.isalpha() and len(word) > 2 and _starts(text[at : at + 2])
    if not follows and not opening:
        return True
    first = follows[:1]
    closed = signs[-1] in _CLOSING
    if first.islower() and not (opening.strip() and not closed):
        if small:
            return signs.rstrip(_CLOSING) != "." or (len(word) > 3 and word.isalpha() and lower(word) not in _GOES_ON)
        return not closed and signs[0] in "!?" and lower(word) != "yahoo"
    if signs[0] != "." or len(signs.rstrip(_CLOSING)) > 1:
        return True
    return not _belongs(text, begin, word, mark.start(), follows)


def _starts(two: str) -> bool:
    return two[:1].isupper() and two[1:].islower()


def _belongs(text: str, begin: int, word: str, stop: int, follows: str) -> bool:
    """Say whether a full stop belongs to the word before it, with something large behind."""
    key, next_word = lower(word), lower(_NAME_END.split(follows, maxsplit=1)[0])
    starts = next_word in _BEGINNERS
    if key in _GOES_ON:
        return True
    if key in _GOES_ON_LARGE:
        return follows[:1].isdigit() or (word[0].isupper() and not starts)
    if _NUMBER.fullmatch(word):
        if begin == stop - len(word) or follows[:1].isdigit():
            return True
        return not _AMOUNT_BEFORE.search(text, max(begin, stop - 20), stop - len(word)) and next_word in _AFTER_ORDINAL
    short = key in _MAY_END or _INITIALS.fullmatch(word) or _ROMAN.fullmatch(word)
    return bool(short) and not starts and key not in _ENDS
