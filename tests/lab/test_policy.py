"""A policy rolled out to the nodes of the lab: nothing is lost, and a bad one stops at once."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hoster_lab.errors import LabError
from hoster_lab.wire import Rented

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hoster_lab.lab import Lab

# With `ordered`: the guest that other tests follow boots meanwhile, which takes a minute.
pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("ordered")]

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def trial(lab: Lab) -> Iterator[Rented]:
    """A VPS of the first node with its tap, and without a guest."""
    node = lab.nodes[0]
    vps = Rented("policy", node.location.gateway.ip + 119)
    hook = "/etc/libvirt/hooks/qemu.d/hoster acme.policy"
    lab.on(node, ["sh", "-c", f"{hook} prepare begin - <<'XML'\n{vps.domain()}\nXML"])
    lab.on(node, ["ip", "tuntap", "add", "dev", vps.tap, "mode", "tap"])
    yield vps
    lab.on(node, ["ip", "link", "delete", vps.tap])
    lab.on(node, ["sh", "-c", f"{hook} release end - <<'XML'\n{vps.domain()}\nXML"])


def rules(lab: Lab) -> list[str]:
    """The live rules of each node, without what VPSs change in them."""
    listed = ["nft", "--terse", "list", "table", "bridge", "hoster"]
    return [lab.on(node, listed).stdout for node in lab.nodes]


def network(lab: Lab) -> dict[str, Any]:
    file = lab.company.inventory / "group_vars" / "all" / "network.yml"
    policy: dict[str, Any] = yaml.safe_load(file.read_text())["network"]
    return policy


def roll_out(lab: Lab, policy: dict[str, Any], *only: str) -> str:
    variables = json.dumps({"network": policy})
    return lab.playbook("configure-nodes.yml", "-e", variables, "-e", "batch=1", *only)


def counted(listed: str) -> dict[str, int]:
    """The bytes of each tap, as nft lists them."""
    found = re.findall(r'"(vps-\w+)" \. .+? counter packets \d+ bytes (\d+)', listed)
    return {tap: int(count) for tap, count in found}


def test_a_policy_that_the_kernel_refuses_stops_at_the_first_node(lab: Lab) -> None:
    """With the line at fault; no node has another rule than before."""
    before, policy = rules(lab), network(lab)
    policy["refused_ports"][0]["ports"] = [70000]
    with pytest.raises(LabError, match=r"(?s)th dport.*70000"):
        roll_out(lab, policy)
    assert rules(lab) == before


def test_a_new_limit_is_in_force_and_no_element_and_no_count_is_lost(
    lab: Lab, trial: Rented
) -> None:
    """C4.6, C4.9."""
    policy = network(lab)
    policy["limits"]["udp"]["packets_s"] = 12345
    listed = ["nft", "list", "map", "bridge", "hoster", "metered"]
    here = ("--limit", lab.nodes[0].name)
    before = counted(lab.on(lab.nodes[0], listed).stdout)
    assert trial.tap in before
    try:
        roll_out(lab, policy, *here)
        assert "limit rate 12345/second" in rules(lab)[0]
        after = counted(lab.on(lab.nodes[0], listed).stdout)
        assert after.keys() == before.keys()
        assert [tap for tap in before if after[tap] < before[tap]] == []
    finally:
        roll_out(lab, network(lab), *here)
    assert "limit rate 12345/second" not in rules(lab)[0]


def test_what_a_policy_would_change_is_told_line_by_line_and_left_alone(lab: Lab) -> None:
    """C4.6: what a pull request is told of the host nodes."""
    before, node = rules(lab), lab.nodes[0].name
    file = lab.company.inventory / "group_vars" / "all" / "network.yml"
    shared, policy = file.readlink(), network(lab)
    old = policy["limits"]["udp"]["packets_s"]
    policy["limits"]["udp"]["packets_s"] = 12345
    file.unlink()
    file.write_text(yaml.safe_dump({"network": policy}))
    try:
        done = subprocess.run(
            [ROOT / "scripts" / "check-nodes", "--limit", node],
            env=lab.env(),
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        file.unlink()
        file.symlink_to(shared)

    assert 0 == done.returncode, done.stdout + done.stderr
    changed = re.findall(r"^([-+]).*limit rate (?:over )?(\d+)/second", done.stdout, re.MULTILINE)
    assert {("-", str(old)), ("+", "12345")} == set(changed)
    assert before == rules(lab)
