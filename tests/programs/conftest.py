"""The real engine for tests that need it."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pulumi_path() -> str:
    """Return a PATH with this interpreter and the engine that scripts/setup installed."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "hoster" / "bin"
    path = f"{Path(sys.executable).parent}:{cache}:{os.environ['PATH']}"
    if shutil.which("pulumi", path=path) is None:
        pytest.fail("no pulumi on PATH nor in the cache: run scripts/setup --for test")
    return path
