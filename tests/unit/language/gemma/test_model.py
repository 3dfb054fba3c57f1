"""The layers are Gemma's, read both ways; what is filled up does not count, and a fresh adapter changes nothing."""

import pytest
from tests.fakes import gemma_models
from tests.fakes.torch_stack import import_or_skip

from kalibre.language.gemma.model import embedded, fresh_adapters, layers, normed

torch, _, _ = import_or_skip("torch", "transformers", "safetensors")

EVERY = range(gemma_models.LAYERS)


@pytest.fixture(scope="module")
def tiny():
    return gemma_models.pair()


def run(base, ids, there, *, forwards: bool = False, adapters=None):
    state = embedded(base.weights, base.settings, ids)
    places = torch.arange(ids.shape[1]).expand(ids.shape)
    with torch.no_grad():
        state = layers(base.weights, base.settings, state, places, there, EVERY, forwards=forwards, adapters=adapters)
        return normed(state, base.weights["norm"], base.settings.epsilon)


def drawn(base, texts: int = 2, length: int = 11, seed: int = 1):
    ids = torch.randint(3, base.vocabulary.size, (texts, length), generator=torch.Generator().manual_seed(seed))
    there = torch.ones((texts, length), dtype=torch.bool)
    there[-1, 8:] = False
    return ids, there


@pytest.mark.parametrize("forwards", [False, True])
def test_states_are_those_of_transformers(tiny, forwards: bool) -> None:
    model, base = tiny
    ids, there = drawn(base)
    model.config.use_bidirectional_attention = not forwards
    with torch.no_grad():
        wanted = model(input_ids=ids, attention_mask=there.long()).last_hidden_state
    found = run(base, ids, there, forwards=forwards)
    assert torch.allclose(found[there], wanted[there], atol=2e-5)


def test_a_later_word_changes_an_earlier_state_only_when_read_both_ways(tiny) -> None:
    _, base = tiny
    ids, there = drawn(base)
    other = ids.clone()
    other[0, 7] = (other[0, 7] + 1 - 3) % (base.vocabulary.size - 3) + 3
    assert not torch.allclose(run(base, ids, there)[0, :7], run(base, other, there)[0, :7], atol=1e-4)
    before, after = (run(base, one, there, forwards=True)[0, :7] for one in (ids, other))
    assert torch.allclose(before, after, atol=1e-6)


def test_what_is_filled_up_changes_nothing(tiny) -> None:
    _, base = tiny
    ids, there = drawn(base)
    other = ids.clone()
    other[-1, 8:] = 5
    assert torch.allclose(run(base, ids, there)[there], run(base, other, there)[there], atol=1e-6)
    alone = run(base, ids[-1:, :8], there[-1:, :8])
    assert torch.allclose(run(base, ids, there)[-1:, :8], alone, atol=1e-5)


def test_pruned_rows_give_the_same_states(tiny) -> None:
    _, base = tiny
    text = "borsa güne örnek"
    few = base.vocabulary.pruned(base.vocabulary.used([text]))
    from kalibre.language.gemma.vocabulary import parts

    whole_ids = torch.tensor([[one for part in parts(text) for one in base.vocabulary.of(text, part)]])
    few_ids = torch.tensor([[one for part in parts(text) for one in few.of(text, part)]])
    table = {**base.weights, "pieces": base.weights["pieces"][few.base]}
    assert len(table["pieces"]) < len(base.weights["pieces"])
    one, two = embedded(base.weights, base.settings, whole_ids), embedded(table, base.settings, few_ids)
    assert torch.equal(one, two)


def test_a_fresh_adapter_changes_nothing_and_a_moved_one_does(tiny) -> None:
    _, base = tiny
    ids, there = drawn(base)
    adapters = fresh_adapters(base.settings, EVERY, 4, seed=3)
    plain = run(base, ids, there)
    assert torch.equal(plain, run(base, ids, there, adapters=adapters))
    adapters["1.up.b"] += 0.1
    assert not torch.allclose(plain, run(base, ids, there, adapters=adapters), atol=1e-4)
