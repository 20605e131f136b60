"""The lab's hosting company: a project folder of its own, made from the checkout's.

Programs and what is sold come from the checkout by symbolic link; nodes, OS images and the
mail server are the lab's. So a lab never changes a file of the checkout.
"""

from __future__ import annotations

import secrets
import shlex
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from hoster_lab import mail_sink

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hoster_lab.nodes import Node
    from hoster_lab.os_image import OsImage
    from hoster_lab.ssh import Ssh

_OWN_VARIABLES = ("images.yml", "company.yml")
_VPS_OF_NODES = "vps.hoster.yml"
_HEADER = "# Written by scripts/lab up: changes are overwritten.\n---\n"
# Sized for a machine of two cores: enough for every plan on sale, dozens of the smallest.
CAPACITY = {
    "disk_gib": 2000,
    "memory_mib": 65536,
    "memory_factor": 1.0,
    "vcpus": 32,
    "vcpu_factor": 2.0,
    "uplink_mbit_s": 10000,
    "reserved_memory_mib": 2048,
}


@dataclass(frozen=True)
class Company:
    """The folders of the lab's company: *root* is the lab's, *checkout* the toolkit's."""

    root: Path
    checkout: Path

    @property
    def project(self) -> Path:
        """The hoster project."""
        return self.root / "company"

    @property
    def inventory(self) -> Path:
        """What the company has and sells."""
        return self.project / "inventory"

    def write(
        self, nodes: Iterable[Node], *, ssh: Ssh, image: OsImage, domain_type: str, smtp_port: int
    ) -> None:
        """Write the project; declarations, ledger and state that are there stay."""
        self._link_program()
        self._link_inventory()
        variables = self.inventory / "group_vars" / "all"
        _write(self.inventory / "hosts.yml", hosts(nodes, ssh, domain_type))
        _write(variables / "images.yml", images(image, _releases(variables / "images.yml")))
        _write(variables / "company.yml", company(smtp_port))
        (self.root / "state").mkdir(exist_ok=True)
        self._write_passphrase()
        exports = [f"export {key}={shlex.quote(value)}" for key, value in self.variables().items()]
        exports.append(f"export PATH={shlex.quote(str(self.checkout / '.venv/bin'))}:$PATH")
        (self.root / "env").write_text("\n".join(exports) + "\n")

    def variables(self) -> dict[str, str]:
        """Return the environment of the company's control machine, PATH apart."""
        return {
            "HOSTER_PROJECT": str(self.project),
            "PULUMI_BACKEND_URL": f"file://{self.root / 'state'}",
            "PULUMI_CONFIG_PASSPHRASE_FILE": str(self.root / "passphrase"),
            "PULUMI_SKIP_UPDATE_CHECK": "1",
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "1",
            "ANSIBLE_CONFIG": str(self.checkout / "ansible.cfg"),
            "ANSIBLE_INVENTORY": str(self.inventory),
        }

    def _link_program(self) -> None:
        program = self.project / "pulumi"
        program.mkdir(parents=True, exist_ok=True)
        shutil.copy(self.checkout / "pulumi" / "Pulumi.yaml", program / "Pulumi.yaml")
        for name in ("__main__.py", "plugin"):
            _link(program / name, self.checkout / "pulumi" / name)

    def _link_inventory(self) -> None:
        variables = self.inventory / "group_vars" / "all"
        variables.mkdir(parents=True, exist_ok=True)
        for shared in (self.checkout / "inventory" / "group_vars" / "all").glob("*.yml"):
            if shared.name not in _OWN_VARIABLES:
                _link(variables / shared.name, shared)
        _link(self.inventory / _VPS_OF_NODES, self.checkout / "inventory" / _VPS_OF_NODES)

    def _write_passphrase(self) -> None:
        passphrase = self.root / "passphrase"
        if not passphrase.exists():
            passphrase.touch(mode=0o600)
            passphrase.write_text(secrets.token_urlsafe(32))


def hosts(nodes: Iterable[Node], ssh: Ssh, domain_type: str) -> dict[str, Any]:
    """Return the inventory of the host nodes by location."""
    locations: dict[str, Any] = {}
    for node in nodes:
        here = locations.setdefault(node.location.name, {"hosts": {}})
        here["hosts"][node.name] = {
            "ansible_host": str(node.address),
            "libvirt_uri": f"qemu+ssh://root@{node.address}/system?command={ssh.wrapper}&no_tty=1",
            "domain_type": domain_type,
            "node_capacity": dict(CAPACITY),
        }
    connection = {
        "ansible_user": "root",
        "ansible_ssh_private_key_file": str(ssh.key),
        "ansible_ssh_common_args": f"-F {ssh.config}",
        "ansible_python_interpreter": "/usr/bin/python3",
    }
    group = {"children": locations, "vars": connection}
    return {"all": {"children": {"host_nodes": group}}}


def images(image: OsImage, earlier: dict[str, Any]) -> dict[str, Any]:
    """Return the catalogue of OS images: the built one, and releases that VPSs may still name."""
    releases = dict(earlier)
    releases[image.release] = {
        "url": f"file://{image.path}",
        "checksum": f"sha512:{image.sha512}",
        "format": "qcow2",
        "virtual_size_gib": image.virtual_size_gib,
    }
    debian = {
        "title": "Debian 12 (bookworm)",
        "default_user": "debian",
        "default_release": image.release,
        "releases": releases,
    }
    return {"images": {"debian-12": debian}}


def company(smtp_port: int) -> dict[str, Any]:
    """Return who the company is, and its mail server."""
    smtp = {"host": mail_sink.HOST, "port": smtp_port, "starttls": False}
    return {
        "company": {
            "name": "Lab Hosting",
            "mail_from": "support@lab.example",
            "support_url": "https://lab.example/support",
            "smtp": smtp,
        }
    }


def _releases(written: Path) -> dict[str, Any]:
    """Return the releases listed by an earlier run whose file is still there."""
    if not written.exists():
        return {}
    kept: dict[str, Any] = yaml.safe_load(written.read_text())["images"]["debian-12"]["releases"]
    return {
        release: about
        for release, about in kept.items()
        if (written.parent / about["url"].removeprefix("file://")).exists()
    }


def _link(link: Path, target: Path) -> None:
    if not link.is_symlink() or link.readlink() != target:
        link.unlink(missing_ok=True)
        link.symlink_to(target)


def _write(path: Path, data: dict[str, Any]) -> None:
    path.write_text(_HEADER + yaml.safe_dump(data, sort_keys=False, width=200))
