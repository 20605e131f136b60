"""A libvirtd of a test's or a benchmark's own, with real QEMU; nothing else on the machine sees it.

It has its own mounts over libvirt's folders and its own processes, all gone with it. The package
`libvirt-daemon` is all that it needs: the user whom Debian's build looks for, and which another
package would make for a service, is known inside alone.
"""

from __future__ import annotations

import signal
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import libvirt
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from hoster_lab.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

START_SECONDS = 30.0
OWN_NETWORK = ("unshare", "--net")
"""A network of its own, with nothing in it."""
_PRIVATE = """
set -eu
ulimit -n 4096 # libvirt closes every number up to it before each start of a QEMU
# The cache stays: what each QEMU can do takes seconds to find out.
for folder in /etc/libvirt /var/lib/libvirt /var/log/libvirt /run/libvirt; do
    mkdir -p "$folder"
    mount -t tmpfs tmpfs "$folder"
done
mount -t proc proc /proc
for file in passwd group; do
    cp "/etc/$file" "$1/$file"
done
grep -q '^libvirt-qemu:' "$1/passwd" ||
    echo 'libvirt-qemu:x:64055:64055::/nonexistent:/usr/sbin/nologin' >>"$1/passwd"
grep -q '^libvirt-qemu:' "$1/group" || echo 'libvirt-qemu:x:64055:' >>"$1/group"
for file in passwd group; do
    mount --bind "$1/$file" "/etc/$file"
done
cat >/etc/libvirt/qemu.conf <<END
user = "root"
group = "root"
dynamic_ownership = 0
remember_owner = 0
security_driver = "none"
stdio_handler = "file"
cgroup_controllers = []
END
eval "$2"
# The shell stays as the first process: it buries the QEMUs that end.
libvirtd --config "$1/libvirtd.conf" --pid-file "$1/libvirtd.pid" &
wait
"""


@dataclass(frozen=True)
class Daemon:
    """A running libvirtd; ``pid`` is a process that sees its network and its children."""

    folder: Path
    pid: int

    def uri(self, driver: str = "qemu", path: str = "system") -> str:
        """Return a URI that leads to it: the driver, and the path of one of its connections."""
        return f"{driver}+unix:///{path}?socket={self.folder}/libvirt-sock"

    def connected(self, driver: str = "qemu", path: str = "system") -> Any:
        """Return a connection."""
        return libvirt.open(self.uri(driver, path))


@contextmanager
def libvirtd(
    folder: Path, *, within: Sequence[str] = OWN_NETWORK, prepare: str = ""
) -> Iterator[Daemon]:
    """Run one with its socket in the new *folder*, and end it and its guests.

    *within* is the command that it is started by, in whose network it is; *prepare* is shell to
    run there before it starts. It needs root.

    Raises:
        LabError: it did not start; with what it said.
    """
    folder.mkdir()
    (folder / "libvirtd.conf").write_text(
        f'unix_sock_dir = "{folder}"\nauth_unix_rw = "none"\nauth_unix_ro = "none"\n'
        f'log_outputs = "3:file:{folder}/libvirtd.log"\n'
    )
    private = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", _PRIVATE)
    argv = [*within, *private, "sh", str(folder), prepare]
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(argv, stdout=output, stderr=output)
    try:
        daemon = Daemon(folder, process.pid)
        _wait_for(daemon, process)
        yield daemon
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def _wait_for(daemon: Daemon, process: subprocess.Popen[bytes]) -> None:
    libvirt.registerErrorHandler(lambda *_: None, None)

    @retry(
        retry=retry_if_exception_type(libvirt.libvirtError),
        stop=stop_after_delay(START_SECONDS),
        wait=wait_fixed(0.1),
        reraise=True,
    )
    def ask() -> None:
        if process.poll() is not None:
            raise LabError("it ended")
        daemon.connected().close()

    try:
        ask()
    except (libvirt.libvirtError, LabError) as error:
        said = [daemon.folder / name for name in ("output", "libvirtd.log")]
        text = "\n".join(file.read_text() for file in said if file.exists())
        raise LabError(f"libvirtd does not start: {error}\n{text}") from None
