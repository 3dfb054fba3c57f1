"""Fixtures that every test may use: the shared real data, and private folders."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# One thread in every numeric library: results and speed must not depend on how busy the machine is.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS"):
    os.environ.setdefault(_name, "1")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of real data beside the project, or skip: it never travels with the project."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data not found: ../shared/data is absent")
    return folder
