"""Images that a volume is filled from: a local file, or one fetched by HTTP."""

from __future__ import annotations

import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from libvirt_provider._storage import CHUNK_BYTES
from libvirt_provider.errors import ProviderError

if TYPE_CHECKING:
    from collections.abc import Iterator

QCOW2_MAGIC = b"QFI\xfb"
HEADER_BYTES = 32
FETCH_SECONDS = 30.0
"""How long a web server may stay silent."""


@dataclass
class Source:
    """An open image with what its header says. ``virtual_bytes`` is what a guest would see."""

    stream: IO[bytes]
    length: int
    header: bytes

    @property
    def format(self) -> str:
        """``qcow2`` or ``raw``."""
        return "qcow2" if self.header.startswith(QCOW2_MAGIC) else "raw"

    @property
    def virtual_bytes(self) -> int:
        """The size of the disk inside."""
        if self.format == "raw":
            return self.length
        return int.from_bytes(self.header[24:32], "big")

    def chunks(self) -> Iterator[bytes]:
        """Yield the content once."""
        yield self.header
        while chunk := self.stream.read(CHUNK_BYTES):
            yield chunk


@contextmanager
def opened(source: str) -> Iterator[Source]:
    """Open a path, ``file:``, ``http:`` or ``https:`` URL.

    Raises:
        ProviderError: it cannot be read, or the server does not tell its length.
    """
    try:
        with _open(source) as (stream, length):
            yield Source(stream, length, stream.read(HEADER_BYTES))
    except OSError as error:
        raise ProviderError(f"source {source}: {error}") from error


@contextmanager
def _open(source: str) -> Iterator[tuple[IO[bytes], int]]:
    parts = urlsplit(source)
    if parts.scheme in {"", "file"}:
        path = Path(parts.path if parts.scheme else source)
        with path.open("rb") as stream:
            yield stream, path.stat().st_size
    elif parts.scheme in {"http", "https"}:
        with urllib.request.urlopen(source, timeout=FETCH_SECONDS) as answer:  # noqa: S310
            length = answer.headers.get("Content-Length")
            if length is None:
                raise ProviderError(f"source {source}: the server does not say how long it is")
            yield answer, int(length)
    else:
        raise ProviderError(f"source {source}: only a path, file:, http: and https: are known")
