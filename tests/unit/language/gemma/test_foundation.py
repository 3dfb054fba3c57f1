"""Heads on a tiny drawn Gemma: what moves, what a bundle holds, who may load it, and the terms on its card."""

import logging
import random
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
from tests.fakes import gemma_models
from tests.fakes.torch_stack import import_or_skip

from kalibre.core.errors import ModelError
from kalibre.language.answering import encoder as answering
from kalibre.language.answering.examples import Example as Asked
from kalibre.language.bundle import open_bundle
from kalibre.language.encoder.foundations import foundation, settings_of
from kalibre.language.encoder.heads import Tuning
from kalibre.language.encoder.networks import outputs
from kalibre.language.entities import encoder as entities
from kalibre.language.gemma import source
from kalibre.language.gemma.foundation import GemmaFoundation, GemmaRunner, stored
from kalibre.language.gemma.network import BEGIN, Checkpoint, Plan, Words
from kalibre.language.gemma.source import GEMMA_FILE
from kalibre.language.sentiment import encoder as sentiment

torch, _, _ = import_or_skip("torch", "transformers", "safetensors")

PLAN = Plan(below=1, above=4, rank=8)
FAST = Tuning(epochs=6, rate=1e-2, batch=8, patience=3, dropout=0.0, device="cpu", layer_decay=1.0)


@pytest.fixture(scope="module")
def base():
    return gemma_models.pair()[1]


def tiny(base) -> GemmaFoundation:
    return GemmaFoundation(base, PLAN, length=48)


def tagged(count: int, seed: int = 1) -> tuple[list[list[str]], list[list[str]]]:
    drawn = random.Random(seed)
    tokens, tags = [], []
    for _ in range(count):
        name = drawn.choice(["banka", "borsa", "örnek"])
        others = [drawn.choice(["kârı", "arttı", "güne", "faiz"]) for _ in range(drawn.randrange(2, 6))]
        at = drawn.randrange(len(others) + 1)
        tokens.append([*others[:at], name, *others[at:]])
        tags.append(["O"] * at + ["B-ORGANIZATION"] + ["O"] * (len(others) - at))
    return tokens, tags


def test_only_adapters_and_head_are_trained(base) -> None:
    before = {name: tensor.clone() for name, tensor in base.weights.items()}
    kept: list = []

    class Seen(GemmaFoundation):
        def network(self, kind, labels, seed, device):
            kept.append(super().network(kind, labels, seed, device))
            kept.append(kept[-1].state())
            return kept[-2]

    tokens, tags = tagged(40)
    entities.train(tokens, tags, encoder=Seen(base, PLAN, length=48), tuning=replace(FAST, epochs=1))
    network, first = kept
    assert all(torch.equal(before[name], network._frozen[name]) for name in before)
    assert set(network.state()) == set(first)
    assert any(not torch.equal(first[name], tensor) for name, tensor in network.state().items() if name.endswith(".b"))
    assert sum(map(len, network.depths())) == len(network.state())


def test_names_are_learnt_and_a_stored_bundle_says_the_same(base, tmp_path) -> None:
    tokens, tags = tagged(160)
    found = tiny(base)
    bundle = entities.train(tokens, tags, encoder=found, tuning=FAST)
    assert bundle.card["validation"]["f1"] >= 0.9
    again = open_bundle(bundle.save(tmp_path), "entities")
    settings = settings_of(again)
    runner = GemmaRunner(again.file(GEMMA_FILE), settings["length"], base)
    tagger = entities.EncoderTagger(runner, settings["length"], settings["tags"], (1.0, 0.0))
    told = tagger.tag([["faiz", "banka", "arttı"]])[0]
    assert [(one.start, one.end, one.type) for one in told] == [(1, 2, "ORGANIZATION")]


def test_loaded_adapters_give_the_same_numbers(base) -> None:
    found = tiny(base)
    network = found.network("pieces", ("O", "B-X", "I-X"), 5, "cpu")
    with torch.no_grad():
        for tensor in network.tuned.values():
            tensor.add_(0.01)
    runner = GemmaRunner(stored(network, "pieces"), 48, base)
    ids = found.codec.windows("borsa güne arttı, örnek", length=48)[0].ids
    here = runner.codec.windows("borsa güne arttı, örnek", length=48)[0].ids
    assert np.array_equal(outputs(network, [ids])[0], runner.run(here))


def test_a_text_is_read_the_same_alone_and_among_others(base) -> None:
    found = tiny(base)
    network = found.network("pieces", ("O", "B-X"), 5, "cpu")
    texts = ["borsa", "borsa güne örnek arttı faiz", "€ 12,5 banka'sı"]
    ids = [found.codec.windows(text, length=48)[0].ids for text in texts]
    together = outputs(network, ids)
    fresh = tiny(base).network("pieces", ("O", "B-X"), 5, "cpu")
    fresh._words = found.words
    for one, said in zip(ids, together, strict=True):
        assert np.allclose(outputs(fresh, [one])[0], said, atol=1e-5)


def test_another_base_is_refused(base) -> None:
    content = stored(tiny(base).network("text", ("a", "b"), 0, "cpu"), "text")
    with pytest.raises(ModelError, match="go with weights of sha256 000000000000"):
        GemmaRunner(content, 48, replace(base, sha256="1" * 64))
    few = base.vocabulary.pruned(())
    with pytest.raises(ModelError, match="other pieces"):
        GemmaRunner(content, 48, replace(base, vocabulary=few))
    with pytest.raises(ModelError, match="cannot be read"):
        GemmaRunner(content[:-40], 48, base)


def test_a_bundle_holds_no_weights_of_the_base_and_names_the_terms(base) -> None:
    tokens, tags = tagged(30)
    bundle = entities.train(tokens, tags, encoder=tiny(base), tuning=replace(FAST, epochs=2))
    assert "Gemma Terms of Use" in bundle.card["licence_of_the_base"]
    assert bundle.card["base_sha256"] == base.sha256
    assert sorted(bundle.files) == [GEMMA_FILE, "settings.json"]
    from safetensors.torch import load as read

    names = set(read(bundle.file(GEMMA_FILE)))
    assert not names & set(base.weights)
    assert {name.rsplit(".", 1)[1] for name in names if name != "kept"} == {"a", "b", "weight", "bias"}


def test_sentiment_is_learnt(base) -> None:
    drawn = random.Random(3)
    rows = []
    for at in range(180):
        verb, label = (("arttı", "positive"), ("düştü", "negative"), ("güne", "neutral"))[at % 3]
        others = [drawn.choice(["borsa", "banka", "faiz", "kârı", "örnek"]) for _ in range(drawn.randrange(3, 9))]
        rows.append((" ".join([*others, verb]) + f" {drawn.randrange(10_000)}", label))
    bundle = sentiment.train(*zip(*rows, strict=True), encoder=tiny(base), tuning=FAST)
    assert bundle.card["validation"]["macro_f1"] >= 0.8


def test_spans_are_read(base) -> None:
    drawn = random.Random(4)
    asked = []
    for at in range(90):
        others = [drawn.choice(["borsa", "güne", "faiz", "kârı"]) for _ in range(6)]
        place = drawn.randrange(6)
        text = " ".join([*others[:place], "örnek", *others[place:]])
        asked.append(
            Asked(
                id=str(at),
                question="banka?",
                context=text,
                answers=(("örnek", text.index("örnek")),),
                group=str(at % 9),
            )
        )
    bundle = answering.train(asked, encoder=tiny(base), tuning=FAST, wrong=0.0)
    assert bundle.card["validation"]["f1"] >= 0.8


def test_a_checkpoint_is_begun_from(base, tmp_path) -> None:
    found = replace(tiny(base), checkpoint=Checkpoint(tmp_path / "state.safetensors", every=2))
    tokens, tags = tagged(40)
    entities.train(tokens, tags, encoder=found, tuning=replace(FAST, epochs=1))
    network = found.network("pieces", ("O", "B-ORGANIZATION", "I-ORGANIZATION"), 0, "cpu")
    stored_state = found.checkpoint.read()
    assert all(torch.equal(stored_state[name], tensor) for name, tensor in network.state().items())
    assert any(tensor.abs().sum() > 0 for name, tensor in stored_state.items() if name.endswith(".b"))


def test_words_are_forgotten_one_by_one_when_there_are_too_many() -> None:
    words = Words(most=2)
    first, second, third = (words.number((one,)) for one in (7, 8, 9))
    assert [words.pieces(number) for number in (second, third)] == [(8,), (9,)]
    assert words.number((7,)) > third > second > first > BEGIN


@pytest.mark.slow
def test_the_real_weights_are_read_and_their_terms_told(caplog) -> None:
    if lacking := source.missing():
        pytest.skip(f"the extra is optional, and {lacking[0]} is not installed: {source.INSTALL}")
    assert find_spec("transformers")
    source._tell_once.cache_clear()
    with caplog.at_level(logging.WARNING):
        found = foundation("entities", "builtin:gemma", ["Örnek Bankası'nın kârı arttı."])
    assert "Gemma Terms of Use" in caplog.text
    assert found.base.settings.layers == 18
    ids = found.codec.windows("Örnek Bankası'nın kârı arttı.", length=64)[0].ids
    said = outputs(found.network("pieces", ("O", "B-X"), 0, "cpu"), [ids])[0]
    assert said.shape == (len(ids), 2)
    assert np.isfinite(said).all()
