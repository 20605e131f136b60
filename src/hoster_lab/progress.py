"""Tells a person at a terminal what takes so long, and for how long already."""

from __future__ import annotations

import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO


class Progress:
    """Lines on stderr, each with the seconds since the start; steps may run side by side."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._started = time.monotonic()
        self._lock = threading.Lock()

    def say(self, text: str) -> None:
        """Print one line."""
        with self._lock:
            elapsed = time.monotonic() - self._started
            print(f"[{elapsed:6.1f} s] {text}", file=self._stream or sys.stderr, flush=True)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Announce a long step, then say how long it took, or that it failed."""
        self.say(f"{text} ...")
        started = time.monotonic()
        try:
            yield
        except BaseException:
            self.say(f"{text}: failed after {time.monotonic() - started:.1f} s")
            raise
        self.say(f"{text}: done in {time.monotonic() - started:.1f} s")
