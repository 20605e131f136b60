"""The role host_node brings only the OS images that their vendor published. Contract: C4.1."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from conftest import CertificateAuthority

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the role gives its files to root")

IMAGE = b"QFI\xfb, and the rest of an OS image"
OTHER = b"QFI\xfb, and the rest of another one"
BASE = "tiny@1.qcow2"
PLAYBOOK = """
- name: Bring the OS images
  hosts: all
  connection: local
  gather_facts: false
  tasks:
    - name: Bring them as the role does
      ansible.builtin.import_role:
        name: host_node
        tasks_from: images
"""
FAKE_VIRSH = """#!/bin/sh
# Not libvirt: it writes down what it was asked for.
echo "$@" >>"$0.asked"
"""
CHECKSUMS = ["list", "literal"]


def sha512(data: bytes) -> str:
    return hashlib.sha512(data).hexdigest()


class Vendor:
    """A site over HTTPS with an image and its list of checksums; ``asked`` is what was fetched."""

    def __init__(self, folder: Path, authority: CertificateAuthority) -> None:
        self.folder = folder
        self.asked: list[str] = []
        vendor = self

        class Handler(SimpleHTTPRequestHandler):
            def log_request(self, *_answer: object) -> None:
                vendor.asked.append(self.path)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder))
        self.server.socket = authority.server_context().wrap_socket(
            self.server.socket, server_side=True
        )
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        (folder / "tiny.qcow2").write_bytes(IMAGE)
        self.publish(IMAGE)

    def publish(self, image: bytes) -> None:
        """Give the checksum of *image* as the image's, among others."""
        lines = [f"{sha512(b'another file')}  tiny.raw", f"{sha512(image)}  tiny.qcow2"]
        (self.folder / "SHA512SUMS").write_text("".join(f"{line}\n" for line in lines))

    def checksum(self, form: str, image: bytes = IMAGE) -> str:
        """Return what the catalogue says of *image*: its checksum, or where the vendor says it."""
        if form == "literal":
            return f"sha512:{sha512(image)}"
        self.publish(image)
        return f"sha512:{self.url}/SHA512SUMS"


class Node:
    """This machine as a host node, each of its places in a folder of the test's own."""

    def __init__(self, folder: Path, root: Path, trusted: Path) -> None:
        self.folder = folder
        self.storage = folder / "vps"
        self.incoming = folder / "vps.incoming"
        self.records = folder / "records"
        for place in (self.storage, self.incoming, self.records):
            place.mkdir()
        self.base = self.storage / BASE
        self.record = self.records / f"{BASE}.sha512"
        (folder / "playbook.yml").write_text(PLAYBOOK)
        self._virsh = folder / "fake-virsh"
        self._virsh.write_text(FAKE_VIRSH)
        self._virsh.chmod(0o755)
        self.environment = {
            "ANSIBLE_CONFIG": str(root / "ansible.cfg"),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "NO_PROXY": "127.0.0.1",
            "PATH": os.environ["PATH"],
            "SSL_CERT_FILE": str(trusted),
        }

    def run(self, url: str, checksum: str) -> str:
        """Run the role's own tasks for one release; return what Ansible said of it, in one line."""
        release = {"url": url, "checksum": checksum, "format": "qcow2"}
        variables = {
            "host_node_images": {"tiny": {"releases": {"1": release}}},
            "host_node_storage_path": str(self.storage),
            "__host_node_records": str(self.records),
            "__host_node_virsh": str(self._virsh),
        }
        command = [str(Path(sys.executable).with_name("ansible-playbook")), "playbook.yml"]
        done = subprocess.run(
            [*command, "--inventory", "node,", "--extra-vars", json.dumps(variables)],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        said = " ".join(done.stdout.split())
        assert (done.returncode == 0) == ("failed=0" in said), done.stdout + done.stderr
        return said

    @property
    def asked_of_libvirt(self) -> list[str]:
        asked = self._virsh.with_name("fake-virsh.asked")
        return asked.read_text().splitlines() if asked.exists() else []

    @property
    def files(self) -> list[str]:
        """Everything that lies in the pool, on its way there, or was written down about it."""
        places = [self.storage, self.incoming, self.records]
        return [str(path.relative_to(self.folder)) for place in places for path in place.iterdir()]


@pytest.fixture
def vendor(tmp_path: Path, authority: CertificateAuthority) -> Iterator[Vendor]:
    folder = tmp_path / "vendor"
    folder.mkdir()
    site = Vendor(folder, authority)
    thread = threading.Thread(target=partial(site.server.serve_forever, poll_interval=0.01))
    thread.start()
    yield site
    site.server.shutdown()
    thread.join()
    site.server.server_close()


@pytest.fixture
def node(tmp_path: Path, root: Path, authority: CertificateAuthority) -> Node:
    """A node that trusts the vendor's certificate."""
    return Node(tmp_path, root, authority.certificate)


@pytest.fixture
def url(vendor: Vendor) -> str:
    return f"{vendor.url}/tiny.qcow2"


def test_an_image_of_the_vendors_list_is_put_in_place_once(
    vendor: Vendor, node: Node, url: str
) -> None:
    (node.incoming / BASE).write_bytes(IMAGE[:9])  # what a run that was cut left behind

    first = node.run(url, vendor.checksum("list"))

    assert "failed=0" in first
    assert ["vps/tiny@1.qcow2", "records/tiny@1.qcow2.sha512"] == node.files
    assert (IMAGE, 0o444) == (node.base.read_bytes(), stat.S_IMODE(node.base.stat().st_mode))
    assert f"{sha512(IMAGE)}\n" == node.record.read_text()
    assert ["pool-refresh vps"] == node.asked_of_libvirt
    assert ["/SHA512SUMS", "/tiny.qcow2"] == vendor.asked

    vendor.asked.clear()
    second = node.run(url, vendor.checksum("list"))

    assert "changed=0" in second
    assert "failed=0" in second
    assert [] == vendor.asked
    assert ["pool-refresh vps"] == node.asked_of_libvirt


@pytest.mark.parametrize("form", CHECKSUMS)
def test_an_image_of_another_checksum_is_refused_and_leaves_nothing(
    vendor: Vendor, node: Node, url: str, form: str
) -> None:
    said = node.run(url, vendor.checksum(form, OTHER))

    assert f"did not match {sha512(OTHER)}; it was {sha512(IMAGE)}" in said
    assert [] == node.files
    assert [] == node.asked_of_libvirt


def test_an_image_that_the_vendors_list_does_not_name_is_refused(
    vendor: Vendor, node: Node
) -> None:
    (vendor.folder / "unlisted.qcow2").write_bytes(IMAGE)

    said = node.run(f"{vendor.url}/unlisted.qcow2", vendor.checksum("list"))

    assert "Unable to find a checksum for file 'unlisted.qcow2'" in said
    assert [] == node.files


def test_a_base_volume_that_is_no_longer_what_it_was_is_refused_untouched(
    vendor: Vendor, node: Node, url: str
) -> None:
    assert "failed=0" in node.run(url, vendor.checksum("list"))
    node.base.write_bytes(OTHER)
    before = node.base.stat()

    for form in CHECKSUMS:
        said = node.run(url, vendor.checksum(form))

        assert f"{node.base} on node is not the catalogue's tiny@1" in said
        assert f"its SHA-512 is {sha512(OTHER)}, and {sha512(IMAGE)} was expected" in said

    after = node.base.stat()
    assert OTHER == node.base.read_bytes()
    assert (before.st_ino, before.st_mtime_ns, before.st_mode) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_mode,
    )
    assert f"{sha512(IMAGE)}\n" == node.record.read_text()


def test_a_site_whose_certificate_is_not_trusted_is_not_downloaded_from(
    vendor: Vendor, tmp_path: Path, root: Path, url: str, other_authority: CertificateAuthority
) -> None:
    node = Node(tmp_path, root, other_authority.certificate)

    said = node.run(url, vendor.checksum("literal"))

    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert [] == vendor.asked
    assert [] == node.files


def test_a_file_that_no_checksum_of_its_own_verifies_is_refused(vendor: Vendor, node: Node) -> None:
    # The vendor's list is read for what is downloaded from the vendor, and for nothing else.
    said = node.run(f"file://{vendor.folder / 'tiny.qcow2'}", vendor.checksum("list", OTHER))

    assert "a file needs its own SHA-512 in the catalogue" in said
    assert [] == node.files
