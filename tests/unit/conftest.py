"""A company's folder to try things in, and a maker of declarations."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Engine, create_engine, make_url, text

from hoster.catalogue import Catalogue
from hoster.ledger import Ledger
from hoster.orders.declarations import VpsDeclaration, parse_vps
from hoster.project import Project
from hoster.project.inventory import load_catalogue

CHECKOUT = Path(__file__).parents[2]
RELEASE = "debian-12@20250703-2162"


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A project with the inventory that ships, and no client yet."""
    shutil.copytree(CHECKOUT / "inventory", tmp_path / "inventory")
    (tmp_path / "pulumi").mkdir()
    shutil.copy(CHECKOUT / "pulumi" / "Pulumi.yaml", tmp_path / "pulumi")
    return Project(tmp_path)


@pytest.fixture
def with_ledger(project: Project, empty_ledger: Path) -> Project:
    """The same project, with a ledger that holds nothing."""
    project.state.mkdir(mode=0o700)
    shutil.copy(empty_ledger, project.state / "ledger.sqlite3")
    return project


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


@pytest.fixture
def git(project: Project) -> Callable[..., None]:
    """Run git in the project."""
    who = ("-c", "user.name=ops", "-c", "user.email=ops@example.org")

    def run(*arguments: str) -> None:
        command = ["git", "-C", str(project.root), *who, *arguments]
        subprocess.run(command, check=True, capture_output=True)

    return run


@pytest.fixture
def repository(
    project: Project, declared: Callable[..., VpsDeclaration], git: Callable[..., None]
) -> Project:
    """The project with two clients of a VPS each, committed on the branch main."""
    for client, ipv4 in {"acme": "203.0.113.17", "beta": "203.0.113.18"}.items():
        some = {"web": declared(f"{client}/web", ipv4=ipv4).fields_written()}
        access = {"web": {"secure": "v1:sealed"}}
        content = {"config": {"hoster:vps": some, "hoster:access": access}}
        project.declaration(client).write_text(yaml.safe_dump(content))
    git("init", "--quiet", "--initial-branch", "main")
    git("add", "--all")
    git("commit", "--quiet", "--message", "Begin")
    return project


def _engine_of(url: str) -> Engine:
    target = make_url(url)
    sqlite = target.get_backend_name() == "sqlite"
    return create_engine(target if sqlite else target.set(drivername="postgresql+psycopg"))


@pytest.fixture(scope="session")
def engine_of() -> Callable[[str], Engine]:
    """Look at the database past the ledger."""
    return _engine_of


@pytest.fixture(scope="session")
def events() -> Callable[[str], list[tuple[str, str]]]:
    """Read the kinds and subjects of the audit trail's entries, past the ledger."""

    def read(url: str) -> list[tuple[str, str]]:
        engine = _engine_of(url)
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT kind, subject FROM event ORDER BY id")).all()
        engine.dispose()
        return [(row.kind, row.subject) for row in rows]

    return read


@pytest.fixture(scope="session")
def side_by_side() -> Callable[[str, list[list[str]]], list[str]]:
    """Run a script once for each of some arguments, all at once; return what they print."""

    def run(script: str, arguments: list[list[str]]) -> list[str]:
        running = [
            subprocess.Popen(
                [sys.executable, "-c", script, *each],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for each in arguments
        ]
        done = [(*process.communicate(timeout=120), process.returncode) for process in running]
        assert [("", 0)] * len(arguments) == [(error, code) for _, error, code in done]
        return [output for output, _, _ in done]

    return run


@pytest.fixture(scope="session")
def fresh_ledger(
    tmp_path_factory: pytest.TempPathFactory, empty_ledger: Path
) -> Callable[[], Ledger]:
    """Open a new ledger on SQLite that holds nothing."""
    folder = tmp_path_factory.mktemp("ledgers")
    number = count()

    def make() -> Ledger:
        file = shutil.copy(empty_ledger, folder / f"{next(number)}.sqlite3")
        return Ledger.open(f"sqlite:///{file}")

    return make


@pytest.fixture
def ordered(ledger: Ledger, now: datetime) -> Ledger:
    """A ledger with one order, of acme/web, not delivered."""
    ledger.orders.begin("acme/web", IPv4Address("203.0.113.17"), user="debian", now=now)
    return ledger


@pytest.fixture
def delivered(ordered: Ledger, now: datetime) -> Ledger:
    """A ledger with one delivery, whose mail waits."""
    values = {"vps": "acme/web", "ipv4": "203.0.113.17"}
    ordered.orders.deliver("acme/web", values, now)
    return ordered
