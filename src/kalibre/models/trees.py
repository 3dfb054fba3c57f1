"""LightGBM's text format, read into flat arrays: what a model needs to be asked, without LightGBM."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError
from kalibre.core.protocols import FloatArray

_OBJECTIVE = "binary sigmoid:1"
_NUMERIC_DECISIONS = frozenset({"0", "2"})
"""`value <= threshold` without special treatment of missing values; bit 1, the default side, plays no part then."""


_END = re.compile(r"\nend of parameters\n\npandas_categorical:(null|\[.*\])\n?\Z")


@dataclass(frozen=True)
class Trees:
    """Boosted trees of one binary classifier, the nodes of all trees behind each other.

    Parameters
    ----------
    columns
        Feature names.
    roots
        Shape (n_trees,); a negative root is the leaf `~root` of a tree without splits.
    feature, threshold, left, right, gain
        Shape (n_nodes,): column, `value <= threshold` goes left, children (negative: leaf `~child`), split gain.
    leaf
        Shape (n_leaves,), log-odds.
    """

    columns: tuple[str, ...]
    roots: NDArray[np.int32]
    feature: NDArray[np.int32]
    threshold: FloatArray
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    gain: FloatArray
    leaf: FloatArray


def parse(text: str) -> Trees:
    """Read a binary classifier from LightGBM's text format.

    Raises
    ------
    ModelError
        If the text is cut off, is of another objective, splits on categories or on missing values, or its trees do not
        hold together; the message quotes the line.
    """
    head, separator, body = text.partition("\nTree=")
    fields = _fields(head)
    objective = fields.get("objective")
    if not text.startswith("tree\n") or not separator:
        raise ModelError(
            f"text that begins {text[:40]!r} is no LightGBM model: pass what Booster.model_to_string gives"
        )
    if "\nend of trees\n" not in text or not _END.search(text):
        raise ModelError(f"LightGBM text ends in {text[-40:]!r}, before its end: it was cut off, restore the file")
    if objective != _OBJECTIVE:
        raise ModelError(f"LightGBM text has objective {objective!r}, not {_OBJECTIVE!r}: train a binary classifier")
    columns = tuple(fields["feature_names"].split(" "))
    collected: dict[str, list[NDArray[np.float64]]] = {name: [] for name in _ARRAYS}
    roots: list[int] = []
    n_nodes = n_leaves = 0
    for number, block in enumerate(body.partition("\nend of trees\n")[0].split("\nTree=")):
        arrays = _tree(number, block, len(columns))
        splits, leaves = len(arrays["split_feature"]), len(arrays["leaf_value"])
        roots.append(n_nodes if splits else ~n_leaves)
        for side in ("left_child", "right_child"):
            child = arrays[side]
            arrays[side] = np.where(child >= 0, child + n_nodes, child - n_leaves)
        for name, values in arrays.items():
            collected[name].append(values)
        n_nodes, n_leaves = n_nodes + splits, n_leaves + leaves
    flat = {name: np.concatenate(values) for name, values in collected.items()}
    return Trees(
        columns=columns,
        roots=np.array(roots, dtype=np.int32),
        feature=flat["split_feature"].astype(np.int32),
        threshold=flat["threshold"],
        left=flat["left_child"].astype(np.int32),
        right=flat["right_child"].astype(np.int32),
        gain=flat["split_gain"],
        leaf=flat["leaf_value"],
    )


_ARRAYS = ("split_feature", "threshold", "left_child", "right_child", "split_gain", "leaf_value")


def _fields(block: str) -> dict[str, str]:
    return dict(line.split("=", 1) for line in block.splitlines() if "=" in line)


def _tree(number: int, block: str, n_columns: int) -> dict[str, NDArray[np.float64]]:
    fields = _fields("Tree=" + block)
    try:
        n_leaves = int(fields["num_leaves"])
        splits = n_leaves - 1
        arrays = {name: np.array(fields.get(name, "").split(), dtype=np.float64) for name in _ARRAYS}
        decisions = set(fields.get("decision_type", "").split())
    except (KeyError, ValueError) as error:
        raise ModelError(f"tree {number} of the LightGBM text cannot be read: {error}; restore the file") from error
    if splits == 0:
        arrays |= {name: np.empty(0) for name in _ARRAYS[:-1]}
    lengths = {name: len(values) for name, values in arrays.items()}
    if lengths != {**dict.fromkeys(_ARRAYS, splits), "leaf_value": n_leaves}:
        raise ModelError(f"tree {number} of {n_leaves} leaves holds arrays of {lengths}: restore the file")
    if splits and not decisions <= _NUMERIC_DECISIONS:
        raise ModelError(
            f"tree {number} has decision types {sorted(decisions)}: only plain numeric splits (0, 2) are supported; "
            "train with use_missing=false and no categories"
        )
    node = np.arange(splits)
    for side in ("left_child", "right_child"):
        child = arrays[side]
        # LightGBM numbers a child after its parent; with that, every walk ends.
        if ((child >= 0) & ((child <= node) | (child >= splits))).any() or (~child.astype(int) >= n_leaves).any():
            raise ModelError(
                f"tree {number}: {side} {child.astype(int).tolist()} does not form a tree: restore the file"
            )
    used = arrays["split_feature"]
    if ((used < 0) | (used >= n_columns)).any():
        raise ModelError(f"tree {number} splits on column {int(used.max())} of {n_columns}: restore the file")
    if not all(np.isfinite(arrays[name]).all() for name in ("threshold", "leaf_value")):
        raise ModelError(f"tree {number} holds a threshold or leaf that is not finite: restore the file")
    return arrays
