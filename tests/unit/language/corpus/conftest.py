"""A site on loopback, for every test its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.fakes.news_site import Site, site


@pytest.fixture
def web() -> Iterator[Site]:
    with site() as running:
        yield running
