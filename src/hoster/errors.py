"""What can go wrong, as classes: each message tells a person what to do next."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """Exit codes of every command, after Pulumi's table."""

    OK = 0
    ERROR = 1
    USAGE = 2
    RESOURCE = 4
    POLICY = 5
    CHANGED = 7


class HosterError(Exception):
    """An error that its reader can act upon.

    The message says what is wrong and where; ``remedy`` what to do about it.
    """

    exit_code = ExitCode.ERROR

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        """Message and remedy, a line each."""
        return f"{self.message}\n{self.remedy}" if self.remedy else self.message


class ConfigurationError(HosterError):
    """What a person wrote (inventory, declaration, option) is not valid."""

    exit_code = ExitCode.USAGE


class NoRoomError(HosterError):
    """No host node, address or uplink has room for what is asked (C2.1, C4.7)."""

    exit_code = ExitCode.RESOURCE


class RuleError(HosterError):
    """A rule of the contract or of the company forbids what is asked."""

    exit_code = ExitCode.POLICY


class ToolError(HosterError):
    """A program that this one stands on is missing, or failed."""
