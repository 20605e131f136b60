"""What people and guests receive: the files under ``templates/``, rendered strictly."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

_LOCALES = {"en": "en_GB", "fr": "fr_FR"}
_UNITS = {
    10**12: {"en": "TB", "fr": "To"},
    10**9: {"en": "GB", "fr": "Go"},
    10**6: {"en": "MB", "fr": "Mo"},
}
_PACKAGED = Path(__file__).parent / "templates"


def folder() -> Path:
    """Return the absolute path of ``templates/``: the checkout's, or the one in the wheel."""
    return _PACKAGED if _PACKAGED.is_dir() else Path(__file__).resolve().parents[2] / "templates"


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder()),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # noqa: S701 - plain text, YAML and XML of values checked before
    )
    environment.filters |= {"moment": moment, "volume": volume}
    return environment


def moment(iso: str, timezone: str, language: str) -> str:
    """Return a time for people of that *language*, where their clocks show *timezone*."""
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from babel.dates import format_date

    here = datetime.fromisoformat(iso).astimezone(ZoneInfo(timezone))
    day = format_date(here, "long", locale=_LOCALES[language])
    return f"{day}, {here:%H:%M} ({timezone})"


def volume(bytes_: int, language: str) -> str:
    """Return a volume for people of that *language*, in decimal units: the contract's (C4.9)."""
    from babel.numbers import format_decimal

    unit = next((unit for unit in _UNITS if bytes_ >= unit), min(_UNITS))
    number = format_decimal(bytes_ / unit, "#,##0.##", locale=_LOCALES[language])
    return f"{number} {_UNITS[unit][language]}"


def render(name: str, **values: object) -> str:
    """Render the template *name*.

    Raises:
        jinja2.UndefinedError: a value that the template needs is missing.
    """
    return _environment().get_template(name).render(**values)
