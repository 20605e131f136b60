"""The program: declarations in, virtual servers out, and nothing final ever changed."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any

import pulumi
import pytest
import yaml
from pydantic import BaseModel

from hoster.changes.impact import redeployed
from hoster.errors import ConfigurationError, RuleError
from hoster.orders.declarations import parse_vps
from hoster.project.inventory import load_catalogue
from hoster.stack import program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.programs.conftest import RecordedEngine

    from hoster.catalogue import Catalogue

INVENTORY = Path(__file__).parents[2] / "inventory"
WEB = {
    "plan": "kvm-2",
    "image": "debian-12@20250703-2162",
    "location": "paris",
    "node": "paris-1",
    "ipv4": "203.0.113.17",
    "term_months": 12,
}
DEPLOYED = {
    "location": "paris",
    "node": "paris-1",
    "ipv4": "203.0.113.17",
    "image": "debian-12@20250703-2162",
    "plan": "kvm-2",
    "disk_gib": 20.0,
}


@dataclass
class Company:
    """A project folder of the test's own, and the engine behind it."""

    root: Path
    engine: RecordedEngine

    def declare(self, **vps: dict[str, Any]) -> dict[str, pulumi.runtime.MockResourceArgs]:
        """Write the declaration of acme, run its program to the end, return what it made."""
        config = {
            "hoster:vps": vps,
            "hoster:access": {name: {"secure": "v1:sealed"} for name in vps},
        }
        path = self.root / "pulumi" / "Pulumi.acme.yaml"
        path.write_text(yaml.safe_dump({"config": config}))
        hashes = json.dumps(dict.fromkeys(vps, "$6$hash"))
        pulumi.runtime.set_all_config({"hoster:access": hashes}, ["hoster:access"])
        run_program()
        return self.engine.resources


@pulumi.runtime.test
def run_program() -> None:
    """Run the program and wait for all that it registers."""
    program.declare()


@pytest.fixture
def company(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: RecordedEngine) -> Company:
    shutil.copytree(INVENTORY, tmp_path / "inventory")
    (tmp_path / "pulumi").mkdir()
    (tmp_path / "pulumi" / "Pulumi.yaml").write_text("name: hoster\nruntime: python\n")
    monkeypatch.setenv("HOSTER_PROJECT", str(tmp_path))
    return Company(tmp_path, engine)


def test_each_vps_goes_to_its_own_node(company: Company) -> None:
    made = company.declare(
        web=WEB,
        db=WEB | {"location": "roubaix", "node": "roubaix-1", "ipv4": "203.0.113.140"},
    )
    uris = {
        name: args.inputs["uri"]
        for name, args in made.items()
        if args.typ == "pulumi:providers:libvirt"
    }
    assert uris == {
        "paris-1": "qemu+ssh://root@198.51.100.11/system",
        "roubaix-1": "qemu+ssh://root@198.51.100.21/system",
    }
    assert "paris-1" in made["web"].provider
    assert "roubaix-1" in made["db-disk"].provider


def test_two_vpss_of_a_client_share_the_provider_of_their_node(company: Company) -> None:
    made = company.declare(web=WEB, db=WEB | {"ipv4": "203.0.113.18"})
    assert [name for name, args in made.items() if args.typ == "pulumi:providers:libvirt"] == [
        "paris-1"
    ]
    assert made["web"].provider == made["db"].provider
    assert company.engine.registered.count("paris-1") == 1


def test_the_metadata_holds_all_that_a_node_needs(company: Company) -> None:
    """C4.3, C4.8, C4.9, C4.10: identity, rates, volume."""
    metadata = company.declare(web=WEB)["web"].inputs["metadata"]
    for part in (
        'client="acme" name="web" plan="kvm-2" location="paris"',
        'ipv4="203.0.113.17" prefix="25" gateway="203.0.113.1"',
        'mac="02:00:cb:00:71:11" tap="vps-cb007111"',
        'guaranteed-mbit-s="100" ceiling-mbit-s="none" throttle-mbit-s="1"',
        'bytes-cycle="10000000000000"',
    ):
        assert part in metadata


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"ipv4": "203.0.113.18"}, "C4.3"),
        ({"location": "roubaix", "node": "roubaix-1", "ipv4": "203.0.113.140"}, "C10.1"),
        ({"plan": "kvm-1"}, "10 GiB and the disk of this VPS is 20 GiB"),
    ],
)
def test_what_is_final_is_refused_before_any_resource(
    company: Company, edit: dict[str, str], said: str
) -> None:
    company.engine.deployed["web"] = DEPLOYED
    with pytest.raises(RuleError, match=said):
        company.declare(web=WEB | edit)
    assert company.engine.resources == {}


def test_what_is_final_is_refused_though_the_checkpoint_was_being_written(
    company: Company,
) -> None:
    """Seen with twenty clients at once and state in files: the engine empties the file first."""
    company.engine.deployed["web"] = DEPLOYED
    company.engine.half_written = 2
    with pytest.raises(RuleError, match=r"C4\.3"):
        company.declare(web=WEB | {"ipv4": "203.0.113.18"})
    assert company.engine.half_written == 0


def test_a_new_release_in_the_catalogue_changes_no_vps(company: Company) -> None:
    """The image is pinned by the order, whatever the catalogue offers next."""
    images = company.root / "inventory" / "group_vars" / "all" / "images.yml"
    document = yaml.safe_load(images.read_text())
    offered = document["images"]["debian-12"]
    offered["releases"]["20990101"] = next(iter(offered["releases"].values()))
    offered["default_release"] = "20990101"
    images.write_text(yaml.safe_dump(document))
    company.engine.deployed["web"] = DEPLOYED
    disk = company.declare(web=WEB)["web-disk"]
    assert disk.inputs["baseVolumeName"] == "debian-12@20250703-2162.qcow2"


def test_a_larger_plan_is_the_same_vps_with_a_larger_disk(company: Company) -> None:
    """C4.7."""
    company.engine.deployed["web"] = DEPLOYED
    made = company.declare(web=WEB | {"plan": "kvm-4"})
    assert made["web-disk"].inputs["size"] == 40 * 2**30
    assert (made["web"].inputs["vcpu"], made["web"].inputs["memory"]) == (4, 4096)


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"plan": "kvm-3"}, "unknown plan kvm-3"),
        ({"ipv4": "203.0.113.1"}, "it is the gateway"),
        ({"node": "roubaix-1"}, "roubaix-1 is at roubaix"),
        ({"colour": "red"}, "unknown key"),
    ],
)
def test_a_declaration_that_is_not_valid_makes_nothing(
    company: Company, edit: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigurationError, match=said):
        company.declare(web=WEB | edit)
    assert company.engine.resources == {}


def test_a_vps_that_vanished_from_its_declaration_is_not_touched(
    company: Company, monkeypatch: pytest.MonkeyPatch
) -> None:
    """C6.3, C15.2: not by an edit, whatever else it changes; only once its end is on record."""
    company.engine.deployed |= {"web": DEPLOYED, "db": DEPLOYED | {"ipv4": "203.0.113.18"}}
    with pytest.raises(RuleError, match=r"acme/db is declared no more(?s:.*)terminate-vps\.yml"):
        company.declare(web=WEB)
    assert company.engine.resources == {}
    monkeypatch.setenv("HOSTER_ENDED", "acme/web other/db")
    with pytest.raises(RuleError, match="acme/db is declared no more"):
        company.declare(web=WEB)
    monkeypatch.setenv("HOSTER_ENDED", "acme/db")
    assert "web" in company.declare(web=WEB)


def test_a_vps_without_sealed_password_makes_nothing(company: Company) -> None:
    path = company.root / "pulumi" / "Pulumi.acme.yaml"
    path.write_text(yaml.safe_dump({"config": {"hoster:vps": {"web": WEB}}}))
    pulumi.runtime.set_all_config({})
    with pytest.raises(ConfigurationError, match="hoster order"):
        run_program()
    assert company.engine.resources == {}


def _with_one_change(value: Any) -> Iterator[Any]:
    """Yield *value* again and again, each time with another of its leaves changed."""
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            for other in _with_one_change(getattr(value, name)):
                yield value.model_copy(update={name: other})
    elif isinstance(value, dict):
        for key, old in value.items():
            for other in _with_one_change(old):
                yield {**value, key: other}
    elif isinstance(value, tuple):
        for number, old in enumerate(value):
            for other in _with_one_change(old):
                yield (*value[:number], other, *value[number + 1 :])
    else:
        yield _another(value)


def _another(leaf: Any) -> Any:
    if isinstance(leaf, IPv4Network):
        return leaf.supernet()
    if isinstance(leaf, (bool, NoneType)):
        return not leaf
    return f"{leaf}x" if isinstance(leaf, str) else leaf + 1


class PretendedAccess:
    """Stands for the sealed passwords, of which nothing is made here."""

    def apply(self, _: object) -> None:
        pass


def test_whatever_of_the_catalogue_a_stack_is_made_from_is_known_to_reach_it() -> None:
    """C4.7: a change of the catalogue is applied to the stacks of those whom it reaches alone."""
    catalogue, vps = load_catalogue(INVENTORY), parse_vps("acme", "web", WEB)
    access: Any = PretendedAccess()

    def made(other: Catalogue) -> tuple[Any, ...]:
        return program._arguments(vps, other, access), other.nodes[vps.node].libvirt_uri

    before, seen = made(catalogue), 0
    for other in _with_one_change(catalogue):
        changes = made(other) != before
        assert not changes or {"acme"} == redeployed(catalogue, other, [vps])
        seen += changes
    assert seen > len(DEPLOYED)
