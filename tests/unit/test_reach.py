"""Which stacks a change reaches, in a real Git repository."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hoster.acts import reach
from hoster.acts.change import Change
from hoster.acts.reach import clients_since
from hoster.errors import ConfigurationError
from hoster.orders.declarations import VpsDeclaration
from hoster.project import Project

KNOWN = ["acme", "beta"]
ANOTHER_NODE = """            paris-9:
              node_capacity: {disk_gib: 7000, memory_mib: 262144, vcpus: 48, uplink_mbit_s: 10000}
"""


CHECKOUT = Project(Path(__file__).parents[2])
EVERYBODYS = sorted(reach.ingredients(CHECKOUT))
LOADED = """
import pkgutil, sys
import hoster.stack.program, libvirt_provider
for one in pkgutil.iter_modules(libvirt_provider.__path__, "libvirt_provider."):
    if not one.name.endswith("__main__"):
        __import__(one.name)
for module in list(sys.modules.values()):
    print(getattr(module, "__file__", None) or "")
"""


def git(project: Project, *arguments: str) -> None:
    who = ("-c", "user.name=ops", "-c", "user.email=ops@example.org")
    subprocess.run(["git", "-C", str(project.root), *who, *arguments], check=True)


@pytest.fixture
def versioned(project: Project, declared: Callable[..., VpsDeclaration]) -> Project:
    """The project as a folder of a repository, two clients' VPSs in it, all of it committed."""
    some = {
        "acme": declared("acme/web"),
        "beta": declared("beta/web", plan="kvm-1", location="roubaix", node="roubaix-1"),
    }
    for client, vps in some.items():
        content = {"config": {"hoster:vps": {"web": vps.fields_written()}}}
        project.declaration(client).write_text(yaml.safe_dump(content))
    git(project, "init", "--quiet")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--message", "Begin")
    return project


def reached(project: Project, ref: str = "HEAD") -> list[str]:
    return clients_since(Change(project, ref))


def test_nothing_changed_reaches_nobody(versioned: Project) -> None:
    assert [] == reached(versioned)


def test_a_declaration_reaches_its_client_committed_or_not(versioned: Project) -> None:
    versioned.declaration("acme").write_text("config: {a: 1}\n")
    versioned.declaration("new").write_text("config: {}\n")
    assert ["acme", "new"] == reached(versioned)

    git(versioned, "add", "--all")
    git(versioned, "commit", "--quiet", "--message", "Change")
    assert [] == reached(versioned)
    assert ["acme", "new"] == reached(versioned, "HEAD~1")


def test_a_declaration_that_is_gone_reaches_its_client(versioned: Project) -> None:
    versioned.declaration("beta").unlink()
    assert ["beta"] == reached(versioned)


@pytest.mark.parametrize(
    "file", ["pulumi/Pulumi.yaml", "src/hoster/stack/program.py", "templates/domain.xslt.j2"]
)
def test_what_all_are_made_with_reaches_all(versioned: Project, file: str) -> None:
    path = versioned.root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("# another\n")
    assert KNOWN == reached(versioned)


@pytest.mark.parametrize("file", EVERYBODYS)
def test_each_file_that_stacks_are_made_from_reaches_all(project: Project, file: str) -> None:
    assert reach.reaches_everybody(project, ["README.md", file])


def test_whatever_the_program_and_the_provider_load_reaches_all() -> None:
    """Asked of Python itself: what a run of theirs has in ``sys.modules``."""
    printed = subprocess.run(
        [sys.executable, "-c", LOADED], capture_output=True, text=True, check=True
    ).stdout
    source = CHECKOUT.root / "src"
    loaded = {Path(line) for line in printed.splitlines() if line.startswith(f"{source}/")}
    names = {str(path.relative_to(CHECKOUT.root)) for path in loaded}

    assert {"src/hoster/orders/placement.py", "src/libvirt_provider/domain.py"} <= names
    assert set() == {name for name in names if not reach.reaches_everybody(CHECKOUT, [name])}


def test_the_program_and_the_launcher_start_what_is_followed() -> None:
    program = ast.parse((CHECKOUT.program / "__main__.py").read_text())
    launcher = (CHECKOUT.program / "plugin" / "pulumi-resource-libvirt").read_text()

    assert [reach.PROGRAM] == [
        node.module for node in ast.walk(program) if isinstance(node, ast.ImportFrom)
    ]
    assert f'run_module("{reach.PROVIDER}"' in launcher


def test_every_template_but_those_of_mails_is_what_stacks_are_made_from() -> None:
    folder = CHECKOUT.root / "templates"
    every = {str(file.relative_to(folder)) for file in folder.rglob("*.j2")}

    assert {name for name in every if not name.startswith("mail/")} == set(reach.rendered())
    assert [] == [
        name
        for name in reach.rendered()
        if any(word in (folder / name).read_text() for word in ("include", "extends", "import"))
    ]


@pytest.mark.parametrize(
    "file",
    ["src/hoster/acts/order.py", "src/hoster/cli/order.py", "templates/mail/en/delivery.txt.j2"],
)
def test_what_no_stack_is_made_from_is_none_of_it(file: str) -> None:
    assert (CHECKOUT.root / file).exists()
    assert not reach.reaches_everybody(CHECKOUT, [file])


def test_an_apply_begins_anew_where_any_of_it_changed(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = {name: tmp_path / str(number) for number, name in enumerate(EVERYBODYS)}
    for name, copy in copies.items():
        copy.write_bytes(reach.ingredients(CHECKOUT)[name].read_bytes())
    monkeypatch.setattr(reach, "ingredients", lambda _: copies)
    seen = [reach.digests(project, ["acme"])["acme"]]
    for copy in copies.values():
        copy.write_bytes(copy.read_bytes() + b"#")
        seen.append(reach.digests(project, ["acme"])["acme"])

    assert len(EVERYBODYS) + 1 == len(set(seen))


def test_clients_have_a_digest_each(versioned: Project) -> None:
    before = reach.digests(versioned, KNOWN)
    versioned.declaration("acme").write_text("config: {}\n")
    after = reach.digests(versioned, KNOWN)

    assert ["acme"] == [client for client in KNOWN if before[client] != after[client]]


@pytest.mark.parametrize(
    ("file", "old", "new", "clients"),
    [
        ("group_vars/all/plans.yml", "memory_mib: 2048", "memory_mib: 3072", ["acme"]),
        ("group_vars/all/plans.yml", "throttle_mbit_s: 1", "throttle_mbit_s: 2", KNOWN),
        ("group_vars/all/plans.yml", 'price_eur_month: "8.99"', 'price_eur_month: "9.99"', []),
        ("group_vars/all/policy.yml", "bridge: br-public", "bridge: br-other", KNOWN),
        ("group_vars/all/policy.yml", "proof_hours: 72", "proof_hours: 96", []),
        (
            "group_vars/all/locations.yml",
            "gateway: 203.0.113.1\n",
            "gateway: 203.0.113.2\n",
            ["acme"],
        ),
        ("group_vars/all/network.yml", "ports: [135, 593]", "ports: [135]", []),
        ("group_vars/all/network.yml", "network:", "# A remark.\nnetwork:", []),
        ("hosts.yml", "disk_gib: 7000", "disk_gib: 8000", []),
        ("hosts.yml", "            paris-1:", f"{ANOTHER_NODE}            paris-1:", []),
    ],
)
def test_a_catalogue_reaches_those_whom_it_deploys_otherwise(
    versioned: Project, file: str, old: str, new: str, clients: list[str]
) -> None:
    """C4.7: a port that is closed, a price or another node is no reason to touch a stack."""
    path = versioned.inventory / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))

    assert clients == reached(versioned)


def test_whose_declaration_cannot_be_judged_is_reached_by_any_catalogue(
    versioned: Project,
) -> None:
    versioned.declaration("acme").write_text("config: {'hoster:vps': {web: {plan: [1]}}}\n")
    git(versioned, "commit", "--quiet", "--all", "--message", "Break it")
    hosts = versioned.inventory / "hosts.yml"
    hosts.write_text(hosts.read_text() + "# A remark.\n")

    assert ["acme"] == reached(versioned)


def test_a_catalogue_that_was_not_valid_reaches_all(versioned: Project) -> None:
    plans = versioned.inventory / "group_vars" / "all" / "plans.yml"
    sound = plans.read_text()
    plans.write_text(sound.replace("memory_mib:", "memory:"))
    git(versioned, "commit", "--quiet", "--all", "--message", "Break it")
    plans.write_text(sound)

    assert KNOWN == reached(versioned)


def test_what_no_stack_is_made_from_reaches_nobody(versioned: Project) -> None:
    (versioned.root / "README.md").write_text("Read me.\n")
    assert [] == reached(versioned)


def test_only_the_projects_own_files_count(versioned: Project) -> None:
    """A company's folder may be a part of a larger repository."""
    inner = versioned.root / "company"
    (inner / "pulumi").mkdir(parents=True)
    (inner / "inventory").mkdir()
    (inner / "pulumi" / "Pulumi.acme.yaml").write_text("config: {}\n")
    versioned.declaration("beta").unlink()

    assert ["acme"] == reached(Project(inner))


def test_a_ref_that_is_not_there_is_named_with_the_remedy(versioned: Project) -> None:
    with pytest.raises(ConfigurationError, match=r"origin/main(?s:.*)git fetch"):
        reached(versioned, "origin/main")


def test_a_folder_without_git_is_said(project: Project) -> None:
    with pytest.raises(ConfigurationError, match="not a git repository"):
        reached(project)
