"""Pulumi's property values as plain Python, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf import struct_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Constants of Pulumi's wire format (sdk/go/common/resource/properties.go).
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_SECRET = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a signature, not a secret
_OUTPUT = "d0e6a833031e9bbcd3f4e8bde6ca49a4"
_UNKNOWN_TEXTS = frozenset(
    {
        "04da6b54-80e4-46f7-96ec-b56ff0331ba9",  # bool and every other value
        "3eeb2bf0-c639-47a8-9e75-3b44932eb421",
        "6a19a0b0-7e62-4c92-b797-7f8e31da9cc2",
        "030794c1-ac77-496b-92df-f27374a8bd58",
        "e48ece36-62e2-4504-bad9-02848725956a",
        "dd056dcd-154b-4c76-9bd3-c8f88648b5ff",
    }
)


class _Unknown:
    """A value that only a real run knows."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = _Unknown()


def plain(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Return *struct* as Python values: whole numbers as ``int``, unknowns as ``UNKNOWN``."""
    return {key: _plain(value) for key, value in struct.fields.items()}


def secrets(struct: struct_pb2.Struct) -> set[str]:
    """Return the top-level keys of *struct* that hold a secret, at any depth."""
    return {key for key, value in struct.fields.items() if _is_secret(value)}


def wire(values: Mapping[str, Any], secret_keys: Iterable[str] = ()) -> struct_pb2.Struct:
    """Return *values* for the wire, those under *secret_keys* wrapped as secrets."""
    hidden = set(secret_keys)
    fields = {
        key: _secret(_wire(value)) if key in hidden else _wire(value)
        for key, value in values.items()
        if value is not None
    }
    return struct_pb2.Struct(fields=fields)


def _plain(value: struct_pb2.Value) -> Any:  # noqa: PLR0911 - one return a kind
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "string_value":
        return UNKNOWN if value.string_value in _UNKNOWN_TEXTS else value.string_value
    if kind == "bool_value":
        return value.bool_value
    if kind == "list_value":
        return [_plain(item) for item in value.list_value.values]
    if kind == "struct_value":
        fields = value.struct_value.fields
        if _signature(value) in {_SECRET, _OUTPUT}:
            return _plain(fields["value"]) if "value" in fields else UNKNOWN
        return {key: _plain(item) for key, item in fields.items()}
    return None


def _signature(value: struct_pb2.Value) -> str:
    fields = value.struct_value.fields
    return fields[_SIGNATURE].string_value if _SIGNATURE in fields else ""


def _is_secret(value: struct_pb2.Value) -> bool:
    kind = value.WhichOneof("kind")
    if kind == "list_value":
        return any(_is_secret(item) for item in value.list_value.values)
    if kind != "struct_value":
        return False
    fields = value.struct_value.fields
    if _signature(value) == _SECRET:
        return True
    if _signature(value) == _OUTPUT and fields["secret"].bool_value:
        return True
    return any(_is_secret(item) for item in fields.values())


def _wire(value: Any) -> struct_pb2.Value:  # noqa: PLR0911 - one return a kind
    if value is UNKNOWN:
        return struct_pb2.Value(string_value="04da6b54-80e4-46f7-96ec-b56ff0331ba9")
    if isinstance(value, bool):
        return struct_pb2.Value(bool_value=value)
    if isinstance(value, int | float):
        return struct_pb2.Value(number_value=value)
    if isinstance(value, str):
        return struct_pb2.Value(string_value=value)
    if isinstance(value, dict):
        return struct_pb2.Value(struct_value=wire(value))
    if isinstance(value, list | tuple):
        items = struct_pb2.ListValue(values=[_wire(item) for item in value])
        return struct_pb2.Value(list_value=items)
    return struct_pb2.Value(null_value=struct_pb2.NULL_VALUE)


def _secret(value: struct_pb2.Value) -> struct_pb2.Value:
    fields = {_SIGNATURE: struct_pb2.Value(string_value=_SECRET), "value": value}
    return struct_pb2.Value(struct_value=struct_pb2.Struct(fields=fields))
