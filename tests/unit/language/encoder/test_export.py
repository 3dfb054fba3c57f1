"""The ONNX file says what torch says, is small, and stands on its own."""

import numpy as np
import pytest
from tests.fakes.torch_stack import import_or_skip

from kalibre.core.errors import ModelError
from kalibre.language.encoder.export import check_parity, parity, to_onnx
from kalibre.language.encoder.graph import STEPS, quantised
from kalibre.language.encoder.model import EncoderSettings, initial
from kalibre.language.encoder.session import Session

torch, onnx, _ = import_or_skip("torch", "onnx", "onnxruntime")

SMALL = EncoderSettings(vocabulary=200, width=64, layers=3, heads=2, inner=96, length=50)


@pytest.fixture(scope="module")
def weights():
    generator = torch.Generator().manual_seed(1)
    found = initial(SMALL, seed=1)
    # Gains as training leaves them, so that none may be forgotten.
    for name, tensor in found.items():
        if name.endswith("norm"):
            found[name] = tensor + 0.3 * torch.randn(tensor.shape, generator=generator)
    found["head.weight"] = torch.randn((3, 64), generator=generator)
    found["head.bias"] = torch.randn(3, generator=generator)
    return found


@pytest.fixture(scope="module")
def texts() -> list[list[int]]:
    drawn = np.random.default_rng(0)
    return [drawn.integers(0, 200, size=size).tolist() for size in (1, 2, 9, 50)]


@pytest.mark.parametrize("kind", ["hidden", "text", "pieces"])
def test_the_exact_graph_is_torch_to_rounding(weights, texts, kind) -> None:
    content = to_onnx(weights, SMALL, kind, exact=True)
    figures = parity(content, weights, SMALL, kind, texts)
    assert figures["relative"] < 1e-5
    assert figures["agree"] == 1.0
    onnx.checker.check_model(onnx.load_from_string(content))


@pytest.mark.parametrize("kind", ["hidden", "text", "pieces"])
def test_the_rounded_graph_is_near_torch_and_small(weights, texts, kind) -> None:
    content = to_onnx(weights, SMALL, kind)
    assert check_parity(parity(content, weights, SMALL, kind, texts), relative=0.05, agree=0.9)["relative"] > 0
    assert len(content) < 0.35 * len(to_onnx(weights, SMALL, kind, exact=True))
    held = {constant.name: constant for constant in onnx.load_from_string(content).graph.initializer}
    large = [constant for constant in held.values() if np.prod(constant.dims or [1]) > 4_000]
    assert large
    assert {constant.data_type for constant in large} == {onnx.TensorProto.INT8}


def test_the_same_weights_give_the_same_bytes(weights) -> None:
    assert to_onnx(weights, SMALL, "text") == to_onnx(weights, SMALL, "text")


def test_a_planted_error_is_caught(weights, texts) -> None:
    content = to_onnx({**weights, "layer1.down": weights["layer1.down"] * -3}, SMALL, "text")
    with pytest.raises(ModelError, match="does not say what torch says"):
        check_parity(parity(content, weights, SMALL, "text", texts), relative=0.05)
    with pytest.raises(ModelError, match="no texts"):
        parity(content, weights, SMALL, "text", [])


def test_too_large_an_encoder_is_refused() -> None:
    wide = EncoderSettings(vocabulary=120_000, width=256, layers=1, heads=2, inner=64)
    with pytest.raises(ModelError, match="over the 30 MB"):
        to_onnx(initial(wide), wide)


def test_the_shape_that_ships_is_under_thirty_megabytes() -> None:
    from kalibre.language.encoder.export import LARGEST_BYTES

    settings = EncoderSettings(vocabulary=32_000)
    tables = settings.rows * (settings.width + 4) + settings.parameters - settings.rows * (settings.width + 1)
    assert tables < LARGEST_BYTES


def test_a_torn_file_is_refused(weights) -> None:
    with pytest.raises(ModelError, match="ONNX file cannot be read"):
        Session(to_onnx(weights, SMALL)[:500])


def test_quantisation_is_within_half_a_step() -> None:
    matrix = np.random.default_rng(0).normal(size=(7, 11)).astype(np.float32)
    whole, scale = quantised(matrix, axis=0)
    assert np.abs(whole).max() <= STEPS
    assert (np.abs(whole * scale - matrix) <= scale / 2 + 1e-7).all()
    zero, _ = quantised(np.zeros((3, 3), dtype=np.float32), axis=1)
    assert not zero.any()
