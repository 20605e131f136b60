"""What every value of the catalogue is made of."""

from __future__ import annotations

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

NAME = r"^[a-z][a-z0-9-]{0,29}[a-z0-9]$|^[a-z]$"
_LAST_PORT = 65535


def zone(name: str) -> str:
    """Return the name of a time zone as it is.

    Raises:
        ValueError: there is no such zone.
    """
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise ValueError(f"«{name}» is no time zone; one is Europe/Paris") from error
    return name


def text(value: object) -> object:
    """Return a text as it is.

    Raises:
        ValueError: YAML read it as something else, a number for one.
    """
    if isinstance(value, str):
        return value
    raise ValueError("must be a text: put it between quotes")


def port(value: int | str) -> int | str:
    """Return a port or a range of ports as it is.

    Raises:
        ValueError: it is none.
    """
    first, dash, last = str(value).partition("-")
    numbers = [
        int(part) if part.isascii() and part.isdigit() else 0 for part in (first, last or first)
    ]
    if not 0 < numbers[0] <= numbers[1] <= _LAST_PORT or (dash and numbers[0] == numbers[1]):
        raise ValueError(f"«{value}» is no port, nor a range such as 6881-6889")
    return value


Name = Annotated[str, Field(pattern=NAME)]


Positive = Annotated[int, Field(gt=0)]


Quoted = Annotated[str, BeforeValidator(text), Field(min_length=1)]


class Value(BaseModel):
    """A value that is validated once and then never changes; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")
