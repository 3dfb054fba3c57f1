"""The same detectors as recognisers of Microsoft Presidio, and an analyser that needs no spaCy model (extra `pii`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kalibre.core.errors import UsageError
from kalibre.language.pii.detection import KINDS, Kind, Pii, find

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from presidio_analyzer import AnalyzerEngine, EntityRecognizer

ENTITIES: dict[Kind, str] = {
    "EMAIL": "EMAIL_ADDRESS",
    "IBAN": "IBAN_CODE",
    "CARD": "CREDIT_CARD",
    "TCKN": "TR_NATIONAL_ID",
    "PHONE": "PHONE_NUMBER",
    "VKN": "TR_TAX_ID",
    "PLATE": "TR_LICENSE_PLATE",
    "HANDLE": "HANDLE",
}
"""What Presidio calls each kind; its own names where it has one."""


def recognisers(kinds: Sequence[Kind] = KINDS, language: str = "tr") -> list[EntityRecognizer]:
    """Return one recogniser per kind, to be added to the registry of an `AnalyzerEngine`.

    They read no tokens and take no context words from Presidio: context is part of detection.

    Raises
    ------
    UsageError
        If Presidio is not installed, or a kind is unknown.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UsageError(f"kind {unknown[0]!r} is unknown: choose of {', '.join(KINDS)}")
    try:
        from presidio_analyzer import EntityRecognizer, RecognizerResult
    except ImportError:
        raise UsageError("presidio_analyzer is not installed: pip install 'kalibre[pii]'") from None

    last: tuple[str, list[Pii]] = ("", [])

    def looked(text: str) -> list[Pii]:
        """Look once, whichever kinds are asked for one after the other: where two overlap all have to be known."""
        nonlocal last
        if last[0] != text:
            last = text, find(text)
        return last[1]

    class Detector(EntityRecognizer):  # type: ignore[misc,unused-ignore]
        """A kind of Kalibre's personal data in Presidio."""

        def __init__(self, kind: Kind) -> None:
            self.kind = kind
            super().__init__([ENTITIES[kind]], name=f"Kalibre{kind.title()}", supported_language=language)

        def load(self) -> None:
            """Load nothing: the patterns are compiled."""

        def analyze(self, text: str, entities: list[str], nlp_artifacts: Any) -> list[RecognizerResult]:
            """Find the kind in a text."""
            if entities and ENTITIES[self.kind] not in entities:
                return []
            found = [one for one in looked(text) if one.kind == self.kind]
            return [RecognizerResult(ENTITIES[self.kind], one.start, one.end, one.score) for one in found]

    return [Detector(kind) for kind in kinds]


def analyser(kinds: Sequence[Kind] = KINDS, languages: Sequence[str] = ("tr", "en")) -> AnalyzerEngine:
    """Return an `AnalyzerEngine` with these recognisers alone, which downloads nothing.

    Raises
    ------
    UsageError
        As `recognisers`.
    """
    by_language = [recognisers(kinds, language) for language in languages]
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry

    registry = RecognizerRegistry(supported_languages=list(languages))
    for found in by_language:
        for recogniser in found:
            registry.add_recognizer(recogniser)
    return AnalyzerEngine(registry=registry, nlp_engine=no_nlp(languages), supported_languages=list(languages))


def no_nlp(languages: Sequence[str] = ("tr", "en")) -> Any:
    """Return an NLP engine for Presidio that finds nothing and loads nothing: recognisers by pattern need none."""
    from presidio_analyzer.nlp_engine import NlpArtifacts, NlpEngine
    from spacy.tokens import Doc
    from spacy.vocab import Vocab

    vocabulary = Vocab()

    class NoNlp(NlpEngine):  # type: ignore[misc,unused-ignore]
        """Engine without a model."""

        def load(self) -> None:
            """Load nothing."""

        def is_loaded(self) -> bool:
            """Say that there is nothing to wait for."""
            return True

        def process_text(self, text: str, language: str) -> NlpArtifacts:
            """Return no tokens."""
            return NlpArtifacts([], Doc(vocabulary), [], [], self, language)

        def process_batch(
            self, texts: Iterable[str], language: str, batch_size: int = 1, n_process: int = 1, **kwargs: Any
        ) -> Iterator[tuple[str, NlpArtifacts]]:
            """Return no tokens for each."""
            return ((text, self.process_text(text, language)) for text in texts)

        def is_stopword(self, word: str, language: str) -> bool:
            """Know no stop words."""
            return False

        def is_punct(self, word: str, language: str) -> bool:
            """Know no marks."""
            return False

        def get_supported_entities(self) -> list[str]:
            """Find none."""
            return []

        def get_supported_languages(self) -> list[str]:
            """Take these."""
            return list(languages)

    return NoNlp()
