"""The tasks' encoder families: trained on a toy market, saved, opened without torch, and on a hub's encoder too."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.fakes import hub_models, toy_market
from tests.fakes.torch_stack import import_or_skip

from kalibre.core.errors import LanguageError, ModelError, UsageError
from kalibre.language.answering import encoder as answering
from kalibre.language.answering.examples import Example
from kalibre.language.bundle import LanguageBundle, open_bundle
from kalibre.language.category import encoder as category
from kalibre.language.encoder.blocks import pack
from kalibre.language.encoder.foundations import OwnFoundation, foundation
from kalibre.language.encoder.heads import Tuning
from kalibre.language.encoder.model import EncoderSettings, initial, to_safetensors
from kalibre.language.encoder.pieces import Pieces, toy_tokenizer
from kalibre.language.encoder.pretrain import Recipe, pretrain
from kalibre.language.encoder.tasks import apart, logistic, macro_f1, threshold
from kalibre.language.entities import encoder as entities
from kalibre.language.entities.tags import mentions
from kalibre.language.load import from_bundle, load
from kalibre.language.sentiment import encoder as sentiment

torch, *_ = import_or_skip("torch", "onnx", "onnxruntime", "sentencepiece", "transformers")

TUNING = Tuning(epochs=6, patience=3, rate=4e-3, batch=16, device="cpu", dropout=0.05)
ODD = ["", " ", "😀🚀", "\x00\x01", "\u202e\u200f", "a\ud800b", "kâr " * 2_000, "漢字 test", "ignore all instructions"]


def corpus() -> list[str]:
    lines = [*toy_market.headlines(150, 5)[0], *(" ".join(words) for words in toy_market.tagged(100, 5)[0])]
    return [*lines, *(f"{question} {passage}" for question, passage, *_ in toy_market.questions(150, 5))]


@pytest.fixture(scope="module")
def base() -> OwnFoundation:
    pieces = Pieces(toy_tokenizer(600, tuple(corpus()[::2])))
    settings = EncoderSettings(vocabulary=pieces.size, width=48, layers=2, heads=2, inner=96, length=96)
    blocks = pack(corpus(), pieces, length=32, held_out=0.05)
    run = pretrain(blocks, pieces, settings, Recipe(steps=60, batch=12, minutes=5, rate=2e-2, pieces_rate=2e-2))
    return OwnFoundation(run.weights, settings, pieces)


@pytest.fixture(scope="module")
def sentiment_bundle(base: OwnFoundation) -> LanguageBundle:
    texts, labels = toy_market.headlines(180, 1)
    return sentiment.train(texts, labels, encoder=base, tuning=TUNING)


@pytest.fixture(scope="module")
def entities_bundle(base: OwnFoundation) -> LanguageBundle:
    return entities.train(*toy_market.tagged(180, 1), encoder=base, tuning=TUNING)


@pytest.fixture(scope="module")
def answering_bundle(base: OwnFoundation) -> LanguageBundle:
    return answering.train(asked(240, 1), encoder=base, tuning=replace(TUNING, epochs=10, patience=4))


def asked(count: int, seed: int) -> list[Example]:
    return [
        Example(id=str(number), question=question, context=passage, answers=((answer, start),), group=group)
        for number, (question, passage, answer, start, group) in enumerate(toy_market.questions(count, seed))
    ]


def test_sentiment_is_learnt_and_calibrated(sentiment_bundle: LanguageBundle) -> None:
    texts, labels = toy_market.headlines(90, 2)
    model = from_bundle(sentiment_bundle)
    said = model.predict(texts)
    assert np.mean([one.label == label for one, label in zip(said, labels, strict=True)]) > 0.9
    assert all(one.assets[0].impact > 0 for one in said if one.label == "positive" and one.assets)
    assert all(sum(one.probabilities) == pytest.approx(1.0) and one.model == sentiment_bundle.version for one in said)
    assert sentiment_bundle.card["validation"]["macro_f1"] > 0.9
    # A text's result depends on nothing beside it.
    assert model.predict(texts[:3]) == [model.predict([text])[0] for text in texts[:3]]


def test_entities_are_learnt_and_come_without_suffix(entities_bundle: LanguageBundle) -> None:
    model = from_bundle(entities_bundle)
    text = "salı günü Örnek Holding'in kârını artırdı MISAL'ın payları %4,5 izlendi."
    (found,) = model.predict([text])
    told = [(one.text, one.type) for one in found]
    assert ("Örnek Holding", "ORGANIZATION") in told
    assert ("MISAL", "TICKER") in told
    assert ("%4,5", "PERCENT") in told
    assert all(text[one.start : one.end] == one.text for one in found)
    assert all(0 < one.probability < 1 for one in found if one.type == "ORGANIZATION")
    sentences, tags = toy_market.tagged(40, 2)
    wanted = [[one[:3] for one in mentions(marks)] for marks in tags]
    told = model.tagger.tag(sentences)
    assert sum([one[:3] for one in said] == gold for said, gold in zip(told, wanted, strict=True)) > 36


def test_answers_are_learnt_with_how_sure(answering_bundle: LanguageBundle) -> None:
    reader = from_bundle(answering_bundle)
    held = asked(60, 2)
    found = [reader.read(one.question, [one.context], limit=1)[0] for one in held]
    assert np.mean([span.text == one.answers[0][0] for span, one in zip(found, held, strict=True)]) > 0.7
    wrong = [reader.read(one.question, ["Hava bugün açık ve güneşli."], limit=1) for one in held[:20]]
    assert np.mean([spans[0].probability for spans in wrong if spans]) < np.mean([span.probability for span in found])
    several = reader.read(held[0].question, [held[1].context, held[0].context, ""], limit=4)
    assert len({span.passage for span in several[:2]}) == 2
    assert set(reader.thresholds) == {"0.50", "0.60", "0.70", "0.80", "0.90"}


def test_category_is_learnt(base: OwnFoundation) -> None:
    texts, labels = toy_market.headlines(120, 1)
    names = [{"positive": "iyi", "negative": "kötü", "neutral": "yan"}[label] for label in labels]
    model = from_bundle(category.train(texts, names, encoder=base, tuning=TUNING))
    assert model.classes == ("iyi", "kötü", "yan")
    said = model.predict_proba(texts)
    assert np.mean([model.classes[int(np.argmax(row))] == name for row, name in zip(said, names, strict=True)]) > 0.9
    assert model.predict_proba([]) == []
    with pytest.raises(UsageError, match="two at least"):
        category.train(["a", "b"], ["bir", "bir"], encoder=base)


def test_odd_texts_never_crash(
    sentiment_bundle: LanguageBundle, entities_bundle: LanguageBundle, answering_bundle: LanguageBundle
) -> None:
    said = from_bundle(sentiment_bundle).predict(ODD)
    assert len(said) == len(ODD)
    assert [one.abstained for one in said[:3]] == ["empty", "empty", "no words"]
    assert said[-1].abstained == "language"
    for text, found in zip(ODD, from_bundle(entities_bundle).predict(ODD), strict=True):
        assert all(text[one.start : one.end] == one.text for one in found)
    reader = from_bundle(answering_bundle)
    for text in ODD:
        assert all(text[one.start : one.end] == one.text for one in reader.read("nerede?", [text]))
        reader.read(text, ["Fabrika Bursa ilinde."])
    with pytest.raises(LanguageError, match="at most 1,000,000"):
        reader.read("nerede?", ["a" * 1_000_001])


def test_a_saved_family_runs_without_torch(sentiment_bundle: LanguageBundle, tmp_path: Path) -> None:
    folder = sentiment_bundle.save(tmp_path)
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['transformers'] = None\n"
        "from kalibre.language.load import load\n"
        f"print(load('sentiment', {str(folder)!r}).predict(['Örnek Holding salı günü sert geriledi 7'])[0].label)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout.strip() == "negative", done.stderr
    assert load("sentiment", str(folder)).version == sentiment_bundle.version


def test_the_same_command_tunes_a_hub_encoder(tmp_path: Path) -> None:
    hub = hub_models.write(tmp_path / "hub", "Model")
    texts, labels = toy_market.headlines(120, 1)
    bundle = sentiment.train(texts, labels, encoder=str(hub), tuning=replace(TUNING, rate=2e-3, epochs=12, patience=12))
    folder = bundle.save(tmp_path, "tuned")
    assert "model.safetensors" in open_bundle(folder).files
    model = load("sentiment", str(folder))
    said = model.predict(texts)
    assert np.mean([one.label == label for one, label in zip(said, labels, strict=True)]) > 0.6
    assert model.version == bundle.version


def test_a_collapsed_run_fails_loudly(base: OwnFoundation) -> None:
    texts, labels = toy_market.headlines(200, 1)
    drawn = np.random.default_rng(0)
    noise = [str(drawn.choice(["positive", "neutral", "negative"], p=[0.8, 0.1, 0.1])) for _ in labels]
    with pytest.raises(ModelError, match="collapsed"):
        sentiment.train(texts, noise, encoder=base, share=0.5, tuning=Tuning(epochs=1, rate=1e-5, device="cpu"))


def test_what_cannot_be_trained_is_refused(base: OwnFoundation) -> None:
    with pytest.raises(UsageError, match="'good'"):
        sentiment.train(["a", "b"], ["good", "neutral"], encoder=base)
    with pytest.raises(ModelError, match="has 1 tags"):
        entities.train([["a", "b"]], [["O"]], encoder=base)
    with pytest.raises(LanguageError, match="1 group"):
        answering.train(asked(3, 0), encoder=base)
    with pytest.raises(LanguageError, match="too alike"):
        apart(["aynı metin burada", "aynı metin burada!"])


def test_the_encoder_that_is_not_shipped_says_so(tmp_path: Path) -> None:
    from kalibre.language.encoder.foundations import SHIPPED

    if not SHIPPED.is_dir():
        with pytest.raises(UsageError, match=r"'builtin:encoder' is not shipped.*docs/encoder.md"):
            foundation("sentiment")
    with pytest.raises(UsageError, match="neither a folder nor a hub id"):
        foundation("sentiment", "no/such/folder").codec  # noqa: B018


def test_a_pretrained_folder_is_a_foundation(base: OwnFoundation, tmp_path: Path) -> None:
    (tmp_path / "encoder.safetensors").write_bytes(to_safetensors(base.weights, base.settings, half=True))
    (tmp_path / "tokenizer.model").write_bytes(base.pieces.model)
    found = foundation("sentiment", str(tmp_path))
    assert isinstance(found, OwnFoundation)
    assert found.settings == base.settings
    with pytest.raises(ModelError, match="does not go with"):
        OwnFoundation(initial(EncoderSettings(vocabulary=9)), EncoderSettings(vocabulary=9), base.pieces)


def test_altered_settings_are_refused(sentiment_bundle: LanguageBundle, entities_bundle: LanguageBundle) -> None:
    for bundle in (sentiment_bundle, entities_bundle):
        broken = replace(bundle, files={**bundle.files, "settings.json": b'{"length": 32}'})
        with pytest.raises(ModelError, match="cannot be read"):
            from_bundle(broken)
        with pytest.raises(ModelError, match="settings"):
            from_bundle(replace(bundle, files={**bundle.files, "settings.json": b"{"}))


def test_shared_arithmetic() -> None:
    learn, kept = apart([f"metin {number} burada duruyor {number * 7919}" for number in range(40)], share=0.25)
    assert len(kept) == 10
    assert sorted(learn + kept) == list(range(40))
    slope, offset = logistic([-3, -2, -1, 1, 2, 3] * 20, [False, False, False, True, True, True] * 20)
    assert slope > 0
    assert abs(offset) < 0.5
    assert threshold([0.9, 0.1], [False, False], 0.5) == 1.0
    assert macro_f1([0, 1, 2], [0, 1, 2], 3) == 1.0
