"""What people and guests receive: the files under ``templates/``, rendered strictly."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

_PACKAGED = Path(__file__).parent / "templates"


def folder() -> Path:
    """Return the absolute path of ``templates/``: the checkout's, or the one in the wheel."""
    return _PACKAGED if _PACKAGED.is_dir() else Path(__file__).resolve().parents[2] / "templates"


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder()),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - plain text, YAML and XML of values checked before
    )


def render(name: str, **values: object) -> str:
    """Render the template *name*.

    Raises:
        jinja2.UndefinedError: a value that the template needs is missing.
    """
    return _environment().get_template(name).render(**values)
