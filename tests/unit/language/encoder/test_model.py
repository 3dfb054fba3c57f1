"""The encoder's layers: shapes, positions, filling, and weights on the disk."""

import pytest
from tests.fakes.torch_stack import import_or_skip

from kalibre.core.errors import ModelError
from kalibre.language.encoder.model import (
    EncoderSettings,
    check_settings,
    from_safetensors,
    guesses,
    hidden,
    initial,
    rotation,
    to_safetensors,
)

torch, safetensors = import_or_skip("torch", "safetensors.torch")

SMALL = EncoderSettings(vocabulary=90, width=32, layers=2, heads=2, inner=48, length=40)


@pytest.fixture(scope="module")
def weights():
    return initial(SMALL, seed=3)


def test_counts_its_parameters(weights) -> None:
    assert SMALL.parameters == sum(tensor.numel() for tensor in weights.values())
    assert 15e6 < EncoderSettings(vocabulary=32_000).parameters < 30e6


def test_the_same_seed_draws_the_same_weights(weights) -> None:
    again, other = initial(SMALL, seed=3), initial(SMALL, seed=4)
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    assert not torch.equal(weights["pieces"], other["pieces"])


def test_filling_a_batch_changes_nothing(weights) -> None:
    ids = torch.randint(0, 90, (1, 7), generator=torch.Generator().manual_seed(0))
    alone = hidden(weights, SMALL, ids)
    filled = torch.cat([ids, torch.full((1, 5), 90)], dim=1)
    mask = torch.tensor([[True] * 7 + [False] * 5])
    assert torch.allclose(hidden(weights, SMALL, filled, mask)[:, :7], alone, atol=1e-5)


def test_a_piece_sees_the_whole_text_and_its_order(weights) -> None:
    ids = torch.arange(10)[None]
    base = hidden(weights, SMALL, ids)
    changed = ids.clone()
    changed[0, 9] = 50
    assert not torch.allclose(hidden(weights, SMALL, changed)[0, 0], base[0, 0], atol=1e-5)
    turned = hidden(weights, SMALL, ids.flip(1)).flip(1)
    assert not torch.allclose(turned, base, atol=1e-4)


def test_rotation_makes_attention_relative() -> None:
    cosine, sine = rotation(SMALL, 12)
    generator = torch.Generator().manual_seed(1)
    query, key = (torch.randn(16, generator=generator) for _ in range(2))

    def turned(vector, at):
        first, second = vector.chunk(2)
        return vector * cosine[at] + torch.cat([-second, first]) * sine[at]

    near = turned(query, 1) @ turned(key, 4)
    far = turned(query, 8) @ turned(key, 11)
    assert near == pytest.approx(float(far), abs=1e-4)


def test_guesses_are_tied_to_the_piece_table(weights) -> None:
    changed = dict(weights)
    changed["pieces"] = weights["pieces"].clone()
    changed["pieces"][5] += 1.0
    states = hidden(weights, SMALL, torch.tensor([[1, 2, 3]]))
    apart = (guesses(changed, states) - guesses(weights, states)).abs().sum((0, 1))
    assert apart[5] > 0
    assert float(apart.sum() - apart[5]) == 0


def test_weights_come_back_as_they_were(weights) -> None:
    back, settings = from_safetensors(to_safetensors(weights, SMALL))
    assert settings == SMALL
    assert all(torch.equal(back[name], weights[name]) for name in weights)
    halves, _ = from_safetensors(to_safetensors(weights, SMALL, half=True))
    assert all(torch.allclose(halves[name], weights[name], atol=1e-3) for name in weights)


def test_altered_weights_are_refused(weights) -> None:
    content = to_safetensors(weights, SMALL)
    with pytest.raises(ModelError, match="cannot be read"):
        from_safetensors(content[:200])
    with pytest.raises(ModelError, match="cannot be read"):
        from_safetensors(b"\x80\x04not safetensors at all")
    spoilt = {**weights, "norm": weights["norm"] * float("nan")}
    with pytest.raises(ModelError, match="'norm' holds numbers that are not finite"):
        from_safetensors(to_safetensors(spoilt, SMALL))
    short = {name: tensor for name, tensor in weights.items() if name != "guess.bias"}
    with pytest.raises(ModelError, match=r"'guess.bias' is nothing"):
        from_safetensors(to_safetensors(short, SMALL))
    with pytest.raises(ModelError, match="cannot be read"):
        from_safetensors(safetensors.save(dict(weights)))


@pytest.mark.parametrize("change", [{"heads": 3}, {"layers": 0}, {"width": 30}])
def test_impossible_settings_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ModelError, match="cannot have"):
        check_settings(EncoderSettings(**{"vocabulary": 90, "width": 32, "heads": 2, **change}))
