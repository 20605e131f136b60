"""Every rule of `hoster check`, one file a case."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hoster.catalogue import Catalogue
from hoster.changes import rules
from hoster.orders.declarations import ClientDeclarations, Declarations, VpsDeclaration
from hoster.project import Project
from hoster.project.declarations import read_all

CASES = sorted((Path(__file__).parent / "cases" / "rules").glob("*.yml"))


def write(project: Project, clients: dict[str, Any]) -> None:
    for client, config in clients.items():
        project.declaration(client).write_text(yaml.safe_dump({"config": config}, sort_keys=False))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_a_rule_that_is_broken_is_found_and_nothing_else(
    project: Project, catalogue: Catalogue, case: Path
) -> None:
    told = yaml.safe_load(case.read_text())
    write(project, told["clients"])

    found = rules.check(catalogue, read_all(project))

    assert sorted(each["rule"] for each in told["findings"]) == sorted(each.rule for each in found)
    texts = [f"{'.'.join(each.keys)}: {each.message}" for each in found]
    assert [] == [
        each["says"] for each in told["findings"] if not any(each["says"] in text for text in texts)
    ]


def test_a_node_sold_beyond_its_disk_is_found(
    catalogue: Catalogue, declared: Callable[..., VpsDeclaration]
) -> None:
    node = catalogue.nodes["paris-1"]
    small = node.model_copy(update={"capacity": node.capacity.model_copy(update={"disk_gib": 39})})
    tight = catalogue.model_copy(update={"nodes": {**catalogue.nodes, "paris-1": small}})
    vps = (declared("acme/a"), declared("acme/b", ipv4="203.0.113.18"))
    sealed = {"a": True, "b": True}
    client = ClientDeclarations("acme", Path("Pulumi.acme.yaml"), vps, sealed)

    [found] = rules.check(tight, Declarations((client,)))

    assert ("capacity", "C2.1") == (found.rule, found.contract)
    assert "disk (GiB): 40 declared of 39" in found.message


def test_a_secret_in_clear_is_not_repeated(project: Project, catalogue: Catalogue) -> None:
    write(project, {"acme": {"hoster:access": {"web": "$6$salt$the-hash"}}})

    found = rules.check(catalogue, read_all(project))

    assert ["secret"] == [each.rule for each in found if each.rule == "secret"]
    assert "the-hash" not in "".join(each.message for each in found)


def test_a_private_key_is_named_and_not_repeated(project: Project, catalogue: Catalogue) -> None:
    key = "-----BEGIN OPENSSH " + "PRIVATE KEY-----\nthe-secret"
    fields = {
        "plan": "kvm-2",
        "image": "debian-12@20250703-2162",
        "location": "paris",
        "node": "paris-1",
        "ipv4": "203.0.113.17",
        "ssh_keys": [key],
    }
    write(project, {"acme": {"hoster:vps": {"web": fields}}})

    [found] = [each for each in rules.check(catalogue, read_all(project)) if each.rule == "schema"]

    assert "this is a private key" in found.message
    assert "the-secret" not in found.message
