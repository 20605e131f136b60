"""Ansible's inventory gets the declared VPSs; `hoster.project.host_vars` does the work."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ansible.errors import AnsibleParserError
from ansible.plugins.inventory import BaseInventoryPlugin

if TYPE_CHECKING:
    from ansible.inventory.data import InventoryData
    from ansible.parsing.dataloader import DataLoader

DOCUMENTATION = r"""
name: hoster_vps
short_description: The VPSs declared on each host node
description:
  - Gives every host of the group C(host_nodes) the variable C(declared_vps), a list of the VPSs
    that C(pulumi/Pulumi.<client>.yaml) declares on it, sorted by C(full_name).
  - Each has C(client), C(name), C(full_name) (client/vps), C(domain) (its name in libvirt),
    C(plan), C(image), C(location), C(ipv4), C(tap) and C(mac). Nothing personal is among them.
  - The declarations are read at every start, and from nowhere else; nothing is cached.
  - The folder C(pulumi/) is the one beside the folder that holds this configuration.
  - The host nodes come from C(hosts.yml), which Ansible reads first (in the order of names).
options:
  plugin:
    description: Says that the file is for this plugin.
    required: true
    type: str
    choices: [hoster_vps]
"""

EXAMPLES = r"""
# inventory/vps.hoster.yml
plugin: hoster_vps
"""


class InventoryModule(BaseInventoryPlugin):
    """Reads ``*.hoster.yml``."""

    NAME = "hoster_vps"

    def verify_file(self, path: str) -> bool:
        """Say whether *path* is a configuration of this plugin."""
        return bool(super().verify_file(path)) and path.endswith((".hoster.yml", ".hoster.yaml"))

    def parse(
        self, inventory: InventoryData, loader: DataLoader, path: str, cache: bool = True
    ) -> None:
        """Add the variable to every host node.

        Raises:
            AnsibleParserError: a declaration is not valid; all that is wrong is told at once.
        """
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        try:
            from hoster import errors
            from hoster.project import host_vars
        except ImportError as error:
            raise AnsibleParserError(
                f"{sys.executable} cannot import hoster: {error}\n"
                "Install it with scripts/setup, and `source scripts/lib/env.sh`: the Ansible "
                "that stands beside it is then the one on PATH."
            ) from None
        group = inventory.groups.get(host_vars.NODE_GROUP)
        nodes = [host.name for host in group.get_hosts()] if group else []
        try:
            declared = host_vars.read_by_node(host_vars.project_of([Path(path)]), nodes)
        except errors.HosterError as error:
            raise AnsibleParserError(str(error)) from None
        for node, vps in declared.items():
            # Of the host itself: the inventory's own setter would tag each of a hundred thousand
            # texts with where it is from. Without a tag a text is data, and never a template.
            inventory.hosts[node].set_variable(host_vars.VARIABLE, vps)
