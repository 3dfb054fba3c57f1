"""Everyday tone: words of praise, blame and abuse, as people write them outside the business pages."""

from __future__ import annotations

from kalibre.language.ngrams import cut

_GLAD = frozenset(
    """
    guzel harika muhtes mukemm super sahane enfes efsane basari tebrik kutlu mutlu sevin sevgi seviyo sevdi sevdim sever
    severi bayil hayran gurur ovun tesekk sagol sagolun helal aferin bravo umut umutl heyecan eglen eglenc keyif keyifli
    rahat huzur iyi iyiki gulum guldur kahkah komik tatli canim sukur insall masall hayirl hayal hayali ozled ozledi
    ozluyo kazand kazani destek gururl degerl onur sampiy yasasi guvend guveni dilek nice ask askim begen favori
    """.split()
)
_SAD = frozenset(
    """
    kotu berbat rezil rezale igrenc korkun sacma sacmal salak aptal gerize gerzek mal yazik yazikl uzgun uzul uzucu
    nefret biktim bikti bezdim sikinti sikild sikici sorun sorunl problem hata hatali yanlis yalan yalanc haksiz adalet
    ayip utan utanc utanma utanm kirgin kizgin sinir sinirl ofke agla agliyo agladi acima aci acil kahrol lanet beddua
    terör teror teroris hain haini vatan_haini serefsi namuss ahlaks ahlaki ahmak kepaze rusvet yolsuz hirsiz dolandi
    batsin bitsin kapatil kapati yikil zavall cahil yobaz fasist darbe protes kinama kiniyo iskenc siddet saldir dayak
    olmaz olmuyo bozuk bozuld pahali perisa eziyet cile yoruld yorgun hasta olum oldu_mu kaybet kovul atild mahvol
    """.split()
)
_SWORN = frozenset(
    """
    amk aq mk siktir sikey siktim sikti sikim orospu pic picler piç ibne gavat got gotu gotun gote bok boktan boku
    pezeve kahpe yavsak yarrak kaltak surtuk dangal
    """.split()
)
_WEAKENED = frozenset("degil degill yok yoktu olmad hic".split())
_LETTERS = 7


def tones(text: str) -> tuple[float, float, float]:
    """Return how much praise, blame and abuse a text holds; `değil` behind praise makes it blame.

    Examples
    --------
    >>> tones("Harika bir gün"), tones("güzel değil")
    ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    """
    glad = sad = sworn = 0.0
    words = cut([text], letters=False).words
    for i, word in enumerate(words):
        kind = _kind(word)
        if not kind:
            continue
        turned = any(near in _WEAKENED for near in words[i + 1 : i + 3])
        if kind == "sworn":
            sworn += 1.0
        elif (kind == "glad") != turned:
            glad += 1.0
        else:
            sad += 1.0
    return glad, sad, sworn


def _kind(word: str) -> str:
    for length in range(min(len(word), _LETTERS), 1, -1):
        key = word[:length]
        whole = length == len(word)
        if not whole and length < 4:
            break
        for name, keys in (("sworn", _SWORN), ("glad", _GLAD), ("sad", _SAD)):
            if key in keys:
                return name
    return ""
