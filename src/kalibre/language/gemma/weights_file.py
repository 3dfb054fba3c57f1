"""Reads a GGUF file: its told values, and tensors or rows of them as numbers.

The package `gguf` reads a list of a quarter of a million words one by one, for ten seconds; here a list is read at
once. What the numbers mean (4 to 8 bits with scales) is the package's.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError

_NUMBERS = dict(enumerate(("<u1", "<i1", "<u2", "<i2", "<u4", "<i4", "<f4", "?", "", "", "<u8", "<i8", "<f8")))
_STRING, _LIST = 8, 9
_MOST = 1 << 24


class Tensor(NamedTuple):
    """Where a tensor lies: its shape (rows first), its kind of numbers, its first byte."""

    shape: tuple[int, ...]
    kind: int
    start: int


class WeightsFile:
    """An open GGUF file.

    Attributes
    ----------
    told
        Values by name.
    tensors
        Tensors by name.

    Raises
    ------
    ModelError
        If it is no such file, or ends early.
    """

    def __init__(self, path: Path) -> None:
        self.told: dict[str, Any] = {}
        self.tensors: dict[str, Tensor] = {}
        self._at = 4
        try:
            with path.open("rb") as stream:
                self._bytes = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
            if self._bytes[:4] != b"GGUF":
                raise ModelError(f"{str(path)!r} is no GGUF file: install the package anew")
            self._header()
        except (OSError, ValueError, struct.error, UnicodeDecodeError, KeyError) as error:
            raise ModelError(f"{str(path)!r} cannot be read as GGUF ({error}): install the package anew") from error

    def numbers(self, name: str, rows: Sequence[int] | None = None) -> NDArray[np.float32]:
        """Return a tensor, or some of its rows, as 32-bit numbers.

        Raises
        ------
        ModelError
            If there is no such tensor, or it is not all there.
        """
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
        from gguf.quants import dequantize

        if name not in self.tensors:
            raise ModelError(f"the weights lack {name!r}: install the package anew")
        shape, number, start = self.tensors[name]
        kind = GGMLQuantizationType(number)
        block, size = GGML_QUANT_SIZES[kind]
        wide = shape[-1] // block * size
        count = int(np.prod(shape[:-1], dtype=np.int64))
        if start + count * wide > len(self._bytes):
            raise ModelError(f"the weights end within {name!r}: install the package anew")
        data = np.frombuffer(self._bytes, np.uint8, count * wide, start).reshape(count, wide)
        if rows is not None:
            data, shape = data[list(rows)], (len(rows), *shape[1:])
        plain = {GGMLQuantizationType.F32: np.float32, GGMLQuantizationType.F16: np.float16}
        if kind in plain:
            return np.ascontiguousarray(data).view(plain[kind]).reshape(shape).astype(np.float32)
        found: NDArray[np.float32] = dequantize(data, kind).reshape(shape)
        return found

    # --- the header ---------------------------------------------------------------------------------------------------

    def _header(self) -> None:
        version, many_tensors, many_values = self._take("<I"), self._take("<Q"), self._take("<Q")
        if version < 2 or many_tensors > _MOST or many_values > _MOST:
            raise ValueError(f"version {version}, {many_tensors} tensors, {many_values} values")
        for _ in range(many_values):
            name = self._word()
            self.told[name] = self._value(self._take("<I"))
        found = {}
        for _ in range(many_tensors):
            name = self._word()
            sizes = [self._take("<Q") for _ in range(self._take("<I"))]
            found[name] = Tensor(tuple(reversed(sizes)), self._take("<I"), self._take("<Q"))
        step = int(self.told.get("general.alignment", 32))
        begin = -(-self._at // step) * step
        self.tensors = {name: one._replace(start=begin + one.start) for name, one in found.items()}

    def _take(self, form: str) -> Any:
        (found,) = struct.unpack_from(form, self._bytes, self._at)
        self._at += struct.calcsize(form)
        return found

    def _word(self) -> str:
        length = self._take("<Q")
        if length > len(self._bytes) - self._at:
            raise ValueError("the file ends within a word")
        self._at += length
        return self._bytes[self._at - length : self._at].decode("utf-8")

    def _value(self, kind: int) -> Any:
        if kind == _STRING:
            return self._word()
        if kind == _LIST:
            inner, count = self._take("<I"), self._take("<Q")
            if count > _MOST:
                raise ValueError(f"a list of {count:,} values")
            if inner in (_STRING, _LIST):
                return [self._value(inner) for _ in range(count)]
            numbers = np.frombuffer(self._bytes, _NUMBERS[inner], count, self._at)
            self._at += numbers.nbytes
            return numbers.tolist()
        number = np.frombuffer(self._bytes, _NUMBERS[kind], 1, self._at)
        self._at += number.nbytes
        return number[0].item()
