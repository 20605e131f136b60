"""`hoster check --against`: each kind of change, in a real Git repository (C2.1, C4.7, C10.1)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from hoster.cli import cli
from hoster.errors import HosterError
from hoster.ledger import Ledger
from hoster.orders.declarations import VpsDeclaration
from hoster.project import Project

Edit = Callable[[dict[str, Any]], Any]
Git = Callable[..., None]


def edit(file: Path, change: Edit) -> None:
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(content))


def judged(project: Project, *options: str) -> tuple[int, list[tuple[str, str]]]:
    """Return the exit code, and rule and message of each finding."""
    arguments = ["--project", str(project.root), "check", "--against", "main", "--json", *options]
    done = CliRunner().invoke(cli, arguments)
    if isinstance(done.exception, HosterError):
        raise done.exception
    found = json.loads(done.stdout)["findings"]
    return done.exit_code, [(one["rule"], one["message"]) for one in found]


def of_web(**fields: Any) -> Edit:
    return lambda content: content["config"]["hoster:vps"]["web"].update(fields)


def test_what_did_not_change_is_sound(repository: Project) -> None:
    assert (0, []) == judged(repository)


def test_an_upgrade_and_a_new_client_go_ahead(
    repository: Project, declared: Callable[..., VpsDeclaration]
) -> None:
    edit(repository.declaration("acme"), of_web(plan="kvm-4"))
    new = {"web": declared("gamma/web", ipv4="203.0.113.19").fields_written()}
    access = {"web": {"secure": "v1:sealed"}}
    content = {"config": {"hoster:vps": new, "hoster:access": access}}
    repository.declaration("gamma").write_text(yaml.safe_dump(content))

    assert (0, []) == judged(repository)


@pytest.mark.parametrize(
    ("change", "rule", "said"),
    [
        (of_web(plan="kvm-1"), "final", "plan kvm-1 has a disk of 10 GiB"),
        (of_web(ipv4="203.0.113.40"), "final", "the IPv4 is fixed"),
        (of_web(node="paris-2"), "node", "unknown host node paris-2"),
        (of_web(location="roubaix"), "final", "the location is final"),
        (of_web(ipv4="203.0.113.18"), "duplicate", "203.0.113.18 is acme/web's already"),
        (of_web(image="debian-12@20990101"), "image", "unknown release"),
        (of_web(installation=2), "final", "would be left behind"),
        (of_web(colour="red"), "schema", "unknown key"),
        (
            lambda content: content["config"]["hoster:access"].update(web="hunter2"),
            "secret",
            "a secret in clear",
        ),
        (
            lambda content: content["config"]["hoster:vps"].pop("web"),
            "vanished",
            "acme/web is declared no more",
        ),
    ],
)
def test_a_change_that_must_not_happen_is_named(
    repository: Project, git: Git, change: Edit, rule: str, said: str
) -> None:
    edit(repository.declaration("acme"), change)

    code, found = judged(repository)

    assert 5 == code
    [message] = [text for of, text in found if of == rule]
    assert said in message
    git("checkout", "--quiet", "-b", "work")
    git("commit", "--quiet", "--all", "--message", "Change")
    assert (code, found) == judged(repository)


def test_a_file_that_is_no_yaml_is_named_with_its_place(repository: Project) -> None:
    repository.declaration("acme").write_text("config: {")

    with pytest.raises(HosterError, match=r"Pulumi\.acme\.yaml:"):
        judged(repository)


def test_a_client_that_vanishes_is_named_until_its_end_is_on_record(
    repository: Project, now: datetime
) -> None:
    """C15.2: where there is no ledger, nothing is on record."""
    repository.declaration("acme").unlink()
    code, [(rule, message)] = judged(repository)
    assert (5, "vanished") == (code, rule)
    assert "terminate-vps.yml -e vps=acme/web" in message
    assert not repository.state.exists()

    with Ledger.open(repository.ledger_url) as ledger:
        ledger.terminations.begin("acme/web", "request", "", {}, now)
    assert (0, []) == judged(repository)


def test_two_branches_that_give_one_address_twice_are_seen_when_merged(
    repository: Project, git: Git, declared: Callable[..., VpsDeclaration]
) -> None:
    """C4.3: each is sound by itself."""
    for client in ("gamma", "delta"):
        git("checkout", "--quiet", "-b", client, "main")
        some = {"web": declared(f"{client}/web", ipv4="203.0.113.50").fields_written()}
        access = {"web": {"secure": "v1:sealed"}}
        content = {"config": {"hoster:vps": some, "hoster:access": access}}
        repository.declaration(client).write_text(yaml.safe_dump(content))
        assert (0, []) == judged(repository)
        git("add", "--all")
        git("commit", "--quiet", "--message", client)
    git("merge", "--quiet", "--no-edit", "gamma")

    assert (5, [("duplicate", "203.0.113.50 is delta/web's already")]) == judged(repository)


@pytest.mark.parametrize(
    ("size", "value", "said"),
    [
        ("disk_gib", 10, "disk_gib of kvm-2 is 20 and would be 10, under 2 VPSs"),
        ("memory_mib", 1024, "memory_mib of kvm-2 is 2048 and would be 1024"),
        ("ceiling_mbit_s", 500, "ceiling_mbit_s of kvm-2 is unlimited and would be 500"),
        ("traffic_bytes_month", 10**12, "traffic_bytes of kvm-2 is 10000000000000 and would be"),
    ],
)
def test_a_plan_does_not_shrink_under_its_users(
    repository: Project, size: str, value: int, said: str
) -> None:
    plans = repository.inventory / "group_vars" / "all" / "plans.yml"
    edit(plans, lambda content: content["plans"]["kvm-2"].update({size: value}))

    code, [(rule, message)] = judged(repository)

    assert (5, "plan") == (code, rule)
    assert said in message
    assert "acme/web, beta/web" in message


def test_a_plan_may_grow_and_one_that_nobody_has_may_shrink_or_go(repository: Project) -> None:
    def change(content: dict[str, Any]) -> None:
        content["plans"]["kvm-2"]["memory_mib"] = 4096
        content["plans"]["kvm-4"]["memory_mib"] = 1024
        del content["plans"]["kvm-1"]

    edit(repository.inventory / "group_vars" / "all" / "plans.yml", change)

    assert (0, []) == judged(repository)


def test_what_is_in_use_is_not_removed(repository: Project, git: Git) -> None:
    """C2.1, C4.1, C4.3: a plan, an image, a node, a pool."""
    every = repository.inventory / "group_vars" / "all"
    edit(every / "plans.yml", lambda content: content["plans"].pop("kvm-2"))
    code, found = judged(repository)
    assert (5, {"unknown plan kvm-2"}) == (code, {text.partition(";")[0] for _, text in found})
    git("checkout", "--quiet", ".")

    def rename(content: dict[str, Any]) -> None:
        content["images"]["debian-99"] = content["images"].pop("debian-12")

    edit(every / "images.yml", rename)
    assert {"image"} == {rule for rule, _ in judged(repository)[1]}
    git("checkout", "--quiet", ".")

    def narrow(content: dict[str, Any]) -> None:
        pool = content["locations"]["paris"]["pools"][0]
        pool["cidr"] = "203.0.113.0/28"

    edit(every / "locations.yml", narrow)
    assert {"ipv4"} == {rule for rule, _ in judged(repository)[1]}


def test_the_impact_of_a_change_is_told_to_people_and_programs(
    repository: Project, git: Git
) -> None:
    edit(repository.declaration("acme"), of_web(plan="kvm-4"))
    arguments = ["--project", str(repository.root), "impact", "--against", "main"]

    text, markdown, data = (
        CliRunner().invoke(cli, [*arguments, *options]).stdout
        for options in ([], ["--markdown"], ["--json"])
    )

    assert "acme/web\tkvm-2 -> kvm-4\tlive\t" in text
    assert "paris-1\t40 -> 60 of" in text
    assert "| acme/web | kvm-2 -> kvm-4 | live |" in markdown
    assert "**1 VPS, +" in markdown
    assert ["acme/web"] == [one["vps"] for one in json.loads(data)["vps"]]
    git("checkout", "--quiet", ".")
    assert "**0 VPSs, +0 EUR" in CliRunner().invoke(cli, [*arguments, "--markdown"]).stdout


def test_a_ref_that_is_not_there_says_how_to_get_it(repository: Project, git: Git) -> None:
    git("branch", "--move", "other")
    with pytest.raises(HosterError, match=r"'main'(?s:.*)git fetch"):
        judged(repository)


def test_what_git_does_not_keep_is_taken_as_it_is_now(repository: Project, git: Git) -> None:
    """A catalogue that several companies share, linked from elsewhere."""
    plans = repository.inventory / "group_vars" / "all" / "plans.yml"
    shared = repository.root.parent / f"{repository.root.name}-plans.yml"
    plans.rename(shared)
    plans.symlink_to(shared)
    git("commit", "--quiet", "--all", "--message", "Share the plans")
    edit(repository.declaration("acme"), of_web(plan="kvm-1"))

    code, [(rule, _)] = judged(repository)

    assert (5, "final") == (code, rule)
