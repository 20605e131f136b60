"""What can be sold, read and judged: each case breaks the shipped inventory in one place (C4.1)."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import pytest
import yaml

from hoster.catalogue import TRAFFIC_BYTES, Catalogue, pinned
from hoster.errors import ConfigurationError
from hoster.project import Project
from hoster.project.inventory import InventoryError, load_catalogue

CASES = sorted((Path(__file__).parent / "cases" / "inventory").glob("*.yml"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_what_is_wrong_is_told_with_file_key_and_what_is_allowed(
    project: Project, case: Path
) -> None:
    told = yaml.safe_load(case.read_text())
    file = project.inventory / told["file"]
    text = file.read_text()
    assert told["replace"] in text
    file.write_text(text.replace(told["replace"], told["with"], 1))

    with pytest.raises(ConfigurationError) as caught:
        load_catalogue(project.inventory)

    assert [] == [part for part in told["says"] if part not in str(caught.value)]


def test_everything_that_is_wrong_is_told_at_once(project: Project) -> None:
    for file, old, new in (
        ("group_vars/all/plans.yml", "vcpus: 1", "vcpus: 0"),
        ("group_vars/all/policy.yml", "bridge: br-public", "bridge: 'no bridge'"),
        ("hosts.yml", "vcpus: 48", "vcpus: many"),
    ):
        path = project.inventory / file
        path.write_text(path.read_text().replace(old, new, 1))

    with pytest.raises(InventoryError) as caught:
        load_catalogue(project.inventory)

    files = {str(problem.file.relative_to(project.inventory)) for problem in caught.value.problems}
    assert {"group_vars/all/plans.yml", "group_vars/all/policy.yml", "hosts.yml"} == files


def test_two_nodes_of_one_name_are_refused(project: Project) -> None:
    hosts = project.inventory / "hosts.yml"
    hosts.write_text(hosts.read_text().replace("roubaix-1:", "paris-1:"))

    with pytest.raises(InventoryError, match="is at paris already"):
        load_catalogue(project.inventory)


def test_an_inventory_without_its_plans_says_so(project: Project) -> None:
    (project.inventory / "group_vars/all/plans.yml").unlink()

    with pytest.raises(InventoryError, match="«plans»"):
        load_catalogue(project.inventory)


def test_the_shipped_catalogue_sells_what_the_contract_promises(catalogue: Catalogue) -> None:
    kvm = {name: plan for name, plan in catalogue.plans.items() if plan.range == "kvm"}

    assert 3 <= len(kvm)
    assert {100} <= {plan.guaranteed_mbit_s for plan in kvm.values()}
    assert {TRAFFIC_BYTES} == {plan.traffic_bytes for plan in kvm.values()}
    assert {1} == {plan.throttle_mbit_s for plan in kvm.values()}


def test_money_is_exact(catalogue: Catalogue) -> None:
    assert Decimal("4.99") == catalogue.plans["kvm-1"].price_eur_month


def test_unlimited_traffic_has_no_number_to_reach(project: Project) -> None:
    plans = project.inventory / "group_vars/all/plans.yml"
    plans.write_text(
        re.sub(r"traffic_bytes_month: \d+", "traffic_bytes_month: unlimited", plans.read_text())
    )

    assert {None} == {
        plan.traffic_bytes for plan in load_catalogue(project.inventory).plans.values()
    }


def test_a_value_never_changes(catalogue: Catalogue) -> None:
    with pytest.raises(ValueError, match="frozen"):
        catalogue.plans["kvm-1"].disk_gib = 5  # type: ignore[misc]  # that is what is tried


def test_libvirt_is_reached_over_ssh_where_nothing_else_is_said(catalogue: Catalogue) -> None:
    assert "qemu+ssh://root@198.51.100.11/system" == catalogue.nodes["paris-1"].libvirt_uri


def test_ansible_reads_the_same_inventory(project: Project) -> None:
    program = shutil.which("ansible-inventory", path=str(Path(sys.executable).parent))
    assert program, "ansible-core is one of the requirements"

    listed = json.loads(
        subprocess.run(
            [program, "-i", str(project.inventory), "--list"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    )

    assert {"paris", "roubaix"} == set(listed["host_nodes"]["children"])
    assert ["paris-1"] == listed["paris"]["hosts"]
    variables = listed["_meta"]["hostvars"]["paris-1"]
    assert 7000 == variables["node_capacity"]["disk_gib"]
    assert "vps" == variables["policy"]["storage_pool"]


@pytest.mark.parametrize("text", ["debian-12", "debian-12@", "@1", "Debian@1", "a@b@c", "a@../b"])
def test_an_image_is_pinned_or_it_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="image@release"):
        pinned(text)


def test_a_pinned_image_has_two_parts() -> None:
    assert ("debian-12", "20250703-2162") == pinned("debian-12@20250703-2162")
