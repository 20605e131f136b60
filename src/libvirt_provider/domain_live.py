"""What changes on a running domain: started, shut down, plugged from outside, its texts set."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from lxml import etree

from libvirt_provider import _xml

if TYPE_CHECKING:
    from libvirt_provider._resource import Change, Log
    from libvirt_provider.domain_change import Plan

SHUTDOWN_SECONDS = 60.0
"""How long a guest may take to shut down in order, before it is switched off."""

UNFINISHED = "__unfinished"
"""An output that Pulumi does not show: a reboot began and did not end."""

LIVE_PREFIX = "live"
POLL_SECONDS = 0.1


def bring_about(domain: Any, change: Change, steps: Plan, root: Any) -> None:
    """Have *domain*, whose definition is *root* already, come to it: at once, or by one reboot."""
    wants = (change.old.get("running", True), change.new["running"])
    if wants == (True, False):
        _shut_down(domain, change.log)
        return
    if wants == (False, True) and not domain.isActive():
        domain.create()
        return
    log_plan(steps, change.log)
    if steps.reboot or change.state.get(UNFINISHED):
        _shut_down(domain, change.log)
        domain.create()
        return
    _plug(domain, steps)
    if domain.isActive():
        _set_live_texts(domain, root)


def log_plan(steps: Plan, log: Log) -> None:
    """Tell the person who runs Pulumi what the guest will notice."""
    if steps.reboot:
        *what, last = steps.reasons
        orderly = f"ACPI shutdown, {shutdown_seconds():g} s, then hard"
        log(f"{'; '.join(what)}: {last} ({orderly})")
    else:
        for reason in steps.reasons:
            log(reason)


def shutdown_seconds() -> float:
    """Return how long a guest may take; ``LIBVIRT_PROVIDER_SHUTDOWN_SECONDS`` overrides it."""
    return float(os.environ.get("LIBVIRT_PROVIDER_SHUTDOWN_SECONDS", SHUTDOWN_SECONDS))


def dimm_xml(mib: int) -> Any:
    """Return a memory module of *mib* for the guest's only NUMA cell. Pure."""
    root = _xml.root("memory", model="dimm")
    target = _xml.add(root, "target")
    _xml.add(target, "size", mib, unit="MiB")
    _xml.add(target, "node", 0)
    return root


def _plug(domain: Any, steps: Plan) -> None:
    live = 1  # VIR_DOMAIN_AFFECT_LIVE
    if steps.dimm_mib:
        domain.attachDeviceFlags(_xml.text_of(dimm_xml(steps.dimm_mib)), live)
    if steps.vcpus:
        domain.setVcpusFlags(steps.vcpus, live)


def _shut_down(domain: Any, log: Log) -> None:
    if not domain.isActive():
        return
    seconds = shutdown_seconds()
    domain.shutdown()
    deadline = time.monotonic() + seconds
    while domain.isActive() and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    if domain.isActive():
        log(f"the guest did not shut down within {seconds:g} s: switched off")
        domain.destroy()


def _set_live_texts(domain: Any, root: Any) -> None:
    import libvirt

    description = root.findtext("description")
    try:
        domain.setMetadata(libvirt.VIR_DOMAIN_METADATA_DESCRIPTION, description, None, None, 1)
        for child in root.find("metadata"):
            space = etree.QName(child).namespace
            if space:
                # libvirt declares a prefix of its own and refuses one that is declared already.
                kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
                domain.setMetadata(kind, _xml.text_of(child), LIVE_PREFIX, space, 1)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_SUPPORT:
            raise
