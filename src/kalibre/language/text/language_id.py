"""What language a text is in: Turkish, English, another, or too little to say. For headlines as for pages.

Evidence is counted word by word: function words, endings, letters that only one of them has. Names of companies hold
little of it, so a Turkish headline full of English names stays Turkish.
"""

from __future__ import annotations

import math
import re
import unicodedata
from typing import Literal

from kalibre.language.text.casing import fold, lower
from kalibre.language.text.tokens import APOSTROPHES, is_suffix

Language = Literal["tr", "en", "other", "unknown"]

_LEAST = 0.35
"""Nats by which the first must lead."""
_TURKISH_ENOUGH = 1.5
_READ = 4_000
"""Characters read: more adds nothing."""
_WORD = re.compile(rf"[^\W\d_]+(?:[{APOSTROPHES}][^\W\d_]+)?")
_ADDRESS = re.compile(
    r"https?://\S+|www\.\S+|[@#]\w+|\b[\w.]{1,60}@[\w.]+|\b[\w.]{1,60}\.(?:com|org|net|tr|io)\b\S*|&\w{2,8};"
)
_APOSTROPHE = re.compile(f"[{APOSTROPHES}]")

_TR_WORDS = frozenset(
    """
    ve bir bu için ile de da daha en çok yüzde gibi kadar sonra önce göre olarak olan oldu olduğu olacak ise ki
    ne mi mı mu mü ya veya ama ancak her hiç var yok değil diye ben sen biz siz onlar şu o çünkü eğer hem ilk
    son yeni yıl ay gün hafta bin milyon milyar lira liraya dolar doları avro altın gram hisse hissesi hisseleri
    banka faiz enflasyon merkez bankası türkiye şirket kâr kar zarar satış alım yükseldi düştü arttı geriledi
    açıkladı kapandı başladı dedi etti edildi yapıldı verdi aldı geldi çıktı artış düşüş rekor üzerinde altında
    karşı karşısında arasında tarafından ilişkin hakkında üzerine nedeniyle rağmen itibaren beri dün bugün yarın
    şimdi artık bile sadece yalnızca tüm bütün nasıl neden kaç kim hangi nerede iyi kötü büyük küçük az fazla
    ediyor oluyor yapıyor bekleniyor abd avrupa çin rusya petrol petrolde ithalat ihracat döviz kur piyasa
    piyasalar endeks endeksi puan hedef fiyat fiyatı fiyatları bist devi eden edilen edecek oldukça yine hala
    hâlâ evet hayır tamam bence bana sana ona bize size beni seni onu geçen gelecek önceki üstü altı yukarı
    aşağı sabah akşam gece saat zaman para işlem günü haftası yılı ayı kişi başkanı genel müdürü bakanı bakan
    açıklaması üniversitesi destek direnç tavan taban lot tahta hayırlı beyler gelir gider alın satın aldım
    sattım alırım satarım bekle bekliyorum herkes kimse niye acaba umarım
    """.split()
)
_EN_WORDS = frozenset(
    """
    the of to in on and for as with at by from is are was were be been after over amid up down will its it his
    her their this that these those has have had not no but or if than then into out off about against between
    before during under says said say sees rise rises rose fall falls fell gain gains jump jumps drop drops
    slides surges climbs record high low stocks shares stock market markets bank banks rate rates hike cut cuts
    inflation growth profit loss sales quarter year month week day new first last more less most may could would
    should can who what why how when where which while still all some any us uk company oil gold prices price
    dollar lira billion million percent per an a he she we you they i our your my do does did hits hit near set
    ahead despite following report reports ends end loses lose early late back again former approval output
    increase decrease delays delay higher lower below governor minister chief chiefs meet meets meeting discuss
    deal deals talks plan plans launch launches trade tariff tariffs export exports import imports debt bond
    bonds yield yields rally rallies investors investor traders analysts forecast forecasts expects expected
    demand supply street wall fund funds firm firms maker makers biggest largest best worst since until next ago
    only even just also now here there every each both another other others many much few own same being having
    make makes made take takes took get gets got go goes going went come comes came buy buys bought sell sells
    sold pay pays paid keep keeps kept lead leads led lost win wins won war peace election president court judge
    police people world government state house bill law tax budget unit units factory plant airline airport
    carrier passenger travel data job jobs unemployment economy economic financial crypto loan loans credit
    rating risk risks fears hopes warns warn eyes seeks urges calls backs slips slip edges eases ease soars
    plunges tumbles sinks dips rebounds recovers steady flat mixed stake shareholders earnings revenue guidance
    outlook dividend buyback merger acquisition offer bid raise raises raised reduce widen narrows beats misses
    tops slashes posts swings age aged dies dead killed fire flood quake
    """.split()
)
_OTHER_WORDS = frozenset(
    """
    der die das und ist nicht ein eine einen dem den des mit auf für von zu im sich auch wird werden nach bei
    aus über le la les du une est dans pour pas que qui sur avec au aux par plus ses sont mais ou où après selon
    cette el los las del una por con para su más se al como pero lo sus sobre entre tras il gli della dello
    delle dei di che non sono per nel alla più dopo suo o os as do dos um uma não em na no pela pelo com seu sua
    vom zum zur unter vor gegen noch wie mehr als sein ihre ihr seine aber oder wenn kann soll will weniger
    contre sans hausse baisse leur leurs ces fait deux trois mois année marché hacia desde hasta esta este está
    han ser muy tiene mercado bolsa año mil millones contro verso anno mercato borsa italiana euro milioni anche
    het een van voor niet zijn op naar ook door wordt bij uit och att är som på det av inte till har ett efter
    från jest nie się że od przez dla jak po și pentru din cu sau mai je za koji nije és egy az hogy nem
    """.split()
) - {"euro", "will", "mil", "has", "as", "do", "no", "a", "o", "per", "en", "on", "ne", "de", "da", "an", "at", "die"}
_TR_PLAIN = (
    frozenset(map(fold, _TR_WORDS)) - _TR_WORDS - _EN_WORDS - _OTHER_WORDS
    - frozenset("aldi alin dun dunya eger gore gun hic ilc kac kur once su uc usd us".split())
) | frozenset("gune degil dunyanin iliskin yukselis yukselisle dususle".split())  # fmt: skip
"""Turkish words as they are written where the letters are wanting (`basladi`): counted in texts of ASCII alone."""
_PLAIN_ENDING = re.compile(
    r"(?:l[ae]r[iu]n?|l[ae]r[iu]nd[ae]n?|[iu]yor|[ae]c[ae]gi|m[iu]s|n[iu]n|[iu]nd[ae]n?|l[iu]g[iu]|s[iu]nd[ae]n?|s[iu]n[iuae]"
    r"|d[iu]g[iu]|t[iu]g[iu]|c[iu]l[ae]r|s[iu]z|m[ae]s[iu]|m[ae]s[iu]n[iae]|l[ae]nd[iu]|[ae]bilir|[iu]nca)"
)
_SHARED = frozenset("can on an at in not her has bank set all still petrol by some art at ask pay bill tax".split())
"""English words that are Turkish words, names or parts of names too."""
_ELISION = re.compile("[ldjnscm]|qu")
_OTHER_ENDING = re.compile(
    ".{2,}(?:ung|ungen|keit|heit|isch|ische|ischen|lich|lichen|ität|ción|ciones|ções|ção|mente|zione|zioni|aient|ieren"
    "|heid|ość|ých|ování)"
)
_TR_ENDING = re.compile(
    r"(?:l[ae]r(?:[ıi]n?|[ıi]n[ıi]|[ıi]nd[ae]n?|[ae]|d[ae]n?)?|[dt][ıiuü]|[ıiuü]yor|[ae]c[ae]k|m[ıiuü]ş|n[ıiuü]n|nd[ae]n?|m[ae]s[ıi]"
    r"|m[ae]s[ıi]n[ıiae]|m[ae]kt[ae]|[ıiuü]nd[ae]n?|l[ıiuü][kğ][ıiuü]?|s[ıiuü]nd[ae]n?|s[ıiuü]n[ıiae]|yl[ae]|[ae]bilir|[ae]rek|[ıiuü]p"
    r"|dığı|diği|duğu|düğü|tığı|tiği|tuğu|tüğü|c[ıiuü]l[ae]r|s[ıiuü]z|l[ıiuü])"
)
_EN_ENDING = re.compile(
    r".{2,}(?:ing|tion|tions|ness|ment|ments|ship|ously|ally|ity|ies|ers|ted|ced|sed|ned|red|led|ked|ght|ould)"
)
_TR_ONLY = frozenset("şğıŞĞİ")
_EN_ONLY = frozenset("qwx")
_ROUND = frozenset("çöü")
_ANYBODYS = frozenset("de da en ne ya ki mi mu".split())
"""Turkish words that are words of Romance languages too: they say little where more of those stands around them."""
_FOREIGN = frozenset("əäßàèéìòùáíóúñãõåæøœëïêôčćđěňřšťůžąęłńśźżőűțăýþð")


def detect(text: str) -> tuple[Language, float]:
    """Return the language of a text and how sure that is, from the first 4,000 characters.

    `unknown` (with 0) is what holds no words to judge by: numbers, codes, emoji, a lone name.

    Examples
    --------
    >>> detect("Apple ve Microsoft hisseleri Nasdaq'ta düştü")[0]
    'tr'
    >>> detect("Turkish lira hits record low as central bank holds rates")[0]
    'en'
    >>> detect("Die Börse schließt nach der Zinsentscheidung im Plus")[0]
    'other'
    >>> detect("THYAO 312,50 🚀")
    ('unknown', 0.0)
    """
    text = _ADDRESS.sub(" ", text[:_READ])
    letters = [one for one in text if one.isalpha()]
    if not letters:
        return "unknown", 0.0
    latin = sum(one < "\u0250" or "\u1e00" <= one <= "\u1eff" for one in letters)
    if latin < len(letters) / 2:
        return ("other", 1 - latin / len(letters)) if len(letters) > 2 else ("unknown", 0.0)
    scores = evidence(unicodedata.normalize("NFC", text))
    best: Language = max(("tr", "en", "other"), key=scores.__getitem__)
    top, second = sorted(scores.values(), reverse=True)[:2]
    if top - second < _LEAST:
        return "unknown", 0.0
    return best, 1 / sum(math.exp(max(-50.0, value - top)) for value in scores.values())


def evidence(text: str) -> dict[Language, float]:
    """Return how much speaks for each language, in nats, roughly."""
    scores: dict[Language, float] = {"tr": 0.0, "en": 0.0, "other": 0.0}
    names, endings, anybodys = 0.0, 0, 0
    capital, plain = text.upper() == text, text.isascii()
    for found in _WORD.finditer(text):
        body, *rest = _APOSTROPHE.split(found[0], maxsplit=1)
        small = body.lower() if capital and "İ" not in text else lower(body)
        latin = small.replace("ı", "i") if "I" in body else small
        if rest:
            _count_suffix(scores, small, rest[0])
        else:
            name = body[0].isupper() and not capital
            before = scores["en"]
            anybodys += small in _ANYBODYS
            _count_word(scores, small, latin, name and found.start() > 0)
            if plain and latin in _TR_PLAIN:
                scores["tr"] += 1.5
            elif plain and not name and _is_plain_turkish(latin):
                endings += 1
            names += scores["en"] - before if name else 0.0
            _count_shape(scores, body, small, latin, 0.3 if name else 1.0)
    if "ə" in text:
        scores["other"] += 3.0  # Azerbaijani, which shares the rest with Turkish
    if scores["other"] >= 2 and scores["tr"] - 1.5 * anybodys < _TURKISH_ENOUGH:
        scores["tr"] -= anybodys
    if endings > 1 or scores["tr"] >= 1:  # one alone may be chance
        scores["tr"] += 0.6 * endings
    if scores["tr"] >= _TURKISH_ENOUGH:
        scores["en"] -= names / 2  # `Bank of America` says little where Turkish stands around it
    return scores


def _count_suffix(scores: dict[Language, float], small: str, suffix: str) -> None:
    if _ELISION.fullmatch(small) and len(suffix) > 2:
        scores["other"] += 1.5
    elif suffix.lower() in ("s", "t", "re", "ve", "ll", "d"):
        scores["en"] += 1.2
    elif is_suffix(suffix):
        scores["tr"] += 2.5


def _count_word(scores: dict[Language, float], small: str, latin: str, name: bool) -> None:
    if small in _TR_WORDS:
        scores["tr"] += 1.5
    elif latin in _EN_WORDS:
        scores["en"] += _english(latin, name)
    if latin in _OTHER_WORDS and latin not in _EN_WORDS:
        scores["other"] += 1.2


def _is_plain_turkish(latin: str) -> bool:
    """Say whether a word of a text in ASCII alone ends as Turkish words do once their letters are put back."""
    return len(latin) >= 6 and latin not in _EN_WORDS and not _EN_ONLY & set(latin) and _ends(_PLAIN_ENDING, latin, 3)


def _count_shape(scores: dict[Language, float], body: str, small: str, latin: str, weight: float) -> None:
    letters = set(small)
    if _TR_ONLY & set(body):
        scores["tr"] += 1.5 * weight
    if _FOREIGN & letters:
        scores["other"] += 1.5 * weight
    if _EN_ONLY & letters:
        scores["en"] += 0.3 * weight
    if letters & _ROUND:
        scores["tr"] += 0.5 * weight
        scores["other"] += 0.2 * weight
    if len(small) < 5:
        return
    if _ends(_TR_ENDING, small, 2) and not _EN_ONLY & letters:
        scores["tr"] += 0.8 * weight
    if _EN_ENDING.fullmatch(latin):
        scores["en"] += 0.8 * weight
    if _OTHER_ENDING.fullmatch(small):
        scores["other"] += 1.0 * max(weight, 0.6)


def _english(word: str, name: bool) -> float:
    """Return what an English word is worth: less within a name, and where Turkish has the word too."""
    if len(word) == 1 or (name and word in _SHARED):
        return 0.5
    return 0.9 if name or word in _SHARED else 1.5


def _ends(ending: re.Pattern[str], word: str, least: int) -> bool:
    return any(ending.fullmatch(word, start) for start in range(max(least, len(word) - 8), len(word) - 1))
