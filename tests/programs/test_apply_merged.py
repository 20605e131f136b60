"""`scripts/apply-merged`: what was merged is applied once, in order, and nothing else is."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from hoster.engine import pulumi_cli
from hoster.project import Project

ROOT = Path(__file__).parents[2]
VPS = {
    "plan": "kvm-2",
    "image": "debian-12@20250703-2162",
    "location": "paris",
    "node": "paris-1",
}
TAG = "refs/tags/applied"
Git = Callable[..., str]


@pytest.fixture
def git(deployable: Project, tmp_path: Path) -> Git:
    """Run git in the project, a clone of the repository ``remote.git``."""
    who = ("-c", "user.name=ops", "-c", "user.email=ops@example.org")

    def run(*arguments: str, folder: Path = deployable.root) -> str:
        argv = ["git", "-C", str(folder), *who, *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    run("init", "--quiet", "--bare", str(tmp_path / "remote.git"), folder=tmp_path)
    run("init", "--quiet", "--initial-branch", "main")
    run("remote", "add", "origin", str(tmp_path / "remote.git"))
    return run


@pytest.fixture
def merge(deployable: Project, git: Git) -> Callable[..., str]:
    """Declare VPSs of clients (name and address) and commit that; return the commit."""
    inventory = ROOT / "inventory"
    subprocess.run(["cp", "-r", f"{inventory}/.", deployable.inventory], check=True)

    def commit(**clients: str) -> str:
        for client, ipv4 in clients.items():
            pulumi_cli.ensure_stack(deployable, client)
            file = deployable.declaration(client)
            sealed = pulumi_cli.encrypt(deployable, client, "a hash")
            content = yaml.safe_load(file.read_text())
            content["config"] = {
                "hoster:vps": {"web": {**VPS, "ipv4": ipv4}},
                "hoster:access": {"web": {"secure": sealed}},
            }
            file.write_text(yaml.safe_dump(content))
        git("add", "--all")
        git("commit", "--quiet", "--allow-empty", "--message", "Merge")
        return git("rev-parse", "HEAD")

    return commit


@pytest.fixture
def apply(deployable: Project, tmp_path: Path) -> Callable[..., tuple[int, dict[str, str], str]]:
    """Run it; return its exit code, what became of each client, and what it told."""

    def run(*options: str) -> tuple[int, dict[str, str], str]:
        report = tmp_path / "apply.json"
        report.unlink(missing_ok=True)
        done = subprocess.run(
            [ROOT / "scripts" / "apply-merged", "--report", report, *options],
            cwd=deployable.root,
            env=os.environ | {"HOSTER_PROJECT": str(deployable.root)},
            capture_output=True,
            text=True,
            check=False,
        )
        clients = json.loads(report.read_text())["clients"] if report.exists() else []
        results = {one["client"]: one["result"] for one in clients}
        return done.returncode, results, done.stdout + done.stderr

    return run


def test_each_merge_is_applied_once_and_what_failed_with_the_next(
    deployable: Project, git: Git, merge: Callable[..., str], apply: Callable[..., tuple]
) -> None:
    """C4.7: a pipeline may be cut, or never begun; nothing that was merged is forgotten."""
    first = merge(acme="203.0.113.17")
    code, results, said = apply()
    assert (0, {"acme": "changed"}) == (code, results), said
    assert first == git("ls-remote", "origin", TAG).split()[0]
    assert (0, {}) == apply()[:2]

    merge(beta="203.0.113.18")
    program = deployable.program / "__main__.py"
    sound = program.read_text()
    program.write_text("raise SystemExit('a node is out of reach')")
    code, results, said = apply()
    assert (1, "failed") == (code, results["beta"])
    assert "a node is out of reach" in said
    assert first == git("ls-remote", "origin", TAG).split()[0]
    program.write_text(sound)

    third = merge(gamma="203.0.113.19")
    code, results, _ = apply()
    assert (0, {"beta", "gamma"}) == (code, set(results))
    assert "changed" == results["gamma"]
    assert third == git("ls-remote", "origin", TAG).split()[0]


def test_an_older_commit_is_not_applied_over_a_later_one(
    git: Git, merge: Callable[..., str], apply: Callable[..., tuple]
) -> None:
    """C4.7: a job of last week that somebody starts again would take an upgrade back."""
    merge(acme="203.0.113.17")
    apply()
    later = merge(beta="203.0.113.18")
    apply()
    git("checkout", "--quiet", "HEAD^")

    code, results, said = apply()

    assert (0, {}) == (code, results)
    assert "a later commit was applied already" in said
    assert later == git("ls-remote", "origin", TAG).split()[0]


def test_nothing_is_applied_where_two_branches_broke_a_rule_together(
    git: Git, merge: Callable[..., str], apply: Callable[..., tuple]
) -> None:
    """C4.3: one address for two, each sound where it was reviewed."""
    first = merge(acme="203.0.113.17")
    apply()
    merge(beta="203.0.113.50", gamma="203.0.113.50")

    code, results, said = apply()

    assert (5, {}) == (code, results)
    assert "203.0.113.50 is beta/web's already" in said
    assert first == git("ls-remote", "origin", TAG).split()[0]


def test_a_remote_out_of_reach_stops_it_before_anything_is_applied(
    git: Git, merge: Callable[..., str], apply: Callable[..., tuple]
) -> None:
    merge(acme="203.0.113.17")
    git("remote", "set-url", "origin", "/nowhere/remote.git")

    code, results, _ = apply()

    assert code != 0
    assert {} == results
