"""The VPSs of the domains that run, as libvirt knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hoster.wire.errors import InvalidMetadataError
from hoster.wire.metadata import NAMESPACE, parsed_metadata

if TYPE_CHECKING:
    from hoster.wire.vps import Vps

URI = "qemu:///system"


def running_vpss(uri: str = URI) -> dict[str, Vps] | None:
    """Return the running VPSs by tap, or None where libvirt does not answer.

    A domain whose facts are not those of a VPS is left out: it gets no network.
    """
    import libvirt

    libvirt.registerErrorHandler(lambda *_: None, None)
    try:
        connection = libvirt.openReadOnly(uri)
        try:
            domains = connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE)
            found = []
            while domains:  # each lets go of its memory at once
                found.append(_vps(libvirt, domains.pop()))
        finally:
            connection.close()
    except libvirt.libvirtError:
        return None
    return {vps.tap: vps for vps in found if vps is not None}


def _vps(libvirt: Any, domain: Any) -> Vps | None:
    live = libvirt.VIR_DOMAIN_AFFECT_LIVE
    try:
        return parsed_metadata(
            domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE, live)
        )
    except InvalidMetadataError:
        return None
    except libvirt.libvirtError as error:
        absent = {libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN}
        if error.get_error_code() in absent or not domain.isActive():
            return None
        raise
