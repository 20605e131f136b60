"""The delivery of a VPS: once its stack says that it runs, the client is told how to get in."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hoster.engine import pulumi_cli
from hoster.errors import HosterError, RuleError
from hoster.ledger import SENT
from hoster.mail import outbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from datetime import datetime

    from hoster.catalogue import Catalogue
    from hoster.ledger import Ledger
    from hoster.orders.declarations import VpsDeclaration
    from hoster.project import Project

SSH_PORT = 22
_PROBE_SECONDS = 3.0


class NotAnsweringError(HosterError):
    """The VPS did not answer within the time that was given to it."""


@dataclass(frozen=True)
class Delivery:
    """How far the delivery of a VPS is, and whether it was begun just now.

    ``state`` is delivered, queued or failed, as its mail is; refused; or «would be delivered».
    """

    vps: str
    state: str
    changed: bool


@dataclass(frozen=True)
class Deliveries:
    """Delivers VPSs whose stacks say that they run, each once, and sends their mails.

    With ``seconds`` each is waited for first, so long at most; ``waited`` hears of it.
    """

    project: Project
    catalogue: Catalogue
    ledger: Ledger
    clock: Callable[[], datetime]
    seconds: float = 0
    dry_run: bool = False
    waited: Callable[[VpsDeclaration, float], None] = lambda *_: None

    def each(self, chosen: Sequence[VpsDeclaration]) -> list[Delivery]:
        """Deliver the VPSs *chosen*.

        Raises:
            RuleError: one is not deployed, or nobody ordered it here; those before it are queued.
            NotAnsweringError: one did not answer in time; those before it are queued.
            ToolError: Pulumi is missing or refused.
        """
        outputs = self._outputs(chosen)
        new = {vps.full_name for vps in chosen if self._one(vps, outputs[vps.client])}
        return self._ended(chosen, new)

    def all(
        self, declared: Iterable[VpsDeclaration], refused: Callable[[RuleError], None]
    ) -> list[Delivery]:
        """Deliver whatever of *declared* is deployed; *refused* hears what is not, and why.

        Raises:
            NotAnsweringError: one did not answer in time; those before it are queued.
            ToolError: Pulumi is missing or refused.
        """
        every = list(declared)
        outputs = self._outputs(every)
        chosen = [vps for vps in every if vps.name in outputs[vps.client].get("vps", {})]
        new: set[str] = set()
        against: dict[str | None, str] = {}
        for vps in chosen:
            try:
                if self._one(vps, outputs[vps.client]):
                    new.add(vps.full_name)
            except RuleError as error:
                against[vps.full_name] = "refused"
                refused(error)
        return self._ended(chosen, new, against)

    def _outputs(self, chosen: Iterable[VpsDeclaration]) -> dict[str, dict[str, Any]]:
        clients = {vps.client for vps in chosen}
        return {client: pulumi_cli.stack_outputs(self.project, client) for client in clients}

    def _one(self, vps: VpsDeclaration, outputs: Mapping[str, Any]) -> bool:
        require_deployed(vps, outputs)
        if self.dry_run:
            return False
        if self.seconds:
            wait_for(vps, self.seconds, lambda waited: self.waited(vps, waited))
        return deliver(self.ledger, vps, self.catalogue, outputs=outputs, now=self.clock())

    def _ended(
        self,
        chosen: Iterable[VpsDeclaration],
        new: set[str],
        against: Mapping[str | None, str] | None = None,
    ) -> list[Delivery]:
        if not self.dry_run:
            outbox.send_due(self.ledger, self.catalogue.company, self.clock)
        states = self._states() | dict(against or {})
        names = [vps.full_name for vps in chosen]
        return [
            Delivery(name, states.get(name, "would be delivered"), name in new) for name in names
        ]

    def _states(self) -> dict[str | None, str]:
        return {
            mail.vps: "delivered" if mail.state == SENT else mail.state
            for mail in self.ledger.outbox.mails()
            if mail.template == "delivery"
        }


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
            remedy=f"Look at it on {vps.node}: virsh console {vps.domain}. Nothing was queued.",
        ) from error


def _greeting(address: str) -> None:
    """Read the server's first bytes: an open port of a guest that still boots says nothing."""
    with socket.create_connection((address, SSH_PORT), _PROBE_SECONDS) as connection:
        connection.settimeout(_PROBE_SECONDS)
        if not connection.recv(4).startswith(b"SSH-"):
            raise ConnectionError("no SSH server")
