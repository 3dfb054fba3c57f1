"""Pretraining: whole words are hidden, a toy language is learnt, a run goes on from weights, a dead run is stopped."""

import hashlib
import json
import math
import random

import numpy as np
import pytest
from tests.fakes.torch_stack import import_or_skip

from kalibre.core.errors import LanguageError, ModelError
from kalibre.language.encoder.blocks import Blocks, from_bytes, pack, to_bytes
from kalibre.language.encoder.hiding import held_out_loss, hide
from kalibre.language.encoder.model import EncoderSettings, from_safetensors, initial, to_safetensors
from kalibre.language.encoder.muon import Muon, orthogonal
from kalibre.language.encoder.pieces import MASK, Pieces, toy_tokenizer
from kalibre.language.encoder.pretrain import Recipe, check_alive, pretrain

torch, _ = import_or_skip("torch", "sentencepiece")


def toy_documents(count: int = 600, seed: int = 0) -> list[str]:
    """Write a toy language in which the subject says the verb."""
    drawn = random.Random(seed)
    verbs = {"Borsa": "yükseldi", "Dolar": "geriledi", "Altın": "arttı", "Faiz": "düştü"}
    days = ["pazartesi", "salı", "çarşamba", "perşembe", "cuma"]
    documents = []
    for _ in range(count):
        subjects = [drawn.choice(list(verbs)) for _ in range(5)]
        documents.append(" ".join(f"{subject} {drawn.choice(days)} günü {verbs[subject]}." for subject in subjects))
    return documents


@pytest.fixture(scope="module")
def pieces() -> Pieces:
    return Pieces(toy_tokenizer(330, tuple(toy_documents(40))))


@pytest.fixture(scope="module")
def blocks(pieces: Pieces) -> Blocks:
    return pack(toy_documents(), pieces, length=48, held_out=0.05)


def settings_of(pieces: Pieces) -> EncoderSettings:
    return EncoderSettings(vocabulary=pieces.size, width=48, layers=2, heads=2, inner=96, length=48)


def test_packing_keeps_every_piece_in_order_between_its_signs(pieces: Pieces) -> None:
    documents = toy_documents(50)
    packed = pack(documents, pieces, length=16, held_out=0.1, shuffle=None)
    parts: dict[bool, list[int]] = {False: [], True: []}
    for document in documents:
        drawn = int.from_bytes(hashlib.sha256(document.encode()).digest()[:4], "big") / 2**32
        parts[drawn < 0.1] += [pieces.cls, *pieces.ids(document), pieces.sep]
    assert packed.train.ravel().tolist() == parts[False][: packed.train.size]
    assert packed.held_out.ravel().tolist() == parts[True][: packed.held_out.size]
    assert len(parts[False]) - packed.train.size < 16


def test_held_out_documents_do_not_depend_on_order(pieces: Pieces) -> None:
    documents = toy_documents(200)
    one = pack(documents, pieces, length=8, held_out=0.2, shuffle=0)
    two = pack(documents[::-1], pieces, length=8, held_out=0.2, shuffle=None)
    assert abs(len(one.held_out) - len(two.held_out)) <= 1
    assert sorted(np.bincount(one.held_out.ravel())) == pytest.approx(sorted(np.bincount(two.held_out.ravel())), abs=8)


def test_blocks_come_back_from_the_disk_and_torn_ones_are_refused(blocks: Blocks) -> None:
    back = from_bytes(to_bytes(blocks))
    assert np.array_equal(back.train, blocks.train)
    assert back.size == blocks.size
    with pytest.raises(ModelError, match="cannot be read"):
        from_bytes(to_bytes(blocks)[:100])


def test_too_little_text_is_refused(pieces: Pieces) -> None:
    with pytest.raises(LanguageError, match="bring more text"):
        pack(["Kısa."], pieces, length=512)


def test_words_are_hidden_whole_and_signs_never(pieces: Pieces, blocks: Blocks) -> None:
    ids = torch.from_numpy(blocks.train[:40].astype(np.int64))
    starts = torch.from_numpy(pieces.starts)
    shown, places, wanted = hide(ids, starts, blocks.size, 0.3, torch.Generator().manual_seed(0))
    chosen = torch.zeros(ids.numel(), dtype=torch.bool)
    chosen[places[wanted >= 0]] = True
    chosen = chosen.view(ids.shape)
    words = starts[ids].long().cumsum(1)
    for row in range(len(ids)):
        for word in words[row].unique():
            same = words[row] == word
            assert chosen[row][same & (ids[row] < blocks.size)].float().mean() in (0.0, 1.0) or not bool(
                (same & (ids[row] < blocks.size)).any()
            )
    assert not chosen[ids >= blocks.size].any()
    assert torch.equal(shown[~chosen], ids[~chosen])
    assert torch.equal(wanted[wanted >= 0], ids.flatten()[places[wanted >= 0]])
    masked = float((shown[chosen] == blocks.size + MASK).float().mean())
    assert 0.7 < masked < 0.9
    assert 0.2 < float(chosen.float().mean()) < 0.35


def test_a_toy_language_is_learnt_far_below_piece_frequencies(pieces: Pieces, blocks: Blocks) -> None:
    run = pretrain(
        blocks,
        pieces,
        settings_of(pieces),
        Recipe(steps=70, batch=12, look_steps=35, minutes=5, rate=4e-2, pieces_rate=2e-2),
    )
    points = [json.loads(line) for line in run.lines.splitlines()]
    assert points[-1]["held_out"] < 0.75 * blocks.unigram_nats
    assert points[-1]["held_out"] < points[0]["held_out"]
    assert points[-1]["step"] == 70


def test_a_run_goes_on_from_weights_alone(pieces: Pieces, blocks: Blocks) -> None:
    settings = settings_of(pieces)
    short = Recipe(steps=8, batch=8, look_steps=4, minutes=5)
    first = pretrain(blocks, pieces, settings, short)
    stored, _ = from_safetensors(to_safetensors(first.weights, settings))
    again = [pretrain(blocks, pieces, settings, Recipe(**{**vars(short), "seed": 1}), begin=stored) for _ in range(2)]
    # It begins exactly where the last one ended, and the same run twice is the same run.
    assert again[0].curve[0]["held_out"] == first.curve[-1]["held_out"]
    assert [point["held_out"] for point in again[0].curve] == [point["held_out"] for point in again[1].curve]
    assert all(torch.equal(again[0].weights[name], again[1].weights[name]) for name in stored)
    assert held_out_loss(stored, settings, blocks, pieces)[0] == pytest.approx(first.curve[-1]["held_out"], abs=1e-4)


def test_weights_are_kept_while_it_runs(pieces: Pieces, blocks: Blocks) -> None:
    kept: list[float] = []
    recipe = Recipe(steps=4, batch=4, minutes=5)
    pretrain(blocks, pieces, settings_of(pieces), recipe, keep=lambda w: kept.append(float(w["norm"].sum())), keep_s=0)
    assert len(kept) == 4


def test_a_run_ends_in_time(pieces: Pieces, blocks: Blocks) -> None:
    run = pretrain(blocks, pieces, settings_of(pieces), Recipe(minutes=0.02, batch=4, look_s=60))
    assert run.curve[-1]["seconds"] < 20
    assert run.curve[-1]["step"] > 0


def test_planted_deaths_are_caught(pieces: Pieces, blocks: Blocks) -> None:
    settings = settings_of(pieces)
    lost = initial(settings)
    lost["layer0.query"] = lost["layer0.query"] * float("inf")
    with pytest.raises(ModelError, match="held-out loss is nan"):
        pretrain(blocks, pieces, settings, Recipe(steps=3, batch=4, minutes=5), begin=lost)
    with pytest.raises(ModelError, match=r"collapsed|diverges|not finite"):
        pretrain(
            blocks, pieces, settings, Recipe(steps=20, batch=4, minutes=5, look_steps=5, rate=5.0, pieces_rate=5.0)
        )


def test_what_counts_as_dead() -> None:
    check_alive(5.0, 5.0, 4.0, ripe=False)
    check_alive(3.9, 3.5, 4.0, ripe=True)
    with pytest.raises(ModelError, match="no better than bare piece frequencies"):
        check_alive(4.2, 4.2, 4.0, ripe=True)
    with pytest.raises(ModelError, match="diverges"):
        check_alive(4.0, 2.5, 9.0, ripe=False)
    with pytest.raises(ModelError, match="weights are lost"):
        check_alive(math.nan, 2.5, 9.0, ripe=False)


def test_text_and_encoder_of_two_kinds_are_refused(pieces: Pieces, blocks: Blocks) -> None:
    with pytest.raises(ModelError, match="do not go together"):
        pretrain(blocks, pieces, EncoderSettings(vocabulary=17), Recipe())


def test_muon_agrees_with_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    begun = [torch.randn(shape, generator=generator) for shape in ((12, 8), (8, 12), (12, 8))]
    slopes = [[torch.randn(matrix.shape, generator=generator) for matrix in begun] for _ in range(3)]
    ours = [matrix.clone().requires_grad_(True) for matrix in begun]
    theirs = [torch.nn.Parameter(matrix.clone()) for matrix in begun]
    mine = Muon(ours, rate=0.01, decay=0.1)
    peer = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, momentum=0.95, adjust_lr_fn="match_rms_adamw")
    for step in slopes:
        for matrix, other, slope in zip(ours, theirs, step, strict=True):
            matrix.grad, other.grad = slope.clone(), slope.clone()
        mine.step()
        peer.step()
    # Theirs reckons the step in bfloat16, ours on a CPU in 32 bits.
    for matrix, other in zip(ours, theirs, strict=True):
        assert torch.allclose(matrix, other, atol=2e-3)


def test_orthogonal_keeps_directions() -> None:
    matrix = torch.randn(1, 10, 6, generator=torch.Generator().manual_seed(2))
    found = torch.linalg.svdvals(orthogonal(matrix)[0])
    assert bool(((found > 0.6) & (found < 1.3)).all())
