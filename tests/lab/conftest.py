"""The lab of this checkout, up."""

from __future__ import annotations

from pathlib import Path

import pytest

from hoster_lab.lab import Lab


@pytest.fixture(scope="session")
def lab() -> Lab:
    """The lab; what is missing of it is brought up first, and it stays up for the next run."""
    found = Lab(Path(__file__).parents[2])
    found.up()
    return found
