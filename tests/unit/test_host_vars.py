"""What Ansible is told of the declared VPSs."""

from __future__ import annotations

import gc
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from hoster.errors import ConfigurationError
from hoster.orders.declarations import ClientDeclarations, Declarations, VpsDeclaration
from hoster.project import Project, host_vars

Declared = Callable[..., VpsDeclaration]
NODES = ("paris-1", "roubaix-1")


def write(project: Project, client: str, *vps: VpsDeclaration) -> Path:
    """Write what *client* declares."""
    lines = ["config:", "  hoster:vps:"]
    for each in vps:
        fields = (f"      {key}: {value}" for key, value in each.fields_written().items())
        lines += [f"    {each.name}:", *fields]
    file = project.declaration(client)
    file.write_text("\n".join(lines) + "\n")
    return file


def of_one_client(*vps: VpsDeclaration) -> Declarations:
    return Declarations((ClientDeclarations("acme", Path("Pulumi.acme.yaml"), vps),))


def test_a_vps_has_its_names_in_libvirt_and_on_the_wire(declared: Declared) -> None:
    assert {
        "client": "acme",
        "name": "web",
        "full_name": "acme/web",
        "domain": "acme.web",
        "plan": "kvm-2",
        "image": "debian-12@20250703-2162",
        "location": "paris",
        "ipv4": "203.0.113.17",
        "tap": "vps-cb007111",
        "mac": "02:00:cb:00:71:11",
    } == host_vars.facts(declared())


def test_every_node_has_its_vpss_by_name_and_one_without_has_none(declared: Declared) -> None:
    vps = [declared("acme/web"), declared("acme/api", ipv4=IPv4Address("203.0.113.18"))]

    found = host_vars.by_node(of_one_client(*vps), NODES)

    assert {"paris-1": ["acme/api", "acme/web"], "roubaix-1": []} == {
        node: [each["full_name"] for each in there] for node, there in found.items()
    }


def test_nothing_declared_needs_no_node() -> None:
    assert {} == host_vars.by_node(Declarations(), ())


def test_an_inventory_without_nodes_is_told_once_and_not_for_every_vps(declared: Declared) -> None:
    with pytest.raises(ConfigurationError, match="no host node") as refused:
        host_vars.by_node(of_one_client(declared(), declared("acme/api")), ())

    assert "whole folder inventory/" in refused.value.remedy


def test_everything_wrong_is_told_at_once_by_file_and_line(
    project: Project, declared: Declared
) -> None:
    lost = write(project, "acme", declared("acme/web"), declared("acme/api", node="pariss-1"))
    line = lost.read_text().splitlines().index("      node: pariss-1") + 1
    broken = write(project, "beta", declared("beta/db"))
    broken.write_text(broken.read_text().replace("plan:", "plna:"))

    with pytest.raises(ConfigurationError) as refused:
        host_vars.read_by_node(project, NODES)

    assert [
        f"{lost}:{line}: unknown host node pariss-1; did you mean paris-1?",
        f"{broken}:3: is missing",
        f"{broken}:4: unknown key; did you mean plan?",
    ] == refused.value.message.splitlines()


def test_the_folder_or_a_file_in_it_leads_to_the_project(project: Project) -> None:
    for source in (project.inventory, project.inventory / "hosts.yml"):
        assert project.root == host_vars.project_of([Path("paris-1,"), source]).root


def test_an_inventory_without_declarations_beside_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inventory").mkdir()

    with pytest.raises(ConfigurationError, match="side by side"):
        host_vars.project_of([tmp_path / "inventory"])


def test_a_vps_is_found_with_its_node(project: Project, declared: Declared) -> None:
    write(project, "acme", declared("acme/web"))

    found = host_vars.find(project, "acme/web", NODES)

    assert host_vars.facts(declared("acme/web")) | {"node": "paris-1"} == found


def test_only_the_clients_own_file_is_read_to_find_one(
    project: Project, declared: Declared
) -> None:
    write(project, "acme", declared("acme/web"))
    project.declaration("beta").write_text("{")

    assert "paris-1" == host_vars.find(project, "acme/web", NODES)["node"]


@pytest.mark.parametrize("name", ["acme/wbe", "acne/web", "acme-web", "../acme/web", ""])
def test_a_vps_that_is_not_declared_is_no_silence(
    project: Project, declared: Declared, name: str
) -> None:
    write(project, "acme", declared("acme/web"))

    with pytest.raises(ConfigurationError, match="acme/web"):
        host_vars.find(project, name, NODES)


def test_the_collector_goes_on_after_a_reading_that_failed(project: Project) -> None:
    project.declaration("acme").write_text("{")

    with pytest.raises(ConfigurationError):
        host_vars.read_by_node(project, NODES)

    assert gc.isenabled()
