"""What is wrong with a file that a person wrote: where, what, and what is allowed instead."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable
    from pathlib import Path

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the file, the path of its key, and a sentence about it."""

    file: Path
    keys: tuple[str, ...]
    text: str

    @property
    def key(self) -> str:
        """The path of the key as people write it: ``plans.kvm-1.vcpus``."""
        return ".".join(self.keys)


def near(name: str, known: Iterable[str]) -> str:
    """Return «; did you mean ...?», or the names that there are, for an error's end."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; there are: {', '.join(known) or 'none'}"


def problems_of(
    file: Path, above: tuple[str, ...], error: ValidationError, known: Iterable[str]
) -> list[Problem]:
    """Turn a failed validation into problems; *above* is the path of what was validated."""
    return [
        Problem(
            file,
            (*above, *(str(part) for part in _location(details))),
            _sentence(details, known),
        )
        for details in error.errors()
    ]


def _location(details: ErrorDetails) -> list[str | int]:
    # pydantic names the branch of a union as one more step; people know keys only.
    return [
        part for part in details["loc"] if not str(part).startswith(("constrained-", "literal["))
    ]


def _sentence(details: ErrorDetails, known: Iterable[str]) -> str:
    name = str(details["loc"][-1]) if details["loc"] else ""
    if details["type"] == "extra_forbidden":
        return f"unknown key{near(name, known)}"
    if details["type"] == "missing":
        return "is missing"
    text = details["msg"].removeprefix("Value error, ")
    text = text[0].lower() + text[1:]
    given = details.get("input")
    # Our own validators say what may be said of the value: it could be a private key.
    tell = details["type"] != "value_error" and isinstance(given, (str, int, float, bool))
    return f"{text} (is {given!r})" if tell else text


def one_of(known: Collection[str]) -> Callable[[str], str]:
    """Return a check that a name is among *known*: what a type's ``AfterValidator`` takes."""

    def check(name: str) -> str:
        if name not in known:
            raise ValueError(f"'{name}' is not one of {', '.join(map(repr, known))}")
        return name

    return check
