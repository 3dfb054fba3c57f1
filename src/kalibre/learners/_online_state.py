"""Taking on stored arrays: all of them are judged before any is taken."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kalibre.core.errors import LearnerError


def fitting(state: Mapping[str, Any], kept: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of a state that are to go into those that are kept.

    Raises
    ------
    LearnerError
        If one is missing or of another type or shape; the message names it.
    """
    found = {}
    for name, array in kept.items():
        given = np.asarray(state.get(name))
        if given.shape != array.shape or given.dtype != array.dtype:
            raise LearnerError(
                f"the state's {name!r} is {given.dtype} of shape {given.shape}, not {array.dtype} of {array.shape}: it "
                "is of another learner or damaged, replay the log"
            )
        found[name] = given
    return found
