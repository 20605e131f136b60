"""The delivery of a VPS: once its stack says that it runs, the client is told how to get in."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from hoster.errors import HosterError, RuleError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from hoster.catalogue import Catalogue
    from hoster.ledger import Ledger
    from hoster.orders.declarations import VpsDeclaration

SSH_PORT = 22
_PROBE_SECONDS = 3.0


class NotAnsweringError(HosterError):
    """The VPS did not answer within the time that was given to it."""


def mail_values(vps: VpsDeclaration, catalogue: Catalogue) -> dict[str, Any]:
    """Return what the delivery mail says of *vps*, its access codes apart (C4.2, C4.3, C14.1)."""
    plan, place = catalogue.plans[vps.plan], catalogue.locations[vps.location]
    return {
        "vps": vps.full_name,
        "ipv4": str(vps.ipv4),
        "city": place.city,
        "country": place.country,
        "plan": plan.title,
        "vcpus": plan.vcpus,
        "memory_mib": plan.memory_mib,
        "disk_gib": plan.disk_gib,
        "image": catalogue.images[vps.image_name].title,
    }


def require_deployed(vps: VpsDeclaration, outputs: Mapping[str, Any]) -> None:
    """See that the last `pulumi up` of *vps*'s stack, whose *outputs* these are, made it.

    Raises:
        RuleError: the stack does not have it, or at another address.
    """
    deployed = outputs.get("vps", {}).get(vps.name)
    if deployed is None or deployed.get("ipv4") != str(vps.ipv4):
        raise RuleError(
            f"{vps.full_name} is declared and not deployed: there is nothing to deliver yet",
            remedy=f"Deploy it: pulumi -C pulumi up -s {vps.client}",
        )


def deliver(
    ledger: Ledger,
    vps: VpsDeclaration,
    catalogue: Catalogue,
    *,
    outputs: Mapping[str, Any],
    now: datetime,
) -> bool:
    """Record the delivery of *vps* and queue its mail; False where it was delivered before.

    *outputs* are those of its stack's last `pulumi up`.

    Raises:
        RuleError: it is not deployed, or nobody ordered it here; nothing was queued.
    """
    require_deployed(vps, outputs)
    return ledger.orders.deliver(vps.full_name, mail_values(vps, catalogue), now)


def wait_for(vps: VpsDeclaration, seconds: float, told: Callable[[float], None]) -> None:
    """Wait until *vps* answers on its SSH port; *told* hears the seconds waited, now and then.

    Raises:
        NotAnsweringError: it did not within *seconds*.
    """
    from tenacity import (
        RetryCallState,
        RetryError,
        Retrying,
        retry_if_exception_type,
        stop_after_delay,
        wait_fixed,
    )

    def tell(state: RetryCallState) -> None:
        told(state.seconds_since_start or 0.0)

    policy = Retrying(
        retry=retry_if_exception_type(OSError),
        stop=stop_after_delay(seconds),
        wait=wait_fixed(1),
        before_sleep=tell,
    )
    try:
        policy(_greeting, str(vps.ipv4))
    except RetryError as error:
        raise NotAnsweringError(
            f"{vps.full_name} did not answer at {vps.ipv4}:{SSH_PORT} within {seconds:.0f} s",
            remedy=f"Look at it on {vps.node}: virsh console {vps.client}.{vps.name}. "
            "Nothing was queued.",
        ) from error


def _greeting(address: str) -> None:
    """Read the server's first bytes: an open port of a guest that still boots says nothing."""
    with socket.create_connection((address, SSH_PORT), _PROBE_SECONDS) as connection:
        connection.settimeout(_PROBE_SECONDS)
        if not connection.recv(4).startswith(b"SSH-"):
            raise ConnectionError("no SSH server")
