"""What a sentiment model has to do whatever it was trained on, asked by templates written for this alone.

Each case is a text and what must hold of its direction (probability of up less that of down), or of two texts beside
each other. Nothing of it is used in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Protocol

from kalibre.language.base import Sentiment

_GOOD = ("kârı", "ihracatı", "cirosu", "satış gelirleri")
_BAD = ("enflasyon", "işsizlik", "bütçe açığı", "risk primi")
_UP = ("yükseldi", "arttı", "yüzde 12 artış gösterdi")
_DOWN = ("düştü", "geriledi", "azaldı")
_ASSETS = (("Dolar", "USD"), ("Altın", "XAU"), ("Gümüş", "XAG"), ("Bitcoin", "BTC"), ("Euro", "EUR"))
_FIRMS = (("THYAO", "THYAO"), ("GARAN", "GARAN"), ("ASELS", "ASELS"))
_NUMBERS = ("3", "7", "12", "48")
_FILLERS = ("Son dakika: {}", "{} - piyasa notları", "Günün haberi: {}")


class _Model(Protocol):
    def predict(self, texts: Sequence[str]) -> list[Sentiment]: ...


@dataclass(frozen=True)
class Case:
    """Texts, and whether what is said of them is right."""

    kind: str
    texts: tuple[str, ...]
    holds: Callable[[Sequence[Sentiment]], bool]


def direction(said: Sentiment) -> float:
    """Return the probability of up less that of down; 0 where nothing is said."""
    return 0.0 if said.probabilities is None else said.probabilities[2] - said.probabilities[0]


def _sign(wanted: int) -> Callable[[Sequence[Sentiment]], bool]:
    return lambda said: direction(said[0]) * wanted > 0


def _apart(first: str, second: str, sign: int) -> Callable[[Sequence[Sentiment]], bool]:
    def holds(said: Sequence[Sentiment]) -> bool:
        found = {one.asset: one.impact for one in said[0].assets}
        return found.get(first, 0.0) * sign > 0 and found.get(second, 0.0) * sign < 0

    return holds


def _close(most: float) -> Callable[[Sequence[Sentiment]], bool]:
    return lambda said: abs(direction(said[0]) - direction(said[1])) <= most


def _ordered(said: Sequence[Sentiment]) -> bool:
    """The first text is better than the second."""
    return direction(said[0]) > direction(said[1])


def cases() -> list[Case]:
    """Return the suite: kinds `up_down`, `subject`, `negation`, `two_assets`, `numbers`, `fillers`, `weakened`."""
    return [*_subjects(), *_negations(), *_two_assets(), *_untouched()]


def _subjects() -> Iterator[Case]:
    for noun in _GOOD:
        for up, down in zip(_UP, _DOWN, strict=True):
            yield Case("up_down", (f"Şirketin {noun} {up}", f"Şirketin {noun} {down}"), _ordered)
            yield Case("subject", (f"Holdingin {noun} bu çeyrekte {up}",), _sign(1))
            yield Case("subject", (f"Holdingin {noun} bu çeyrekte {down}",), _sign(-1))
    for noun in _BAD:
        for up, down in zip(_UP, _DOWN, strict=True):
            yield Case("up_down", (f"Nisanda {noun} {down}", f"Nisanda {noun} {up}"), _ordered)
            yield Case("subject", (f"Türkiye'de {noun} {down}",), _sign(1))
            yield Case("subject", (f"Türkiye'de {noun} {up}",), _sign(-1))


def _negations() -> Iterator[Case]:
    for noun in _GOOD:
        yield Case("negation", (f"Bankanın {noun} arttı", f"Bankanın {noun} artmadı"), _ordered)
        yield Case("negation", (f"Bankanın {noun} düşmedi", f"Bankanın {noun} düştü"), _ordered)
    for noun in _BAD:
        yield Case("negation", (f"Mayısta {noun} yükselmedi", f"Mayısta {noun} yükseldi"), _ordered)
    for noun in ("hisselerinde", "kârında"):
        small, large = f"Şirketin {noun} düşüş sınırlı kaldı", f"Şirketin {noun} sert düşüş yaşandı"
        yield Case("weakened", (small, large), _ordered)
        small, large = f"Şirketin {noun} yükseliş sınırlı kaldı", f"Şirketin {noun} sert yükseliş yaşandı"
        yield Case("weakened", (large, small), _ordered)


def _two_assets() -> Iterator[Case]:
    for (one, code), (two, other) in permutations(_ASSETS, 2):
        yield Case("two_assets", (f"{one} yükselirken {two.lower()} geriledi",), _apart(code, other, 1))
        yield Case("two_assets", (f"{one} değer kaybetti, {two.lower()} güçlendi",), _apart(code, other, -1))
    for (one, code), (two, other) in permutations(_FIRMS, 2):
        yield Case("two_assets", (f"{one} kârını artırdı, {two} zarar açıkladı",), _apart(code, other, 1))


def _untouched() -> Iterator[Case]:
    for noun in (*_GOOD, "hisseleri"):
        for first, second in pairwise(_NUMBERS):
            texts = (f"Şirketin {noun} yüzde {first} yükseldi", f"Şirketin {noun} yüzde {second} yükseldi")
            yield Case("numbers", texts, _close(0.2))
    for text in ("Banka hisseleri sert düştü", "Şirketin kârı yükseldi", "Belediye yeni parkı açtı"):
        for filler in _FILLERS:
            yield Case("fillers", (text, filler.format(text)), _close(0.35))


def rates(model: _Model) -> dict[str, tuple[int, int]]:
    """Return how many cases of each kind hold, and of how many."""
    suite = cases()
    said = iter(model.predict([text for case in suite for text in case.texts]))
    found: dict[str, tuple[int, int]] = {}
    for case in suite:
        told = [next(said) for _ in case.texts]
        held, asked = found.get(case.kind, (0, 0))
        found[case.kind] = (held + case.holds(told), asked + 1)
    return found
