import pytest

from kalibre.core.errors import UsageError
from kalibre.language.pii import KINDS, find
from kalibre.language.pii.presidio import ENTITIES, analyser, recognisers

pytest.importorskip("presidio_analyzer")
TEXT = (
    "TCKN 10000000146, kart 4111 1111 1111 1111, 0532 123 45 67, vergi no 4540536920, ali@ornek.com, 34 ABC 123 plaka"
)


def test_presidio_says_what_the_detectors_say():
    results = analyser().analyze(text=TEXT, language="tr")
    assert sorted((one.start, one.end, one.entity_type) for one in results) == [
        (one.start, one.end, ENTITIES[one.kind]) for one in find(TEXT)
    ]
    assert len(results) == 6


def test_only_the_entities_asked_for():
    results = analyser().analyze(text=TEXT, language="tr", entities=["TR_TAX_ID"])
    assert [TEXT[one.start : one.end] for one in results] == ["4540536920"]


def test_they_go_into_an_engine_of_the_users_own():
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry

    from kalibre.language.pii.presidio import no_nlp

    registry = RecognizerRegistry(supported_languages=["en"])
    for one in recognisers(("EMAIL",), "en"):
        registry.add_recognizer(one)
    engine = AnalyzerEngine(registry=registry, nlp_engine=no_nlp(["en"]), supported_languages=["en"])
    assert [one.entity_type for one in engine.analyze(TEXT, "en")] == ["EMAIL_ADDRESS"]


def test_unknown_kinds_are_refused():
    with pytest.raises(UsageError, match="'PASSPORT' is unknown: choose of"):
        recognisers(("PASSPORT",))  # type: ignore[arg-type]
    assert set(ENTITIES) == set(KINDS)
