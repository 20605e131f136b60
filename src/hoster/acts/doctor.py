"""What the control machine needs, looked at one by one: what is there, and how to get the rest.

Nothing is changed, nothing is sent: the mail server and the nodes are only connected to.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from hoster.errors import HosterError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hoster.catalogue import Catalogue, Node, Smtp
    from hoster.project import Project

OLDEST_PYTHON = (3, 11)
CONNECT_SECONDS = 5
NODE_SECONDS = 20
PLUGIN = "pulumi-resource-libvirt"
_SETUP = "Run scripts/setup, then `source scripts/lib/env.sh`."
_PASSPHRASES = ("PULUMI_CONFIG_PASSPHRASE", "PULUMI_CONFIG_PASSPHRASE_FILE")
_ASK_NODE = (
    "import sys, libvirt; libvirt.registerErrorHandler(lambda *_: None, None);"
    "print(libvirt.openReadOnly(sys.argv[1]).getHostname())"
)


@dataclass(frozen=True)
class Examination:
    """One thing looked at: what was found, whether it will do, and what to do where it will not.

    Where ``required`` is false the toolkit works without it, with a part missing.
    """

    name: str
    ok: bool
    found: str
    fix: str = ""
    required: bool = True


def examine(load: Callable[[], tuple[Project, Catalogue]], *, nodes: bool) -> list[Examination]:
    """Look at everything; *load* gives the project and its catalogue, *nodes* asks each node."""
    found = list(tools(os.environ))
    try:
        project, catalogue = load()
    except HosterError as error:
        return [*found, Examination("inventory", ok=False, found=error.message, fix=error.remedy)]
    count = f"{len(catalogue.plans)} plans, {len(catalogue.nodes)} host nodes"
    found.append(Examination("inventory", ok=True, found=count))
    found += [plugin(project.program), ledger(project.ledger_url), smtp(catalogue.company.smtp)]
    return found + ([node(each) for each in catalogue.nodes.values()] if nodes else [])


def tools(environment: os._Environ[str] | dict[str, str]) -> Iterator[Examination]:
    """Look at this machine's programs, settings and clock."""
    yield python(sys.version_info[:3])
    yield pulumi(_output("pulumi", "version"), _installed("pulumi"))
    yield on_path("pulumi-language-python", _SETUP)
    yield on_path("ansible-playbook", _SETUP)
    yield _libvirt()
    given = [name for name in _PASSPHRASES if environment.get(name)]
    yield Examination(
        "passphrase",
        ok=bool(given),
        found=given[0] if given else "not set",
        fix=f"Set {_PASSPHRASES[1]} to the file with the company's passphrase.",
    )
    yield clock(_output("timedatectl", "show", "--property=NTPSynchronized", "--value"))


def python(found: tuple[int, ...]) -> Examination:
    """Judge the interpreter's version."""
    oldest = ".".join(map(str, OLDEST_PYTHON))
    return Examination(
        "python",
        ok=found >= OLDEST_PYTHON,
        found=".".join(map(str, found)),
        fix=f"Install Python {oldest} or newer, then run scripts/setup.",
    )


def pulumi(engine: str | None, sdk: str | None) -> Examination:
    """Judge the engine beside the SDK: their minor versions are the same, or they disagree."""
    if engine is None or sdk is None:
        missing = "pulumi is not on PATH" if engine is None else "its Python SDK is not installed"
        return Examination("pulumi", ok=False, found=missing, fix=_SETUP)
    number = engine.removeprefix("v")
    return Examination(
        "pulumi",
        ok=number.split(".")[:2] == sdk.split(".")[:2],
        found=f"{number}, SDK {sdk}",
        fix=f"Install an engine {'.'.join(sdk.split('.')[:2])}: {_SETUP}",
    )


def on_path(program: str, fix: str) -> Examination:
    """Look for *program* on PATH."""
    place = shutil.which(program)
    return Examination(program, ok=place is not None, found=place or "not on PATH", fix=fix)


def clock(synchronised: str | None) -> Examination:
    """Judge what ``timedatectl`` says: terms, cycles and quarantines hang on the time of day."""
    answers = {"yes": "synchronised", "no": "not synchronised", None: "no timedatectl to ask"}
    return Examination(
        "clock",
        ok=synchronised == "yes",
        found=answers.get(synchronised, str(synchronised)),
        fix="Let a time service keep it: apt-get install systemd-timesyncd (or chrony).",
        required=False,
    )


def plugin(program: Path) -> Examination:
    """Look for the launcher of the libvirt provider beside the Pulumi program."""
    launcher = program / "plugin" / PLUGIN
    return Examination(
        "libvirt provider",
        ok=os.access(launcher, os.X_OK),
        found=str(launcher) if launcher.exists() else f"no {launcher}",
        fix=f"Restore it from Git and make it executable: chmod +x {launcher}",
    )


def ledger(url: str) -> Examination:
    """Open the ledger and read from it; a SQLite file that is not there yet is not made."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    from hoster.ledger import Ledger

    shown = "ledger"
    try:
        where = make_url(url)
        shown = where.render_as_string(hide_password=True)
        if where.drivername == "sqlite" and not Path(where.database or "").exists():
            return Examination("ledger", ok=True, found=f"{shown}, made by the first client")
        with Ledger.open(url) as opened:
            count = len(opened.clients.all())
    except (SQLAlchemyError, HosterError, OSError) as error:
        fix = "Start the database, or mend HOSTER_LEDGER."
        return Examination("ledger", ok=False, found=f"{shown}: {error}", fix=fix)
    return Examination("ledger", ok=True, found=f"{shown}, {count} clients")


def smtp(server: Smtp) -> Examination:
    """Connect to the mail server."""
    place = f"{server.host}:{server.port}"
    try:
        socket.create_connection((server.host, server.port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return Examination(
            "smtp",
            ok=False,
            found=f"{place}: {error}",
            fix="Start it, or mend company.smtp in inventory/group_vars/all/company.yml. "
            "Mails wait in the outbox meanwhile.",
            required=False,
        )
    return Examination("smtp", ok=True, found=place, required=False)


def node(target: Node) -> Examination:
    """Ask a node's libvirt for its name, in a process that can be given up."""
    uri = target.libvirt_uri
    if "+ssh:" in uri:
        uri += ("&" if "?" in uri else "?") + "no_tty=1"
    name = f"node {target.name}"
    fix = f"Try `virsh -c {target.libvirt_uri} list`; playbooks/configure-nodes.yml sets it up."
    try:
        done = subprocess.run(
            [sys.executable, "-c", _ASK_NODE, uri],
            capture_output=True,
            text=True,
            timeout=NODE_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Examination(name, ok=False, found=f"no answer in {NODE_SECONDS} s", fix=fix)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Examination(name, ok=False, found=reason, fix=fix)
    return Examination(name, ok=True, found=f"{target.libvirt_uri} ({done.stdout.strip()})")


def _libvirt() -> Examination:
    found = _installed("libvirt-python")
    return Examination(
        "libvirt client",
        ok=importlib.util.find_spec("libvirt") is not None,
        found=f"libvirt-python {found}" if found else "not installed",
        fix=_SETUP,
    )


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _output(*argv: str) -> str | None:
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
