"""One declared VPS by its name; `hoster.project.host_vars` does the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: hoster_vps
short_description: One declared VPS, and its host node
description:
  - Returns what the inventory's C(declared_vps) says of a VPS, and its C(node) besides.
  - Reads the file of the VPS's client and no other, so that a play can take its hosts from it.
options:
  _terms:
    description: Names of VPSs, as client/vps.
    required: true
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Look at the VPS that the command line names (-e vps=acme/web)
  hosts: "{{ lookup('hoster_vps', vps).node }}"
"""

RETURN = r"""
_raw:
  description: A dictionary for each name.
  type: list
  elements: dict
"""


class LookupModule(LookupBase):
    """Finds VPSs by name."""

    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **_options: object
    ) -> list[dict[str, str]]:
        """Return the VPSs that *terms* name.

        Raises:
            AnsibleLookupError: one is not declared; near names are told.
        """
        from hoster import errors
        from hoster.project import host_vars

        variables = variables or {}
        nodes = variables.get("groups", {}).get(host_vars.NODE_GROUP, [])
        sources = variables.get("ansible_inventory_sources") or ()
        try:
            project = host_vars.project_of(map(Path, sources))
            return [host_vars.find(project, str(term), nodes) for term in terms]
        except errors.HosterError as error:
            raise AnsibleLookupError(str(error)) from None
