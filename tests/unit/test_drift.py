"""Where nodes and stacks are not as declared; nothing is ever mended (C4.3, C4.7, C6.3)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from hoster.catalogue import Catalogue
from hoster.changes.deployed import DeployedVps
from hoster.changes.drift import Domain, DriftKind, NodeFacts, of_node, of_stack
from hoster.cli import cli
from hoster.engine import pulumi_cli
from hoster.fleet import facts as fleet_facts
from hoster.fleet import ssh
from hoster.fleet.facts import domain_of
from hoster.fleet.ssh import NoAnswerError, NodeSsh
from hoster.orders.declarations import VpsDeclaration
from hoster.project import Project
from hoster.wire.status import VpsStatus
from hoster_lab.wire import Rented

WEB = Domain(
    name="acme.web",
    vps="acme/web",
    plan="kvm-2",
    ipv4="203.0.113.17",
    tap="vps-cb007111",
    vcpus=2,
    memory_mib=2048,
    disk_bytes=20 * 2**30,
    is_running=True,
)
AGENT = VpsStatus(
    vps="acme/web",
    ipv4="203.0.113.17",
    tap="vps-cb007111",
    plan="kvm-2",
    running=True,
    guaranteed_mbit_s=100,
    ceiling_mbit_s=None,
    used_bytes=0,
    quota_bytes=10**13,
    over_quota=False,
    throttle_mbit_s=1,
    cycle_start="2026-03-01T00:00:00+01:00",
    cycle_end="2026-04-01T00:00:00+02:00",
    measures=[],
)
FACTS = NodeFacts("paris-1", (WEB,), (AGENT,), ("vps-cb007111",))
Declare = Callable[..., VpsDeclaration]


@pytest.fixture
def seen(catalogue: Catalogue, declared: Declare) -> Callable[..., list[tuple[DriftKind, str]]]:
    """Kind and subject of what is not as a node with one VPS is declared."""

    def judge(**facts: Any) -> list[tuple[DriftKind, str]]:
        found = of_node(replace(FACTS, **facts), [declared()], catalogue)
        return [(one.kind, one.what) for one in found]

    return judge


def test_what_is_as_declared_is_no_finding(seen: Any) -> None:
    assert [] == seen()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"plan": "kvm-1"}, "plan is declared kvm-2, and its domain has kvm-1"),
        ({"memory_mib": 1024}, "memory_mib is declared 2048"),
        ({"vcpus": 4}, "vcpus is declared 2"),
        ({"disk_bytes": 10 * 2**30}, "disk_gib is declared 20, and its domain has 10"),
        ({"ipv4": "203.0.113.18"}, "ipv4 is declared 203.0.113.17"),
        ({"tap": "vnet0"}, "tap is declared vps-cb007111"),
    ],
)
def test_a_domain_that_differs_is_told_with_both_values(
    catalogue: Catalogue, declared: Declare, change: dict[str, Any], said: str
) -> None:
    facts = replace(FACTS, domains=(replace(WEB, **change),), taps=())

    [found] = of_node(facts, [declared()], catalogue)

    assert (DriftKind.DIFFERENT, "acme/web", "paris-1") == (found.kind, found.what, found.where)
    assert said in found.text


def test_a_vps_without_its_domain_is_missing(seen: Any) -> None:
    assert [(DriftKind.MISSING, "acme/web")] == seen(domains=())


def test_a_vps_that_its_client_switched_off_is_as_declared(seen: Any) -> None:
    stopped = replace(WEB, is_running=False)
    assert [] == seen(domains=(stopped,), agent=({**AGENT, "running": False},), taps=())


@pytest.mark.parametrize("vps", ["", "beta/web"])
def test_a_domain_that_is_not_declared_there_is_unknown(seen: Any, vps: str) -> None:
    other = replace(WEB, name="other", vps=vps, tap="vps-cb007112")
    assert [(DriftKind.UNKNOWN, "other")] == seen(
        domains=(WEB, other), taps=("vps-cb007111", "vps-cb007112")
    )


def test_a_tap_of_nobody_is_unknown(seen: Any) -> None:
    assert [(DriftKind.UNKNOWN, "vps-c0000201")] == seen(taps=("vps-cb007111", "vps-c0000201"))


@pytest.mark.parametrize(
    ("agent", "found"),
    [
        ((), [(DriftKind.DIFFERENT, "acme/web")]),
        (({**AGENT, "running": False},), [(DriftKind.DIFFERENT, "acme/web")]),
        (({**AGENT, "plan": "kvm-1"},), [(DriftKind.DIFFERENT, "acme/web")]),
        ((AGENT, {**AGENT, "vps": "beta/web"}), [(DriftKind.UNKNOWN, "beta/web")]),
        ((AGENT, {**AGENT, "vps": "beta/web", "running": False}), []),
    ],
)
def test_the_agent_holds_to_what_is_declared(
    seen: Any, agent: tuple[dict[str, Any], ...], found: list[tuple[DriftKind, str]]
) -> None:
    assert found == seen(agent=agent)


def test_a_stack_is_held_to_the_declaration(catalogue: Catalogue, declared: Declare) -> None:
    web, db = declared(), declared("acme/db", ipv4=IPv4Address("203.0.113.18"))
    was = DeployedVps.of(declared(plan="kvm-1"), catalogue).outputs()

    found = of_stack("acme", {"web": was, "old": was}, [web, db], catalogue)

    assert [
        (DriftKind.UNKNOWN, "acme/old", "deployed, and not declared"),
        (DriftKind.DIFFERENT, "acme/web", "plan is declared kvm-2, and deployed is kvm-1"),
        (DriftKind.DIFFERENT, "acme/web", "disk_gib is declared 20, and deployed is 10"),
        (DriftKind.MISSING, "acme/db", "declared, and not deployed: pulumi -C pulumi up -s acme"),
    ] == [(one.kind, one.what, one.text) for one in found]


SIZES = "Capacity:       21474836480\nAllocation:     196616\nPhysical:       196616\n"


def test_what_virsh_prints_is_read() -> None:
    xml = Rented("web", IPv4Address("203.0.113.17")).domain()
    xml = xml.replace("<domain", "<domain id='3'", 1).replace(
        "</domain>",
        "<vcpu current='2'>8</vcpu><memory unit='KiB'>2097152</memory></domain>",
    )

    found = domain_of(f"\n{xml}\n{SIZES}")

    assert ("203.0.113.17", "vps-cb007111", 2, 2048, 20 * 2**30, True) == (
        found.ipv4,
        found.tap,
        found.vcpus,
        found.memory_mib,
        found.disk_bytes,
        found.is_running,
    )
    assert found.vps.endswith("/web")


def test_a_domain_that_is_no_vps_is_read_all_the_same() -> None:
    found = domain_of("<domain><name>by hand</name><memory>1024</memory></domain>\nerror: no disk")
    assert Domain("by hand", "", "", "", "", 0, 1, 0, is_running=False) == found


@pytest.fixture
def run(
    project: Project,
    catalogue: Catalogue,
    declared: Declare,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., tuple[int, Any]]:
    """Run the command on a company with a VPS; *facts* by node, where it answers."""
    web = declared()
    content = {
        "hoster:vps": {"web": web.fields_written()},
        "hoster:access": {"web": {"secure": "v1:a"}},
    }
    project.declaration("acme").write_text(yaml.safe_dump({"config": content}))
    outputs = {"vps": {"web": DeployedVps.of(web, catalogue).outputs()}}
    monkeypatch.setattr(pulumi_cli, "stack_outputs", lambda *_: outputs)

    def invoke(facts: dict[str, NodeFacts], *options: str) -> tuple[int, Any]:
        def asked(node: NodeSsh, *, seconds: float) -> NodeFacts:
            if node.name not in facts:
                raise NoAnswerError(f"no answer within {seconds:g} s")
            return facts[node.name]

        names = ("paris-1", "roubaix-1")
        nodes = {name: NodeSsh(name, (name,)) for name in names}
        monkeypatch.setattr(ssh, "nodes", lambda _: nodes)
        monkeypatch.setattr(fleet_facts, "facts", asked)
        arguments = ["--project", str(project.root), "drift", *options]
        done = CliRunner().invoke(cli, arguments)
        return done.exit_code, json.loads(done.stdout) if "--json" in options else done.stdout

    return invoke


def test_the_exit_code_says_which(run: Any) -> None:
    sound = {"paris-1": FACTS, "roubaix-1": NodeFacts("roubaix-1")}
    assert (0, {"findings": [], "silent": {}}) == run(sound, "--json")

    code, text = run({**sound, "paris-1": NodeFacts("paris-1")})
    assert (7, "missing: acme/web (paris-1): libvirt has no domain of it\n") == (code, text)

    code, text = run({"roubaix-1": NodeFacts("roubaix-1")}, "--no-stacks")
    assert (4, "no answer: paris-1: no answer within 30 s\n") == (code, text)
