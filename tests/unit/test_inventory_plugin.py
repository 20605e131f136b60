"""Ansible's own programs, on a company's inventory: what they see of the declared VPSs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hoster.project import Project
from hoster_lab import nodes
from hoster_lab.company import Company
from hoster_lab.os_image import OsImage
from hoster_lab.ssh import Ssh

CHECKOUT = Path(__file__).parents[2]
UNTRUSTED = "__ansible_unsafe"
ACME = """\
config:
  hoster:vps:
    web:
      plan: kvm-2
      image: debian-12@20250703-2162
      location: paris
      node: paris-1
      ipv4: 203.0.113.17
      ssh_keys:
        - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA a@b
    api:
      plan: kvm-1
      image: debian-12@20250703-2162
      location: paris
      node: paris-1
      ipv4: 203.0.113.18
  hoster:access:
    web:
      secure: v1:c2VhbGVk
"""
BETA = """\
config:
  hoster:vps:
    db:
      plan: kvm-4
      image: debian-12@20250703-2162
      location: roubaix
      node: roubaix-1
      ipv4: 203.0.113.140
"""
ACT = """\
- name: Act on the node of one VPS
  hosts: "{{ lookup('hoster_vps', vps).node }}"
  gather_facts: false
  connection: local
  tasks:
    - name: Show the tap
      ansible.builtin.debug:
        msg: "{{ inventory_hostname }} has {{ mine.tap }}"
      vars:
        mine: "{{ declared_vps | selectattr('full_name', 'eq', vps) | first }}"
"""


def run(
    program: str, *arguments: str | Path, cwd: Path | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run one of Ansible's programs with the checkout's settings, and nobody else's."""
    mine = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("ANSIBLE_", "HOSTER_"))
    }
    return subprocess.run(
        [Path(sys.executable).parent / program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env=mine | {"ANSIBLE_CONFIG": str(CHECKOUT / "ansible.cfg")} | environment,
    )


def plain(listing: str) -> Any:
    """Return what ansible-inventory printed, without its marks on texts that are no templates."""
    return json.loads(listing, object_hook=lambda value: value.get(UNTRUSTED, value))


def listed(inventory: Path, **environment: str) -> dict[str, list[dict[str, str]]]:
    """Return what each host has as its declared VPSs."""
    done = run("ansible-inventory", "-i", inventory, "--list", **environment)
    assert (0, "") == (done.returncode, done.stderr)
    hosts: dict[str, Any] = plain(done.stdout)["_meta"]["hostvars"]
    return {host: variables["declared_vps"] for host, variables in hosts.items()}


@pytest.fixture
def company(project: Project) -> Project:
    """A company with two nodes and three VPSs."""
    project.declaration("acme").write_text(ACME)
    project.declaration("beta").write_text(BETA)
    return project


def test_each_node_has_the_vpss_declared_on_it_and_nothing_personal(
    company: Project, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()

    done = run(
        "ansible-inventory",
        "-i",
        company.inventory,
        "--list",
        cwd=elsewhere,
        HOSTER_PROJECT=str(elsewhere),
    )

    assert (0, "") == (done.returncode, done.stderr)
    content = plain(done.stdout)
    hosts = content["_meta"]["hostvars"]
    assert {
        "paris-1": [("acme/api", "kvm-1"), ("acme/web", "kvm-2")],
        "roubaix-1": [("beta/db", "kvm-4")],
    } == {
        host: [(vps["full_name"], vps["plan"]) for vps in variables["declared_vps"]]
        for host, variables in hosts.items()
    }
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
    } == hosts["paris-1"]["declared_vps"][1]
    assert ["paris", "roubaix"] == content["host_nodes"]["children"]
    assert "198.51.100.11" == hosts["paris-1"]["ansible_host"]
    assert [] == [text for text in ("ssh-ed25519", "a@b", "c2VhbGVk") if text in done.stdout]


def test_no_text_of_a_declaration_is_a_template(company: Project) -> None:
    done = run("ansible-inventory", "-i", company.inventory, "--list")

    declared = json.loads(done.stdout)["_meta"]["hostvars"]["roubaix-1"]["declared_vps"]
    assert {UNTRUSTED: "beta/db"} == declared[0]["full_name"]
    assert [] == [value for value in declared[0].values() if UNTRUSTED not in value]


def test_a_second_run_says_the_same_and_a_change_is_seen_whatever_is_cached(
    company: Project, tmp_path: Path
) -> None:
    cached = {
        "ANSIBLE_INVENTORY_CACHE": "1",
        "ANSIBLE_INVENTORY_CACHE_PLUGIN": "ansible.builtin.jsonfile",
        "ANSIBLE_INVENTORY_CACHE_CONNECTION": str(tmp_path / "cache"),
    }
    first = listed(company.inventory, **cached)
    assert first == listed(company.inventory, **cached)

    company.declaration("beta").write_text(BETA.replace("kvm-4", "kvm-8"))

    assert ["kvm-8"] == [vps["plan"] for vps in listed(company.inventory, **cached)["roubaix-1"]]


def test_a_company_without_an_order_has_nodes_without_vpss(project: Project) -> None:
    (project.program / "Pulumi.yaml").unlink()

    assert {"paris-1": [], "roubaix-1": []} == listed(project.inventory)


def test_what_is_wrong_stops_the_run_and_all_of_it_is_told(company: Project) -> None:
    acme, beta = company.declaration("acme"), company.declaration("beta")
    acme.write_text(ACME.replace("node: paris-1", "node: pariss-1", 1))
    beta.write_text(BETA.replace("plan: kvm-4", "plan: [kvm-4]"))

    done = run("ansible-inventory", "-i", company.inventory, "--list")

    assert (1, "") == (done.returncode, done.stdout)
    assert f"{acme}:7: unknown host node pariss-1; did you mean paris-1?" in done.stderr
    assert f"{beta}:4: input should be a valid string" in done.stderr
    assert "Mend the declarations; `hoster check`" in done.stderr


def test_a_file_that_is_no_yaml_stops_the_run(company: Project) -> None:
    company.declaration("beta").write_text("config:\n  hoster:vps: {\n")

    done = run("ansible-inventory", "-i", company.inventory, "--list")

    assert (1, "") == (done.returncode, done.stdout)
    assert f"{company.declaration('beta')}:3: " in done.stderr


def test_an_ansible_without_hoster_beside_it_says_how_to_get_it(
    company: Project, tmp_path: Path
) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "hoster.py").write_text('raise ImportError("No module named hoster")\n')

    done = run("ansible-inventory", "-i", company.inventory, "--list", PYTHONPATH=str(hidden))

    assert 1 == done.returncode
    assert "cannot import hoster: No module named hoster" in done.stderr
    assert "scripts/setup" in done.stderr


def test_an_act_finds_the_node_of_its_vps(company: Project, tmp_path: Path) -> None:
    act = tmp_path / "act.yml"
    act.write_text(ACT)

    done = run("ansible-playbook", "-i", company.inventory, act, "-e", "vps=beta/db")

    assert 0 == done.returncode, done.stderr
    assert "roubaix-1 has vps-cb00718c" in done.stdout
    assert "paris-1" not in done.stdout


def test_an_act_on_a_vps_that_is_not_declared_fails(company: Project, tmp_path: Path) -> None:
    act = tmp_path / "act.yml"
    act.write_text(ACT)

    done = run("ansible-playbook", "-i", company.inventory, act, "-e", "vps=beta/bd")

    assert 0 != done.returncode
    assert "nothing is declared as beta/bd; did you mean beta/db?" in done.stderr


def test_the_labs_company_has_it_too(tmp_path: Path) -> None:
    company = Company(tmp_path / "lab", CHECKOUT)
    company.root.mkdir()
    company.write(
        nodes.NODES,
        ssh=Ssh(company.root / "ssh"),
        image=OsImage(str(tmp_path / "x"), "20260101-aa", "ab" * 64, 2, "", ""),
        domain_type="qemu",
        smtp_port=2525,
    )
    Project(company.project).declaration("beta").write_text(BETA)

    assert {"paris-1": [], "roubaix-1": ["beta/db"]} == {
        node: [vps["full_name"] for vps in there]
        for node, there in listed(company.inventory).items()
    }
