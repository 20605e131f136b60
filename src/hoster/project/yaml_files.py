"""YAML read fast and strictly, and its lines found again when something has to be said of them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import yaml

from hoster.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from pathlib import Path

# libyaml where PyYAML was built with it: ten times as quick, same result.
_FastLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _StrictLoader(_FastLoader):  # type: ignore[misc]  # the base is chosen at run time
    """Refuses a key that stands twice in one mapping; YAML's own loaders keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen and key.tag != "tag:yaml.org,2002:merge":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key «{key.value}» stands twice", key.start_mark
                )
            seen.add(key.value)
        mapping: dict[Hashable, Any] = super().construct_mapping(node, deep)
        return mapping


def load(path: Path) -> Any:
    """Return what *path* holds.

    Raises:
        ConfigurationError: it cannot be read, is no YAML, or has a key twice; with file and line.
    """
    try:
        return yaml.load(path.read_bytes(), _StrictLoader)  # noqa: S506 - a SafeLoader underneath
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigurationError(f"{path}{line}: {error.problem}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: {error}") from error


def line_of(path: Path, keys: Sequence[str | int]) -> int:
    """Return the line of *keys* in *path*, or of the deepest of them that is there; 1 at least."""
    node = _composed(path, path.stat().st_mtime_ns)
    line = 0
    for key in keys:
        found = _child(node, str(key))
        if found is None:
            break
        line, node = found
    return line + 1


@functools.lru_cache(maxsize=4)
def _composed(path: Path, _changed_ns: int) -> yaml.Node | None:
    """A file's nodes, kept for the next line: what is wrong comes sorted by file."""
    node: yaml.Node | None = yaml.compose(path.read_bytes(), _FastLoader)
    return node


def _child(node: yaml.Node | None, key: str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            if name.value == key:
                return name.start_mark.line, value
    if isinstance(node, yaml.SequenceNode) and key.isdigit() and int(key) < len(node.value):
        item = node.value[int(key)]
        return item.start_mark.line, item
    return None
