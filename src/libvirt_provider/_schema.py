"""What a resource's properties may be: unknown, unsupported and ill-typed ones are named."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from libvirt_provider._values import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True)
class Failure:
    """A property that cannot be taken, and why."""

    property: str
    reason: str


@dataclass(frozen=True)
class Kind:
    """What a property holds.

    ``python`` is the type, ``word`` what a person calls it, ``fields`` the properties of an
    object, ``items`` the kind of a list's items, ``choices`` the only values taken, ``least``
    the smallest number, ``refused`` why the property is not supported at all.
    """

    python: type
    word: str
    fields: Mapping[str, Kind] = field(default_factory=dict)
    items: Kind | None = None
    choices: tuple[Any, ...] = ()
    least: int | None = None
    refused: str = ""
    required: bool = False


TEXT = Kind(str, "a string")
REQUIRED_TEXT = Kind(str, "a string", required=True)
FLAG = Kind(bool, "true or false")
ANY_MAP = Kind(dict, "a map")
XML = Kind(dict, "an object", fields={"xslt": TEXT})


def number(least: int = 0) -> Kind:
    """A whole number of at least *least*."""
    return Kind(int, "a whole number", least=least)


def choice(*values: Any) -> Kind:
    """One of *values*, all of one type."""
    return Kind(type(values[0]), "one of " + ", ".join(map(repr, values)), choices=values)


def items_of(kind: Kind) -> Kind:
    """A list whose every item is of *kind*."""
    return Kind(list, "a list", items=kind)


def object_of(**fields: Kind) -> Kind:
    """An object with *fields*."""
    return Kind(dict, "an object", fields=fields)


def refused(reason: str) -> Kind:
    """A property of the SDK that this provider does not support."""
    return Kind(object, "", refused=reason)


def failures(fields: Mapping[str, Kind], values: Mapping[str, Any]) -> list[Failure]:
    """Return everything that is wrong with *values*, not the first only."""
    return list(_object_failures(fields, values, ""))


def _object_failures(
    fields: Mapping[str, Kind], values: Mapping[str, Any], path: str
) -> Iterator[Failure]:
    for name, value in values.items():
        if value is None or name.startswith("__"):
            continue
        where = f"{path}{name}"
        if name not in fields:
            yield Failure(where, _unknown(name, fields))
        else:
            yield from _value_failures(fields[name], value, where)
    for name, kind in fields.items():
        if kind.required and values.get(name) is None:
            yield Failure(f"{path}{name}", "is required")


def _unknown(name: str, fields: Mapping[str, Kind]) -> str:
    supported = sorted(known for known, kind in fields.items() if not kind.refused)
    near = get_close_matches(name, supported, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"is not known; {hint}supported: {', '.join(supported)}"


def _value_failures(kind: Kind, value: Any, where: str) -> Iterator[Failure]:
    if value is UNKNOWN:
        return
    if kind.refused:
        yield Failure(where, f"is not supported by this provider: {kind.refused}")
    elif not _fits(kind, value):
        yield Failure(where, f"must be {kind.word}, not {_shown(value)}")
    elif kind.items:
        for index, item in enumerate(value):
            yield from _value_failures(kind.items, item, f"{where}[{index}]")
    elif kind.fields:
        yield from _object_failures(kind.fields, value, f"{where}.")
    elif kind.least is not None and value < kind.least:
        yield Failure(where, f"must be at least {kind.least}, not {value}")


def _fits(kind: Kind, value: Any) -> bool:
    if kind.choices:
        return value in kind.choices
    if isinstance(value, bool) and kind.python is not bool:
        return False
    return isinstance(value, kind.python)


def _shown(value: Any) -> str:
    # Never the value itself where it may hold a secret.
    if isinstance(value, bool | int | float):
        return repr(value)
    return {"str": "a string", "list": "a list", "dict": "an object"}[type(value).__name__]
