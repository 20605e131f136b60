"""A host's libvirt: connected when first needed, again when the connection died."""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from libvirt_provider.errors import ProviderError, UnreachableHostError

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_URI = "qemu:///system"
CONNECT_SECONDS = 10.0
"""How long a host may take to answer; ``LIBVIRT_PROVIDER_CONNECT_SECONDS`` overrides it."""


@dataclass
class Host:
    """A libvirt host by its URI. Thread-safe; ``connection()`` blocks."""

    uri: str = DEFAULT_URI

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._connection: Any = None

    @property
    def is_test(self) -> bool:
        """Whether this is libvirt's own test driver, which keeps no volume content."""
        return self.uri.startswith("test:")

    def connection(self) -> Any:
        """Return a ``virConnect`` that is alive.

        Raises:
            UnreachableHostError: no answer within ``CONNECT_SECONDS``, or a refusal.
        """
        with self._lock:
            if not _alive(self._connection):
                self._connection = _open(self.uri)
            return self._connection

    def close(self) -> None:
        """Forget the connection."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None


def connect_seconds() -> float:
    """Return how long a host may take to answer."""
    return float(os.environ.get("LIBVIRT_PROVIDER_CONNECT_SECONDS", CONNECT_SECONDS))


def _alive(connection: Any) -> bool:
    if connection is None:
        return False
    import libvirt

    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


def _open(uri: str) -> Any:
    # libvirt has no time limit of its own: a daemon thread may hang, the caller does not.
    outcome: dict[str, Any] = {}
    worker = threading.Thread(target=_open_into, args=(outcome, uri), daemon=True)
    worker.start()
    seconds = connect_seconds()
    worker.join(seconds)
    if "connection" in outcome:
        return outcome["connection"]
    why = outcome.get("error", f"no answer within {seconds:g} s")
    raise UnreachableHostError(
        f"cannot reach libvirt at {uri}: {why}. Nothing was changed there; "
        "check that the host is up and that its libvirt accepts you, then run again."
    )


def _open_into(outcome: dict[str, Any], uri: str) -> None:
    import libvirt

    libvirt.registerErrorHandler(lambda *_: None, None)
    try:
        outcome["connection"] = libvirt.open(uri)
    except libvirt.libvirtError as error:
        outcome["error"] = str(error)


@contextmanager
def reported(doing: str) -> Iterator[None]:
    """Turn libvirt's errors into ones that say what was being done.

    Raises:
        ProviderError: libvirt refused.
    """
    import libvirt

    try:
        yield
    except libvirt.libvirtError as error:
        raise ProviderError(f"{doing}: {error}") from error


def absent(error: Exception) -> bool:
    """Whether a libvirt error says that the thing looked for is not there."""
    import libvirt

    return isinstance(error, libvirt.libvirtError) and error.get_error_code() in {
        libvirt.VIR_ERR_NO_STORAGE_VOL,
        libvirt.VIR_ERR_NO_STORAGE_POOL,
        libvirt.VIR_ERR_NO_DOMAIN,
        libvirt.VIR_ERR_NO_NETWORK,
    }


def found(lookup: Any, *arguments: Any) -> Any:
    """Return what *lookup* finds, or None where there is none."""
    import libvirt

    try:
        return lookup(*arguments)
    except libvirt.libvirtError as error:
        if absent(error):
            return None
        raise
