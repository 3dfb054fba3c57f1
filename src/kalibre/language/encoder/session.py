"""An ONNX file at work: onnxruntime on a CPU, one text at a time, no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import ModelError


class Session:
    """Runs an exported encoder.

    Parameters
    ----------
    content
        The ONNX file.
    threads
        Of onnxruntime, for one text.

    Raises
    ------
    ModelError
        If onnxruntime is not installed, or cannot read the file.
    """

    def __init__(self, content: bytes, *, threads: int = 1) -> None:
        try:
            import onnxruntime
        except ImportError:
            raise ModelError(
                "builtin:encoder and what is trained from it need the package 'onnxruntime': "
                "pip install 'kalibre[encoder]', or choose builtin:fast"
            ) from None
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session: Any = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors share no base but this
            raise ModelError(f"the ONNX file cannot be read ({error}): restore it or export it anew") from error

    def run(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Return the graph's output for one text of pieces."""
        found: NDArray[np.float32] = self._session.run(["out"], {"ids": np.array([list(ids)], dtype=np.int64)})[0][0]
        return found
