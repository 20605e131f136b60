"""A company's folder to try things in, and a maker of declarations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from hoster.catalogue import Catalogue
from hoster.declarations import VpsDeclaration, parse_vps
from hoster.inventory import load_catalogue
from hoster.project import Project

CHECKOUT = Path(__file__).parents[2]
RELEASE = "debian-12@20250703-2162"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with the inventory that ships, and no client yet."""
    shutil.copytree(CHECKOUT / "inventory", tmp_path / "inventory")
    (tmp_path / "pulumi").mkdir()
    shutil.copy(CHECKOUT / "pulumi" / "Pulumi.yaml", tmp_path / "pulumi")
    return Project(tmp_path)


@pytest.fixture(scope="session")
def catalogue() -> Catalogue:
    """The catalogue that ships."""
    return load_catalogue(CHECKOUT / "inventory")


@pytest.fixture(scope="session")
def declared() -> Callable[..., VpsDeclaration]:
    """Make a declaration; what is not said is the same for all."""

    def make(full_name: str = "acme/web", **fields: Any) -> VpsDeclaration:
        client, _, name = full_name.partition("/")
        usual = {
            "plan": "kvm-2",
            "image": RELEASE,
            "location": "paris",
            "node": "paris-1",
            "ipv4": IPv4Address("203.0.113.17"),
        }
        return parse_vps(client, name, usual | fields)

    return make
