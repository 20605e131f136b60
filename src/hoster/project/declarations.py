"""Declarations in their files: read fast by the thousand, edited with what people wrote kept."""

from __future__ import annotations

import io
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from hoster.errors import ConfigurationError
from hoster.orders.declarations import (
    CONFIG_ACCESS,
    CONFIG_VPS,
    ClientDeclarations,
    Declarations,
    VpsDeclaration,
    parse_vps,
)
from hoster.problems import Problem, problems_of
from hoster.project import yaml_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hoster.project import Project

_PREFIX, _SUFFIX = "Pulumi.", ".yaml"
_LOCK_SECONDS = 120
_FIELDS = sorted(set(VpsDeclaration.model_fields) - {"client", "name"})


def read_all(project: Project) -> Declarations:
    """Read every client's declarations.

    Raises:
        ConfigurationError: a file is no YAML. What else is wrong stands in its ``problems``.
    """
    return Declarations(tuple(read(project.declaration(client)) for client in clients(project)))


def clients(project: Project) -> list[str]:
    """Return the clients that have a declaration, by name; no file is read."""
    files = project.program.glob(f"{_PREFIX}*{_SUFFIX}")
    return [_client(file) for file in sorted(files)]


def _client(file: Path) -> str:
    return file.name.removeprefix(_PREFIX).removesuffix(_SUFFIX)


def read_sound(project: Project) -> Declarations:
    """Read every client's declarations, for a choice that has to know them all.

    Raises:
        ConfigurationError: one of them is not valid: its address and its room would be overlooked.
    """
    return require_sound(read_all(project))


def require_sound(declared: Declarations) -> Declarations:
    """Return *declared*, for a choice that has to know them all.

    Raises:
        ConfigurationError: one of them is not valid: its address and its room would be overlooked.
    """
    lines = [
        f"{problem.file}:{yaml_files.line_of(problem.file, problem.keys)}: {problem.text}"
        for client in declared.clients
        for problem in client.problems
    ]
    if lines:
        raise ConfigurationError(
            "\n".join(lines),
            remedy="Mend this first; nothing was written. `hoster check` judges all.",
        )
    return declared


def read(file: Path) -> ClientDeclarations:
    """Read one client's declarations.

    Raises:
        ConfigurationError: the file is no YAML.
    """
    client = _client(file)
    document = yaml_files.load(file)
    config = document.get("config") if isinstance(document, dict) else None
    config = config if isinstance(config, dict) else {}
    valid, problems = [], []
    for name, fields in _entries(config, CONFIG_VPS):
        try:
            valid.append(parse_vps(client, name, fields))
        except ValidationError as error:
            problems += problems_of(file, ("config", CONFIG_VPS, name), error, _FIELDS)
    problems += [
        Problem(file, ("config", key), "must be a mapping of VPS names")
        for key in (CONFIG_VPS, CONFIG_ACCESS)
        if not isinstance(config.get(key) or {}, dict)
    ]
    sealed = {
        name: isinstance(value, dict) and set(value) == {"secure"}
        for name, value in _entries(config, CONFIG_ACCESS)
    }
    return ClientDeclarations(client, file, tuple(valid), sealed, tuple(problems))


def _entries(config: dict[str, Any], key: str) -> list[tuple[str, Any]]:
    section = config.get(key)
    return (
        [(str(name), value) for name, value in section.items()] if isinstance(section, dict) else []
    )


@contextmanager
def exclusive(project: Project) -> Iterator[None]:
    """Hold the project's lock: one choice of node and address at a time.

    Raises:
        ConfigurationError: somebody held it for two minutes.
    """
    from filelock import FileLock, Timeout

    project.state.mkdir(mode=0o700, exist_ok=True)
    lock = FileLock(project.state / "declarations.lock")
    try:
        with lock.acquire(timeout=_LOCK_SECONDS):
            yield
    except Timeout as error:
        raise ConfigurationError(
            f"somebody else is ordering: {lock.lock_file} was held for {_LOCK_SECONDS} s",
            remedy="Wait for the other command, or end it.",
        ) from error


def added(file: Path, vps: VpsDeclaration, sealed: str) -> str:
    """Return the text of *file* with *vps* and its sealed password hash added."""

    def add(document: Any) -> None:
        config = document.setdefault("config", {})
        config.setdefault(CONFIG_VPS, {})[vps.name] = vps.fields_written()
        config.setdefault(CONFIG_ACCESS, {})[vps.name] = {"secure": sealed}

    return _edited(file, add)


def with_plan(file: Path, name: str, plan: str) -> str:
    """Return the text of *file* with the plan of the VPS *name* changed, and nothing else."""

    def change(document: Any) -> None:
        document["config"][CONFIG_VPS][name]["plan"] = plan

    return _edited(file, change)


def with_system(file: Path, vps: VpsDeclaration, sealed: str | None = None) -> str:
    """Return the text of *file* with the system of *vps*, and its sealed password hash if given."""

    def change(document: Any) -> None:
        written, fields = vps.fields_written(), document["config"][CONFIG_VPS][vps.name]
        for key in ("image", "installation", "former_disk"):
            if key in written:
                fields[key] = written[key]
            else:
                fields.pop(key, None)
        if sealed is not None:
            document["config"].setdefault(CONFIG_ACCESS, {})[vps.name] = {"secure": sealed}

    return _edited(file, change)


def without(file: Path, name: str) -> str:
    """Return the text of *file* with nothing of the VPS *name*; all else stays."""

    def remove(document: Any) -> None:
        for key in (CONFIG_VPS, CONFIG_ACCESS):
            document["config"].get(key, {}).pop(name, None)

    return _edited(file, remove)


def _edited(file: Path, edit: Callable[[Any], None]) -> str:
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.util import load_yaml_guess_indent

    text = file.read_text(encoding="utf-8") if file.exists() else ""
    editor = YAML()
    editor.preserve_quotes = True
    editor.width = 10_000
    document, indent, offset = load_yaml_guess_indent(text, yaml=editor)
    if offset is None:  # no list in it yet: ours stand two spaces in
        indent, offset = 4, 2
    editor.indent(mapping=_mapping_indent(text), sequence=indent, offset=offset)
    document = document if document is not None else CommentedMap()
    edit(document)
    out = io.StringIO()
    editor.dump(document, out)
    return out.getvalue()


def _mapping_indent(text: str) -> int:
    """Return how far the file's author indents a mapping; 2 where nothing tells."""
    nested = (
        len(line) - len(line.lstrip())
        for line in text.splitlines()
        if line.startswith(" ") and line.strip() and line.lstrip()[0] not in "-#"
    )
    return next(nested, 2)
