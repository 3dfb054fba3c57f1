"""The packages that the neural tier needs: tests of it run where they are, and must run under CI."""

from __future__ import annotations

import importlib
import os
import warnings
from types import ModuleType

import pytest


def import_or_skip(*names: str) -> list[ModuleType]:
    """Import packages; without one skip, but under CI fail: there the tests must run."""
    found = []
    for name in names:
        try:
            with warnings.catch_warnings():
                # What a package says while it is imported is not about the code under test.
                warnings.simplefilter("ignore")
                found.append(importlib.import_module(name))
        except ImportError as error:
            words = f"{name} is not installed ({error}): pip install -c constraints.txt {name}"
            if os.environ.get("CI", "").lower() == "true":
                pytest.fail(words)
            pytest.skip(words, allow_module_level=True)
    return found
