"""The encoder as an ONNX graph, written node by node from its named weights: no tracer, no torch.

Weights become 8-bit integers with a scale a column (a row for the piece table), activations are quantised as they come,
a text at a time: the graph takes texts of one length without filling, so that a text's result never depends on what
stands beside it. Weights use 7 of the 8 bits: processors without VNNI add two products in 16 bits, which the eighth
could overflow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from kalibre.language.encoder.model import EPSILON, EncoderSettings

Kind = Literal["hidden", "text", "pieces"]
"""What comes out: hidden states; the head's logits of a whole text; or of each piece."""

OPSET, IR = 17, 8
STEPS = 63
"""Steps of a weight to either side of zero."""

Arrays = Mapping[str, NDArray[np.float32]]


def quantised(matrix: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Round a matrix to integers with one scale for each slice across `axis`.

    Returns
    -------
    The integers, in -63 to 63, and the scales, with `axis` kept at length 1: integers times scales is near the matrix.
    """
    scale = np.maximum(np.abs(matrix).max(axis=axis, keepdims=True), 1e-12) / STEPS
    return np.rint(matrix / scale).astype(np.int8), scale.astype(np.float32)


def build(arrays: Arrays, settings: EncoderSettings, kind: Kind = "hidden", *, exact: bool = False) -> bytes:
    """Write the graph.

    Parameters
    ----------
    arrays
        The encoder's weights; with `head.weight` (classes, width) and `head.bias` (classes,) where there is a head.
    settings
        Of the encoder.
    kind
        What comes out.
    exact
        Keep 32-bit numbers: to tell an error of the graph from one of rounding.

    Returns
    -------
    The ONNX file: input `ids` (texts, pieces) of 64-bit integers, output `out`.
    """
    from onnx import TensorProto, helper

    graph = _Graph(exact)
    state = graph.looked_up(arrays["pieces"], "ids")
    state = graph.normed(state, arrays["pieces_norm"])
    turn = graph.rotation(settings)
    for layer in range(settings.layers):
        part = {name.partition(".")[2]: arrays[name] for name in arrays if name.startswith(f"layer{layer}.")}
        state = _layer(graph, state, part, settings, turn)
    state = graph.normed(state, arrays["norm"])
    width: Any = settings.width
    if kind != "hidden":
        if kind == "text":
            state = graph.node("ReduceMean", state, axes=[1], keepdims=0)
        head = graph.constant(np.ascontiguousarray(arrays["head.weight"].T, dtype=np.float32))
        state = graph.node("Add", graph.node("MatMul", state, head), graph.constant(arrays["head.bias"]))
        width = len(arrays["head.bias"])
    graph.nodes.append(helper.make_node("Identity", [state], ["out"]))
    shape = ["texts", width] if kind == "text" else ["texts", "pieces", width]
    model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "kalibre-encoder",
            [helper.make_tensor_value_info("ids", TensorProto.INT64, ["texts", "pieces"])],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, shape)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR,
        producer_name="kalibre",
    )
    return bytes(model.SerializeToString(deterministic=True))


def _layer(graph: _Graph, state: str, part: Arrays, settings: EncoderSettings, turn: tuple[str, str, str]) -> str:
    heads, deep = settings.heads, settings.width // settings.heads
    entering = graph.normed(state, part["attention_norm"])
    joined = graph.linear(entering, np.concatenate([part["query"], part["key"], part["value"]]))
    split = graph.node("Reshape", joined, graph.constant(np.array([0, 0, 3 * heads, deep])))
    query, key, value = graph.split(graph.node("Transpose", split, perm=[0, 2, 1, 3]), [heads] * 3, axis=1)
    query, key = (graph.turned(graph.normed(vector), turn) for vector in (query, key))
    key = graph.node("Transpose", key, perm=[0, 1, 3, 2])
    query = graph.node("Mul", query, graph.constant(np.float32(deep**-0.5)))
    attention = graph.node("Softmax", graph.node("MatMul", query, key), axis=-1)
    attended = graph.node("Transpose", graph.node("MatMul", attention, value), perm=[0, 2, 1, 3])
    attended = graph.node("Reshape", attended, graph.constant(np.array([0, 0, settings.width])))
    state = graph.node("Add", state, graph.linear(attended, part["attended"]))
    entering = graph.normed(state, part["mlp_norm"])
    opened = graph.linear(entering, np.concatenate([part["gate"], part["up"]]))
    gate, up = graph.split(opened, [settings.inner] * 2, axis=2)
    gated = graph.node("Mul", graph.node("Mul", gate, graph.node("Sigmoid", gate)), up)
    return graph.node("Add", state, graph.linear(gated, part["down"]))


class _Graph:
    """Nodes and constants as they are written."""

    def __init__(self, exact: bool) -> None:
        self._exact = exact
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return its name."""
        return self._many(kind, inputs, 1, **attributes)[0]

    def _many(self, kind: str, inputs: tuple[str, ...], outputs: int, **attributes: Any) -> list[str]:
        from onnx import helper

        names = [f"n{len(self.nodes)}_{number}" for number in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def constant(self, array: Any) -> str:
        """Add a constant and return its name."""
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def split(self, vector: str, parts: list[int], axis: int) -> list[str]:
        """Cut along an axis."""
        return self._many("Split", (vector, self.constant(np.array(parts))), len(parts), axis=axis)

    def looked_up(self, table: NDArray[np.float32], ids: str) -> str:
        """Look pieces up in their table."""
        if self._exact:
            return self.node("Gather", self.constant(table.astype(np.float32)), ids)
        whole, scale = quantised(table, axis=1)
        rows = self.node("Cast", self.node("Gather", self.constant(whole), ids), to=1)
        return self.node("Mul", rows, self.node("Gather", self.constant(scale), ids))

    def linear(self, vector: str, matrix: NDArray[np.float32]) -> str:
        """Multiply by a matrix of shape (out, in), as torch stores it."""
        turned = np.ascontiguousarray(matrix.T, dtype=np.float32)
        if self._exact:
            return self.node("MatMul", vector, self.constant(turned))
        whole, scale = quantised(turned, axis=0)
        rounded, step, zero = self._many("DynamicQuantizeLinear", (vector,), 3)
        none = self.constant(np.int8(0))
        product = self.node("Cast", self.node("MatMulInteger", rounded, self.constant(whole), zero, none), to=1)
        return self.node("Mul", product, self.node("Mul", step, self.constant(scale[0])))

    def normed(self, vector: str, gain: NDArray[np.float32] | None = None) -> str:
        """Scale to a root mean square of 1, then by the gain."""
        square = self.node("Pow", vector, self.constant(np.float32(2.0)))
        mean = self.node("ReduceMean", square, axes=[-1], keepdims=1)
        root = self.node("Sqrt", self.node("Add", mean, self.constant(np.float32(EPSILON))))
        scaled = self.node("Div", vector, root)
        return scaled if gain is None else self.node("Mul", scaled, self.constant(gain.astype(np.float32)))

    def rotation(self, settings: EncoderSettings) -> tuple[str, str, str]:
        """Return cosine and sine of the positions of this text, and where a head's two halves part."""
        half = settings.width // settings.heads // 2
        angles = np.arange(settings.length)[:, None] * settings.rotary_base ** (-np.arange(half) / half)[None, :]
        angles = np.concatenate([angles, angles], axis=1)
        long = self.node("Gather", self.node("Shape", "ids"), self.constant(np.array([1])))
        zero = self.constant(np.array([0]))
        cosine, sine = (
            self.node("Slice", self.constant(table.astype(np.float32)), zero, long, zero)
            for table in (np.cos(angles), np.sin(angles))
        )
        return cosine, sine, self.constant(np.array([half, half]))

    def turned(self, vector: str, turn: tuple[str, str, str]) -> str:
        """Turn queries or keys by their position."""
        cosine, sine, halves = turn
        first, second = self._many("Split", (vector, halves), 2, axis=3)
        other = self.node("Concat", self.node("Neg", second), first, axis=3)
        return self.node("Add", self.node("Mul", vector, cosine), self.node("Mul", other, sine))
