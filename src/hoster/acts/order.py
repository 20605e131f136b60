"""The order of a new VPS: chosen and declared, its access codes kept until its delivery."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hoster.engine import pulumi_cli
from hoster.errors import RuleError
from hoster.orders import ordering
from hoster.project import declarations, files

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from hoster.catalogue import Catalogue
    from hoster.ledger import Ledger
    from hoster.orders.declarations import Declarations, VpsDeclaration
    from hoster.orders.ordering import Order
    from hoster.project import Project


@dataclass(frozen=True)
class Ordered:
    """What an order became; not ``written`` where it was declared so before, or for a dry run."""

    vps: VpsDeclaration
    written: bool


def order(
    project: Project,
    catalogue: Catalogue,
    ledger: Ledger,
    clock: Callable[[], datetime],
    wish: Order,
    *,
    dry_run: bool = False,
) -> Ordered:
    """Choose and declare under the project's lock; a crash anywhere is repaired by a second run.

    Raises:
        ConfigurationError: a declaration is not valid, or the wish names what there is not.
        RuleError: it is declared already, and differently; or a rule forbids it.
        NoRoomError: no host node or no address is left for it (C2.1, C4.3).
        ToolError: Pulumi is missing or refused.
    """
    with declarations.exclusive(project):
        declared = declarations.read_sound(project)
        if existing := declared.find(wish.full_name):
            _refuse_differences(wish, existing)
            return Ordered(existing, written=False)
        now = clock()
        vps = _chosen(catalogue, declared, ledger, wish, now)
        if not dry_run:
            _declare(project, catalogue, ledger, vps, now)
    return Ordered(vps, written=not dry_run)


def _chosen(
    catalogue: Catalogue, declared: Declarations, ledger: Ledger, wish: Order, now: datetime
) -> VpsDeclaration:
    ledger.clients.named(wish.client)
    return ordering.choose(
        catalogue,
        declared,
        wish,
        held=ledger.addresses.held(besides=wish.full_name),
        released=ledger.addresses.released(),
        now=now,
    )


def _declare(
    project: Project, catalogue: Catalogue, ledger: Ledger, vps: VpsDeclaration, now: datetime
) -> None:
    """Remember the codes first and write the declaration last: until then nothing counts."""
    user = catalogue.images[vps.image_name].default_user
    codes = ledger.orders.begin(vps.full_name, vps.ipv4, user=user, now=now)
    pulumi_cli.ensure_stack(project, vps.client)
    sealed = pulumi_cli.encrypt(project, vps.client, codes.password_hash)
    file = project.declaration(vps.client)
    files.write(file, declarations.added(file, vps, sealed))


def _refuse_differences(wish: Order, existing: VpsDeclaration) -> None:
    if found := ordering.differences(wish, existing):
        raise RuleError(
            f"{wish.full_name} is declared already, and differently: {'; '.join(found)}",
            remedy="A larger plan: hoster resize. Another image: playbooks/reinstall-vps.yml. "
            "Anything else is a new VPS under another name.",
        )
