"""What an act says when it is done: a value, and its one form for programs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

Clock = Callable[[], datetime]
"""What an act reads the hour from, an aware one, whenever it notes something."""


class Reply(ABC):
    """What an act says; the command line, playbooks and pages print it, each in its own way."""

    @abstractmethod
    def as_json(self) -> dict[str, Any]:
        """Return it for programs, with stable keys; ``changed`` says whether it was news."""

    def remarks(self) -> list[str]:
        """Return what people should know besides, a line each."""
        return []

    def lines(self) -> list[str]:
        """Return it for people, where it is a table."""
        return []


@dataclass(frozen=True)
class Changed(Reply):
    """Whether an act changed anything."""

    changed: bool

    def as_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {"changed": self.changed}
