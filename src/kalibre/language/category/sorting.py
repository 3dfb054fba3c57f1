"""From a category model's probabilities to what is told: nothing is made up of a text that says nothing to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from kalibre.core.errors import LanguageError
from kalibre.language.base import Category
from kalibre.language.text.language_id import detect
from kalibre.language.text.normal import check_text, clean


class Sorting(ABC):
    """What every category model shares: `predict` upon its `predict_proba`.

    Attributes
    ----------
    version, classes
        As `CategoryModel` has them.
    languages
        Languages that it judges; None judges any.
    """

    version: str
    classes: tuple[str, ...]
    languages: frozenset[str] | None = frozenset(("tr", "unknown"))

    @abstractmethod
    def predict_proba(self, texts: Sequence[str]) -> list[tuple[float, ...]]:
        """Return calibrated probabilities in the order of `classes`."""

    def predict(self, texts: Sequence[str]) -> list[Category]:
        """Return one result per text, in order; never raises for what a text holds."""
        against = [self._against(text) for text in texts]
        said = iter(self.predict_proba([text for text, why in zip(texts, against, strict=True) if why is None]))
        found = []
        for why in against:
            p = next(said) if why is None else None
            label = None if p is None else self.classes[max(range(len(p)), key=p.__getitem__)]
            found.append(Category(label=label, probabilities=p, abstained=why, model=self.version))
        return found

    def _against(self, text: Any) -> str | None:
        """Return why a text is not judged, None where nothing speaks against it."""
        try:
            check_text(text, empty=False)
        except LanguageError:
            if not isinstance(text, str):
                return "not text"
            return "empty" if not text.strip() else "binary or too long"
        if sum(letter.isalpha() for letter in text[:20_000]) < 2:
            return "no words"
        if self.languages is not None and detect(clean(text[:20_000]).text)[0] not in self.languages:
            return "language"
        return None
