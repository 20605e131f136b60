"""The provider: which token is which resource, on which host. Knows no gRPC."""

from __future__ import annotations

import importlib
import json
from typing import TYPE_CHECKING, Any

from libvirt_provider._connection import DEFAULT_URI, Host
from libvirt_provider._resource import refuse
from libvirt_provider._schema import Failure
from libvirt_provider._values import UNKNOWN
from libvirt_provider.errors import ProviderError

if TYPE_CHECKING:
    from libvirt_provider._resource import Resource, Values

RESOURCES = {
    "libvirt:index/volume:Volume": ("volume", "Volume"),
    "libvirt:index/cloudInitDisk:CloudInitDisk": ("cloud_init_disk", "CloudInitDisk"),
    "libvirt:index/domain:Domain": ("domain", "Domain"),
    "libvirt:index/pool:Pool": ("pool", "Pool"),
    "libvirt:index/network:Network": ("network", "Network"),
}
"""Modules are imported when a resource of theirs is met."""

SCHEMES = ("qemu", "test", "qemu+ssh", "qemu+tcp", "qemu+tls", "qemu+unix", "qemu+libssh2")


class Provider:
    """One configured provider: a host and its resources."""

    def __init__(self) -> None:
        self.host = Host()
        self._resources: dict[str, Resource] = {}

    def configure(self, config: Values) -> None:
        """Take the host's URI. Nothing is connected before something has to be done there."""
        uri = config.get("uri")
        self.host = Host(uri if isinstance(uri, str) and uri else DEFAULT_URI)
        self._resources = {}

    def config_failures(self, config: Values) -> list[Failure]:
        """Return what is wrong with the provider's own inputs."""
        known = {"uri", "version", "pluginDownloadURL"}
        wrong = [
            Failure(key, "is not known; supported: uri")
            for key in config
            if key not in known and not key.startswith("__")
        ]
        uri = config.get("uri")
        if uri is not None and uri is not UNKNOWN and not _is_uri(uri):
            wrong.append(Failure("uri", f"must begin with one of {', '.join(SCHEMES)} and ':'"))
        return wrong

    def resource(self, urn: str) -> Resource:
        """Return the resource that *urn* is one of.

        Raises:
            ProviderError: no such resource is served.
        """
        token = type_of(urn)
        if token not in self._resources:
            if token not in RESOURCES:
                served = ", ".join(sorted(RESOURCES))
                raise ProviderError(f"{token} is not served by this provider; it has {served}")
            module, name = RESOURCES[token]
            loaded = importlib.import_module(f"libvirt_provider.{module}")
            self._resources[token] = getattr(loaded, name)(self.host)
        return self._resources[token]

    def changed(self, urn: str, state: Values, old: Values, new: Values) -> list[str]:
        """Return the properties that an update would change.

        Raises:
            RefusedChangeError: the change is never made; a preview stops here.
        """
        resource = self.resource(urn)
        changed = resource.changed(old or state, new)
        if changed:
            refuse(resource.refusals({**state, **old}, new))
        return changed


def type_of(urn: str) -> str:
    """Return the token in *urn*, without its parents'."""
    return urn.split("::")[2].rpartition("$")[2]


def schema() -> str:
    """Return a schema that names the resources; the SDK exists already."""
    token_properties: dict[str, Any] = {"properties": {}, "inputProperties": {}}
    return json.dumps(
        {"name": "libvirt", "resources": {token: dict(token_properties) for token in RESOURCES}}
    )


def _is_uri(uri: object) -> bool:
    return isinstance(uri, str) and uri.partition(":")[0] in SCHEMES
