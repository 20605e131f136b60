"""Pools and volumes on a host: look-ups, contents, and the marks of unfinished creates."""

from __future__ import annotations

import hashlib
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from libvirt_provider import _xml
from libvirt_provider._connection import found, reported
from libvirt_provider.errors import InUseError, ProviderError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from libvirt_provider._connection import Host

FILE_POOLS = frozenset({"dir", "fs", "netfs", "gluster", "vstorage"})
CHUNK_BYTES = 4 * 2**20
ZEROED_BYTES = 512 * 2**20
"""How much is zeroed in one step: libvirt's daemon answers nobody before a step is done."""


@dataclass(frozen=True)
class VolumeFacts:
    """What a volume's XML says."""

    name: str
    key: str
    path: str
    block: bool
    capacity: int
    format: str | None
    backing_path: str | None

    @classmethod
    def of(cls, volume: Any) -> VolumeFacts:
        """Return the facts of a ``virStorageVol``, read from the disk where that is possible."""
        found(volume.info)
        root = _xml.parse(volume.XMLDesc(0))
        form = root.find("target/format")
        block = root.get("type") == "block"
        return cls(
            name=root.findtext("name"),
            key=root.findtext("key"),
            path=root.findtext("target/path"),
            block=block,
            capacity=int(root.findtext("capacity")),
            format="raw" if block else None if form is None else form.get("type"),
            backing_path=root.findtext("backingStore/path"),
        )


def uuid_of(urn: str) -> str:
    """Return the UUID of a pool or network that the resource *urn* makes: always the same."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, urn))


def pool(host: Host, name: str) -> Any:
    """Return a pool that runs.

    Raises:
        ProviderError: there is none of that name on the host, or it is not active.
    """
    connection = host.connection()
    with reported(f"pool {name!r}"):
        pool_ = found(connection.storagePoolLookupByName, name)
        if pool_ is None:
            there = ", ".join(sorted(p.name() for p in connection.listAllStoragePools())) or "none"
            raise ProviderError(
                f"there is no storage pool {name!r} on {host.uri} (it has: {there})"
            )
        if not pool_.isActive():
            raise ProviderError(f"storage pool {name!r} on {host.uri} is not active: start it")
    return pool_


def kind_of(pool_: Any) -> str:
    """Return the type that a pool is defined with, such as ``dir`` or ``logical``."""
    return str(_xml.parse(pool_.XMLDesc(0)).get("type"))


def holds_files(pool_: Any) -> bool:
    """Whether the volumes of a pool are files; those of the others are parts of a disk."""
    return kind_of(pool_) in FILE_POOLS


def volume_named(pool_: Any, name: str) -> Any:
    """Return the volume *name* of a pool, or None; a pool that has not seen it looks again."""
    with reported(f"volume {name!r}"):
        volume = found(pool_.storageVolLookupByName, name)
        if volume is None:
            pool_.refresh(0)
            volume = found(pool_.storageVolLookupByName, name)
    return volume


def volume_keyed(host: Host, key: str, pool_name: str | None = None) -> Any:
    """Return the volume with *key*, or None; its pool looks again where it has not seen it.

    Raises:
        InUseError: its size was changed by hand, and its pool is too busy to look again.
    """
    connection = host.connection()
    with reported(f"volume {key}"):
        volume = found(connection.storageVolLookupByKey, key)
        if volume is None and pool_name:
            seen = found(connection.storagePoolLookupByName, pool_name)
            if seen is not None and seen.isActive():
                seen.refresh(0)
                volume = found(connection.storageVolLookupByKey, key)
        if volume is not None and see_true_size(host, volume):
            volume = found(connection.storageVolLookupByKey, key)
    return volume


def check_gone(host: Host, key: str, pool_name: str | None) -> None:
    """Make sure that a volume which was not found is not merely hidden from libvirt (C15.2).

    Raises:
        ProviderError: its pool is stopped, or its volume group holds what libvirt does not see.
    """
    with reported(f"volume {key}"):
        pool_ = found(host.connection().storagePoolLookupByName, pool_name) if pool_name else None
        if pool_ is None:
            return
        if not pool_.isActive():
            raise ProviderError(
                f"volume {key} cannot be erased: storage pool {pool_name!r} on {host.uri} is not "
                f"active. Start it (`virsh pool-start {pool_name}`) and run again"
            )
        if _holds_unseen(pool_):
            raise ProviderError(
                f"volume {key} may still be there: the volume group of pool {pool_name!r} on "
                f"{host.uri} holds what libvirt does not see. Look with `lvs -o +lv_uuid`: where "
                "it is deactivated, `lvchange -ay` it and run again; where it is gone, remove it "
                "from the state with `pulumi state delete`"
            )


def _holds_unseen(pool_: Any) -> bool:
    if kind_of(pool_) != "logical":
        return False
    seen = sum(volume.info()[2] for volume in pool_.listAllVolumes())
    return bool(pool_.info()[2] > seen)


def see_true_size(host: Host, volume: Any) -> bool:
    """Have libvirt look again at a logical volume that somebody grew by hand; whether it had to.

    It does not notice by itself, and would leave out the new part when it wipes (C15.2).

    Raises:
        InUseError: its pool is too busy to look again.
    """
    import libvirt

    if not is_block(volume) or _ends_where_known(host, volume):
        return False
    try:
        volume.storagePoolLookupByVolume().refresh(0)
    except libvirt.libvirtError as error:
        raise InUseError(
            f"volume {volume.name()!r} has another size than libvirt knows, and cannot be looked "
            f"at again before its pool has ended other work: {error}. Run again later"
        ) from error
    return True


def _ends_where_known(host: Host, volume: Any) -> bool:
    import libvirt

    try:
        return not download(host, volume, volume.info()[1], 1)
    except libvirt.libvirtError:  # it ends before, or is deactivated
        return False


def upload(host: Host, volume: Any, chunks: Iterator[bytes], length: int) -> None:
    """Fill *volume* with *length* bytes. The test driver keeps no content."""
    if host.is_test:
        return
    with _upload(host, volume, 0, length) as stream:
        for chunk in chunks:
            _send(stream, chunk)


def zero(host: Host, volume: Any, start: int, end: int) -> None:
    """Overwrite the bytes from *start* to *end* of a volume on blocks with zeros.

    The host writes them: a hole crosses the line, and becomes zeros on a block device.
    """
    sparse = 1  # VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM
    for offset in range(start, end, ZEROED_BYTES):
        length = min(ZEROED_BYTES, end - offset)
        with _upload(host, volume, offset, length, sparse) as stream:
            stream.sendHole(length)


@contextmanager
def _upload(host: Host, volume: Any, offset: int, length: int, flags: int = 0) -> Iterator[Any]:
    stream = host.connection().newStream(0)
    try:
        volume.upload(stream, offset, length, flags)
        yield stream
        stream.finish()
    except BaseException:
        stream.abort()
        raise


def _send(stream: Any, chunk: bytes) -> None:
    view = memoryview(chunk)
    while view:
        sent = stream.send(bytes(view))
        view = view[sent:]


def download(host: Host, volume: Any, offset: int = 0, length: int = 0) -> bytes:
    """Return the content of a small volume, or *length* bytes of one."""
    stream = host.connection().newStream(0)
    content: list[bytes] = []
    volume.download(stream, offset, length, 0)
    stream.recvAll(lambda _stream, data, _opaque: content.append(data), None)
    stream.finish()
    return b"".join(content)


def is_block(volume: Any) -> bool:
    """Whether *volume* is a part of a disk, not a file."""
    return bool(volume.info()[0] == 1)  # VIR_STORAGE_VOL_BLOCK


def delete(host: Host, volume: Any, urn: str, kind: str) -> None:
    """Erase *volume*, the ``kind`` that the resource *urn* made, and its mark.

    Raises:
        InUseError: a domain still has it, or its host is at work on it.
    """
    check_unused(host, volume, f"{kind} {volume.name()!r} is")
    mark = Mark.of(volume, urn)
    erase(volume)
    mark.clear()


def erase(volume: Any) -> None:
    """Delete *volume*; one on blocks is overwritten with zeros before (C15.2).

    No file shows what a deleted one held; a volume group hands the bytes to whoever comes next.
    Cut in the middle, the volume is still there, and is overwritten anew the next time.

    Raises:
        InUseError: its host is at work on it.
    """
    import libvirt

    try:
        if is_block(volume):
            volume.wipe(0)  # returns when the zeros are on the disk
        volume.delete(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_OPERATION_INVALID:
            raise
        raise InUseError(
            f"volume {volume.name()!r} is busy: {error}. Its host ends by itself what an "
            "interrupted run began, such as erasing it: run again later"
        ) from error


def check_unused(host: Host, volume: Any, what: str) -> None:
    """Make sure that no domain, running or not, has *volume*; *what* begins the sentence.

    Raises:
        InUseError: one has it.
    """
    users = users_of(host, volume.path())
    if users:
        raise InUseError(
            f"{what} a disk of domain {users[0]!r} on {host.uri}: delete or change that domain "
            "first"
        )


def users_of(host: Host, path: str) -> list[str]:
    """Return the names of the domains, running or not, that have the disk *path*.

    A domain that somebody else deletes meanwhile uses nothing.
    """
    names, domains = names_of(path), host.connection().listAllDomains()
    return [domain.name() for domain in domains if names & (found(_sources, domain) or set())]


def names_of(path: str) -> set[str]:
    """Return the paths by which a domain may have *path*: a logical volume has two. Pure."""
    match path.split("/"):
        case ["", "dev", group, volume]:
            doubled = "-".join(name.replace("-", "--") for name in (group, volume))
            return {path, f"/dev/mapper/{doubled}"}
    return {path}


def _sources(domain: Any) -> set[str]:
    return {
        place
        for flags in _definitions(domain)
        for source in _xml.parse(domain.XMLDesc(flags)).iterfind("devices/disk/source")
        for place in (source.get("file"), source.get("dev"))
        if place
    }


def _definitions(domain: Any) -> tuple[int, ...]:
    inactive = 2  # VIR_DOMAIN_XML_INACTIVE
    if not domain.isActive():
        return (0,)
    return (0, inactive) if domain.isPersistent() else (0,)


@dataclass(frozen=True)
class Mark:
    """An empty volume beside one that is being made, whose name says by which resource.

    It outlives the create, so that a run that was killed before it could write its state is
    told from somebody else's volume of that name. See docs/decisions/0001. On a volume group it
    is a logical volume of one extent, that nobody writes to or reads: there is nothing to erase.
    """

    pool: Any
    volume: str
    urn: str

    @classmethod
    def of(cls, volume: Any, urn: str) -> Self:
        """Return the mark of a volume that is there, as the resource *urn* would have set it."""
        return cls(volume.storagePoolLookupByVolume(), volume.name(), urn)

    @property
    def _stem(self) -> str:
        return f"{self.volume}.{hashlib.sha256(self.urn.encode()).hexdigest()[:16]}"

    def _names(self) -> dict[bool, str]:
        return {True: f"{self._stem}.filling", False: f"{self._stem}.made"}

    def set(self, *, filling: bool) -> None:
        """Put the mark; ``filling`` says that it does not hold yet what it shall."""
        root = _xml.root("volume")
        name = self._names()[filling]
        _xml.add(root, "name", name)
        _xml.add(root, "capacity", 1)
        _xml.add(_xml.add(root, "target"), "format", type="raw")
        if found(self.pool.storageVolLookupByName, name) is None:
            self.pool.createXML(_xml.text_of(root), 0)

    def filled(self) -> None:
        """The content is complete."""
        self.set(filling=False)
        self._remove(filling=True)

    def read(self) -> bool | None:
        """Return whether the volume is being filled; None where there is no mark."""
        names = self._names()
        for filling in (True, False):
            if found(self.pool.storageVolLookupByName, names[filling]) is not None:
                return filling
        return None

    def clear(self) -> None:
        """Take the mark away: the state knows the volume, or it is gone."""
        for filling in (True, False):
            self._remove(filling=filling)

    def _remove(self, *, filling: bool) -> None:
        volume = found(self.pool.storageVolLookupByName, self._names()[filling])
        if volume is not None:
            volume.delete(0)


@dataclass
class Marks:
    """The marks set by this process, by the path of their volumes."""

    _by_path: dict[str, Mark]

    def remember(self, path: str, mark: Mark) -> None:
        """Keep *mark* until something that comes after the volume in the state needs it."""
        self._by_path[path] = mark

    def clear(self, path: str) -> None:
        """A later resource names the volume, so the state has it: the mark has served."""
        mark = self._by_path.pop(path, None)
        if mark is not None:
            with reported(f"mark of volume {path}"):
                mark.clear()


MARKS = Marks({})


def without_leftovers(undo: Callable[[], Any]) -> None:
    """Undo a step of a failed create; the first error is the one that counts."""
    import libvirt

    try:
        undo()
    except (libvirt.libvirtError, ProviderError):
        return


def unmake(volume: Any, mark: Mark) -> None:
    """Take away what a failed create made; what cannot be erased keeps the mark of its maker."""
    if volume is not None:
        erase(volume)
    mark.clear()
