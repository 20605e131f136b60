"""The packet filter's file as Ansible writes it, with the filters of `plugins/filter`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from hoster_lab import traffic

CHECKOUT = Path(__file__).parents[2]
ROLE = CHECKOUT / "roles" / "packet_filter"
FILE = "etc/hoster/packet-filter.nft"
CHANGED = yaml.safe_load((CHECKOUT / "molecule/changed/converge.yml").read_text())[0]["roles"]
POLICIES: dict[str, dict[str, Any]] = {
    "default": {},
    "changed": CHANGED[1]["vars"],
    "shipped": traffic.network_policy("paris"),
}
ROWS = {
    "tcp_from_vps": [],
    "udp_from_vps": [
        "# 67: nobody is a DHCP server here.",
        "# amplifiers: the second half of an attack",
        "th sport { 67, 19, 6881-6889 } drop",
        "# A rate for each VPS (C4.6).",
    ],
    "tcp_to_vps": ["# smb: worms spread by it", "th dport { 445 } drop"],
    "udp_to_vps": [],
}


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the role's template becomes by each policy, in one run of Ansible."""
    folder = tmp_path_factory.mktemp("rules")
    defaults = yaml.safe_load((ROLE / "defaults" / "main.yml").read_text())
    tasks = [
        {
            "name": f"Write {name}",
            "ansible.builtin.template": {
                "src": str(ROLE / "templates" / f"{FILE}.j2"),
                "dest": str(folder / name),
                "mode": "0644",
            },
            "vars": defaults | variables,
        }
        for name, variables in POLICIES.items()
    ]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    (folder / "playbook.yml").write_text(yaml.safe_dump([play]))
    done = subprocess.run(
        [Path(sys.executable).parent / "ansible-playbook", folder / "playbook.yml"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")},
    )
    assert 0 == done.returncode, done.stdout + done.stderr
    return {name: (folder / name).read_text() for name in POLICIES}


@pytest.mark.parametrize("policy", POLICIES)
def test_ansible_writes_what_the_traffic_tests_load(written: dict[str, str], policy: str) -> None:
    """All but the first line, which says who wrote it."""
    _, *lines = written[policy].splitlines()

    assert traffic.rendered("packet_filter", FILE, **POLICIES[policy]).splitlines()[1:] == lines


@pytest.mark.parametrize("chain", ROWS)
def test_a_refused_port_stands_in_its_chain_with_its_reason(
    written: dict[str, str], chain: str
) -> None:
    """C4.5."""
    body = written["changed"].rpartition(f"\tchain {chain} {{\n")[2].partition("\t}\n")[0]
    lines = [line.strip() for line in body.splitlines()]

    assert ROWS[chain] == [line for line in lines if line.startswith("#") or "} drop" in line]
