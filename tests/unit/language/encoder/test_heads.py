"""Heads learn toy tasks on the project's encoder and on a hub's, stop early, and say when they have learnt nothing."""

import random
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.fakes import hub_models
from tests.fakes.torch_stack import import_or_skip

from kalibre.core.errors import ModelError
from kalibre.language.encoder.heads import NONE, Example, Tuning, _Run, class_weights, tune
from kalibre.language.encoder.hub import open_network, open_tokenizer
from kalibre.language.encoder.model import EncoderSettings, initial
from kalibre.language.encoder.networks import Codec, HubCodec, Network, OwnCodec, OwnNetwork, outputs
from kalibre.language.encoder.pieces import Pieces, toy_tokenizer

torch, _, _ = import_or_skip("torch", "sentencepiece", "transformers")

GOOD, BAD = ["kârı arttı", "güne yükselişle başladı"], ["kârı düştü", "güne düştü"]


def sentences(count: int, seed: int) -> list[tuple[str, int]]:
    drawn = random.Random(seed)
    subjects = ["borsa", "banka", "örnek", "şirketin", "borsa ne"]
    rows = []
    for _ in range(count):
        label = drawn.randrange(2)
        rows.append((f"{drawn.choice(subjects)} {drawn.choice((BAD, GOOD)[label])} .", label))
    return rows


@pytest.fixture(scope="module")
def own() -> tuple[Codec, object]:
    pieces = Pieces(toy_tokenizer(330, tuple(text for text, _ in sentences(30, 9))))
    settings = EncoderSettings(vocabulary=pieces.size, width=32, layers=2, heads=2, inner=48, length=64)
    weights = initial(settings)

    def network(kind: str, classes: int):
        return lambda seed: OwnNetwork(weights, settings, kind, classes, seed=seed)

    return OwnCodec(pieces), network


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hub_models.write(tmp_path_factory.mktemp("hub") / "encoder", "Model")


def encoded(codec: Codec, rows: list[tuple[str, int]]) -> list[Example]:
    return [Example(ids=codec.windows(text, length=64)[0].ids, label=label) for text, label in rows]


def accuracy(examples: list[Example]):
    def metric(network: Network) -> float:
        said = outputs(network, [example.ids for example in examples])
        return float(np.mean([one.argmax() == example.label for one, example in zip(said, examples, strict=True)]))

    return metric


FAST = Tuning(epochs=8, rate=5e-3, batch=16, device="cpu", patience=2, dropout=0.05)


def test_a_text_head_learns_on_the_own_encoder(own) -> None:
    codec, network = own
    train, validation = encoded(codec, sentences(120, 1)), encoded(codec, sentences(40, 2))
    tuned = tune(network("text", 2), train, accuracy(validation), FAST)
    assert tuned.metric >= 0.95
    # What is given back is the best round, not the last.
    assert accuracy(validation)(tuned.network) == tuned.metric == max(point["metric"] for point in tuned.rounds)


def test_the_same_seed_tunes_the_same(own) -> None:
    codec, network = own
    train, validation = encoded(codec, sentences(48, 1)), encoded(codec, sentences(20, 2))
    short = Tuning(epochs=2, rate=1e-3, device="cpu")
    one, two = (tune(network("text", 2), train, accuracy(validation), short).network.state() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_options_are_heeded(own) -> None:
    codec, network = own
    train, validation = encoded(codec, sentences(32, 1)), encoded(codec, sentences(20, 2))
    before = network("text", 2)(0).state()
    frozen = tune(network("text", 2), train, accuracy(validation), Tuning(epochs=1, freeze_pieces=True, device="cpu"))
    assert torch.equal(frozen.network.state()["pieces"], before["pieces"])
    assert not torch.equal(frozen.network.state()["layer0.query"], before["layer0.query"])
    drop = Tuning(epochs=2, rdrop=1.0, seeds=(0, 1), device="cpu", smoothing=0.1)
    both = tune(network("text", 2), train, accuracy(validation), drop)
    assert {point["seed"] for point in both.rounds} == {0, 1}
    assert both.seed in {0, 1}
    deep = Tuning(epochs=1, layer_decay=1e-9, device="cpu", rate=1e-3)
    shallow = tune(network("text", 2), train, accuracy(validation), deep).network.state()
    assert torch.allclose(shallow["pieces"], before["pieces"], atol=1e-6)
    assert not torch.allclose(shallow["head.weight"], before["head.weight"], atol=1e-6)


def test_a_run_stops_early(own) -> None:
    codec, network = own
    train = encoded(codec, sentences(16, 1))
    many = Tuning(epochs=50, patience=2, device="cpu")
    assert len(tune(network("text", 2), train, lambda network: 0.5, many).rounds) == 3


def test_the_clock_ends_a_run_inside_a_round(own) -> None:
    codec, network = own
    train = encoded(codec, sentences(200, 1))
    tuned = tune(network("text", 2), train, lambda network: 0.5, Tuning(epochs=50, minutes=1e-6, device="cpu"))
    assert len(tuned.rounds) == 1


def test_planted_failures_are_loud(own) -> None:
    codec, network = own
    train = encoded(codec, sentences(16, 1))
    with pytest.raises(ModelError, match="learnt nothing"):
        tune(network("text", 2), train, lambda network: 0.0, Tuning(epochs=2, device="cpu"))
    with pytest.raises(ModelError, match="name examples"):
        tune(network("text", 2), [], lambda network: 1.0, Tuning())

    def lost(seed: int) -> OwnNetwork:
        made = network("text", 2)(seed)
        made.weights["norm"].data *= float("nan")
        return made

    with pytest.raises(ModelError, match="the loss of fine-tuning is nan"):
        tune(lost, train, lambda network: 1.0, Tuning(epochs=1, device="cpu"))
    with pytest.raises(ModelError, match="no label"):
        class_weights([NONE, NONE], 2)


def test_class_weights_are_bounded_to_either_side() -> None:
    found = class_weights([0] * 10_000 + [1], 2, most=2.0)
    assert found.max() == 2.0
    assert found.min() >= 0.5


def test_a_piece_head_learns_first_pieces(own) -> None:
    codec, network = own

    def tagged(rows: list[tuple[str, int]]) -> list[Example]:
        found = []
        for text, _ in rows:
            window = codec.windows(text, length=64)[0]
            begin = text.index(" ")
            labels = [NONE if span is None or span[0] not in (0, begin) else int(span[0] == 0) for span in window.spans]
            found.append(Example(ids=window.ids, labels=labels))
        return found

    train, validation = tagged(sentences(100, 1)), tagged(sentences(30, 2))

    def metric(network: Network) -> float:
        said = outputs(network, [example.ids for example in validation])
        right = [
            one[at].argmax() == label
            for one, example in zip(said, validation, strict=True)
            for at, label in enumerate(example.labels or [])
            if label != NONE
        ]
        return float(np.mean(right))

    assert tune(network("pieces", 2), train, metric, FAST).metric > 0.95


def test_a_span_head_learns_where_answers_stand(own) -> None:
    codec, network = own

    def asked(rows: list[tuple[str, int]]) -> list[Example]:
        found = []
        for text, _ in rows:
            window = codec.windows(text, question="kim ?", length=64)[0]
            allowed = [at == 0 or span is not None for at, span in enumerate(window.spans)]
            inside = [at for at, span in enumerate(window.spans) if span is not None and span[1] <= text.index(" ")]
            found.append(Example(ids=window.ids, span=(inside[0], inside[-1]), allowed=allowed))
        return found

    train, validation = asked(sentences(120, 1)), asked(sentences(30, 2))

    def metric(network: Network) -> float:
        said = outputs(network, [example.ids for example in validation])
        ends = [(one[:, 0].argmax(), one[:, 1].argmax()) for one in said]
        return float(np.mean([found == example.span for found, example in zip(ends, validation, strict=True)]))

    assert tune(network("pieces", 2), train, metric, replace(FAST, patience=5)).metric > 0.9


def test_the_same_loop_tunes_a_hub_encoder(hub: Path, tmp_path: Path) -> None:
    tokenizer = open_tokenizer(str(hub))
    codec = HubCodec(tokenizer)
    train, validation = encoded(codec, sentences(120, 1)), encoded(codec, sentences(40, 2))

    def network(seed: int) -> Network:
        torch.manual_seed(seed)
        return open_network("sentiment", str(hub), labels=("negative", "positive"))[0]

    tuned = tune(network, train, accuracy(validation), replace(FAST, rate=2e-3, patience=8, epochs=12))
    assert tuned.metric >= 0.95
    for name, content in tuned.network.files(tokenizer).items():
        (tmp_path / name).write_bytes(content)
    from kalibre.language.load import load

    (said,) = load("sentiment", str(tmp_path)).predict(["banka kârı arttı ."])
    assert said.label == "positive"
    assert said.probabilities[1] == 0.0


def test_deeper_groups_of_a_hub_encoder_come_later(hub: Path) -> None:
    network, _, _ = open_network("entities", str(hub), labels=("O", "B-PERSON"))
    groups = network.depths()
    assert len(groups) == 4
    assert network.model.classifier.weight in set(groups[0])
    assert network.model.bert.embeddings.word_embeddings.weight in set(groups[-1])
    total = sum(tensor.numel() for group in groups for tensor in group)
    assert total == sum(tensor.numel() for tensor in network.model.parameters())


def test_hub_types_tell_question_and_passage_apart(hub: Path) -> None:
    transformers = pytest.importorskip("transformers")
    network, tokenizer, _ = open_network("answering", str(hub), labels=())
    window = HubCodec(tokenizer).windows("borsa düştü", question="ne düştü ?", length=64)[0]
    found = outputs(network, [window.ids])[0]
    asked = tokenizer("ne düştü ?", "borsa düştü", return_tensors="pt", return_token_type_ids=True)
    assert asked["input_ids"][0].tolist() == window.ids
    assert isinstance(network.model, transformers.BertForQuestionAnswering)
    with torch.no_grad():
        wanted = network.model(**asked)
    assert np.allclose(found[:, 0], wanted.start_logits[0].numpy(), atol=1e-5)


def test_the_rate_has_fallen_when_the_clock_ends_a_run(own) -> None:
    codec, network = own
    examples = encoded(codec, sentences(20, 1))
    long = replace(FAST, epochs=1_000)
    bound = _Run(network("text", 2)(0), examples, long, 0, until=time.monotonic() - 1e-3)
    free = _Run(network("text", 2)(0), examples, long, 0, until=None)
    for run in (bound, free):
        run.epoch()
    rates = [[group["lr"] for group in run._optimiser.param_groups] for run in (bound, free)]
    assert max(rates[0]) <= 0.05 * long.rate
    # By its steps alone a run of a thousand rounds has hardly begun to warm up.
    assert max(rates[1]) < 0.02 * long.rate
    assert bound._share() == 1.0 > free._share()
