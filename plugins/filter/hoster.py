"""What playbooks and templates ask of the rules; `hoster` answers, and Ansible only carries it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible.errors import AnsibleFilterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


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
        return {"hoster_volumes_of": volumes_of}
