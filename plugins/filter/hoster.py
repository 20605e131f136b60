"""What playbooks and templates ask of the rules; `hoster` answers, and Ansible only carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


def refused_at(entries: Iterable[Mapping[str, Any]], location: str) -> list[Mapping[str, Any]]:
    """Return those *entries* of the policy's refused ports that hold in *location* (C4.5)."""
    from hoster.catalogue import refused_ports

    return refused_ports.refused_at(location, entries)


def refused_rules(entries: Iterable[Mapping[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of the packet filter for *entries*, by its chain."""
    from hoster.catalogue import refused_ports

    return refused_ports.rules(entries)


def volumes_of(lines: Iterable[str], domain: str) -> list[str]:
    """Return which volumes in the *lines* of ``virsh --quiet vol-list`` are those of *domain*.

    Raises:
        AnsibleFilterError: a line is no volume, or *domain* none of a VPS.
    """
    from hoster import errors
    from hoster.orders import disks

    try:
        return disks.volumes_of(str(domain), disks.listed(map(str, lines)))
    except (errors.HosterError, ValueError) as error:
        raise AnsibleFilterError(str(error)) from None


class FilterModule:
    """The filters, by the name that a playbook calls each."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """Return them."""
        return {
            "hoster_refused_at": refused_at,
            "hoster_refused_rules": refused_rules,
            "hoster_volumes_of": volumes_of,
        }
