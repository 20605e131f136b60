"""Operating systems on sale, and their releases (C4.1)."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from hoster.catalogue.values import Positive, Quoted, Value


class ImageRelease(Value):
    """One build of an image: where its bytes come from, and how they are recognised."""

    url: Annotated[str, Field(pattern=r"^(https://|file:///).+")]
    checksum: Annotated[str, Field(pattern=r"^sha512:([0-9a-f]{128}|https://.+)$")]
    format: Literal["qcow2"] = "qcow2"
    virtual_size_gib: Positive


class Image(Value):
    """An operating system on sale (C4.1); an order pins one of its releases."""

    title: str
    default_user: Annotated[str, Field(pattern=r"^[a-z_][a-z0-9_-]{0,31}$")]
    default_release: Quoted
    releases: Annotated[dict[Quoted, ImageRelease], Field(min_length=1)]

    @model_validator(mode="after")
    def _default_exists(self) -> Image:
        if self.default_release not in self.releases:
            raise ValueError(
                f"default_release {self.default_release} is none of {', '.join(self.releases)}"
            )
        return self


def pinned(image: str) -> tuple[str, str]:
    """Split ``debian-12@20250703`` into image and release.

    Raises:
        ValueError: it is not of that form.
    """
    match = re.fullmatch(r"([a-z0-9-]+)@([A-Za-z0-9._-]+)", image)
    if match is None:
        raise ValueError(f"«{image}» is not of the form image@release")
    return match[1], match[2]
