"""Volumes hold clients' data: they grow in place, and are never replaced or taken over."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

from libvirt_provider import _source, _storage, _xml
from libvirt_provider._connection import found, reported
from libvirt_provider._resource import Change, Found, Resource, differs, drifted, refuse
from libvirt_provider._schema import TEXT, XML, Failure, choice, number
from libvirt_provider._storage import MARKS, Mark, VolumeFacts
from libvirt_provider.errors import (
    AlreadyExistsError,
    MissingError,
    ProviderError,
    RefusedChangeError,
    UnreachableHostError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from libvirt_provider._resource import Values
    from libvirt_provider._schema import Kind

GIB = 2**30
DEFAULT_BYTES = GIB
"""The size of a volume that says neither size, source nor base."""

FORMATS = ("qcow2", "raw", "qed", "vmdk", "vdi", "vpc")
BASE = ("baseVolumeId", "baseVolumeName", "baseVolumePool")
FINAL = {
    "name": "rename it on the host first",
    "pool": "copy the data to a new volume",
    "format": "convert the data into a new volume",
    "source": "its content is the client's now: make a new volume from the new source",
    **dict.fromkeys(BASE, "its content is the client's now: make a new volume from the new base"),
}
"""The inputs that never change, with what to do instead."""


class Volume(Resource):
    """A disk in a storage pool."""

    fields: ClassVar[Mapping[str, Kind]] = {
        "name": TEXT,
        "pool": TEXT,
        "size": number(least=1),
        "format": choice(*FORMATS),
        "source": TEXT,
        "baseVolumeId": TEXT,
        "baseVolumeName": TEXT,
        "baseVolumePool": TEXT,
        "xml": XML,
    }
    defaults: ClassVar[Mapping[str, Any]] = {"pool": "default"}
    computed = ("size", "format")

    def rules(self, inputs: Values) -> list[Failure]:
        """Return what is wrong between properties."""
        origins = [key for key in ("source", "baseVolumeId", "baseVolumeName") if inputs.get(key)]
        if len(origins) > 1:
            return [Failure(origins[1], f"cannot be had together with {origins[0]}")]
        if inputs.get("baseVolumePool") and not inputs.get("baseVolumeName"):
            return [Failure("baseVolumePool", "says where baseVolumeName is, which is missing")]
        return []

    def refusals(self, old: Values, new: Values) -> list[Failure]:
        """Return the changes that would lose data: everything but growth."""
        refused = [
            Failure(key, _final(key, old.get(key), new.get(key)))
            for key in FINAL
            if _is_other(old, new, key)
        ]
        before, after = old.get("size"), new.get("size")
        if isinstance(before, int) and isinstance(after, int) and after < before:
            refused.append(Failure("size", _shrinks(before, after)))
        return refused

    def changed(self, old: Values, new: Values) -> list[str]:
        """Return the properties that differ; one that is left out stays what it is."""
        return [
            key
            for key in super().changed(old, new)
            if new.get(key) is not None and (key not in FINAL or _is_other(old, new, key))
        ]

    def planned_update(self, change: Change) -> Values:
        """Say that the disk grows, and where it ends.

        Raises:
            RefusedChangeError: it is on a volume group, where libvirt grows nothing.
        """
        before, after = _state_size(change), change.new.get("size")
        if isinstance(after, int) and after > before:
            self._check_growth(change, after)
            change.log(f"disk {_size(before)} -> {_size(after)}: grows in place, keeps its data")
        return super().planned_update(change)

    def _check_growth(self, change: Change, size: int) -> None:
        try:
            volume = _storage.volume_keyed(self.host, change.id, change.new.get("pool"))
        except UnreachableHostError as error:
            change.log(f"cannot tell whether this disk can grow: {error}")
            return
        with reported(f"volume {change.id}"):
            if volume is not None and _storage.is_block(volume):
                raise RefusedChangeError(f"size: {_grows_by_hand(volume, size)}")

    def create(self, urn: str, inputs: Values) -> tuple[str, Values]:
        """Make the volume, or finish the one that a killed run of this resource began."""
        pool = _storage.pool(self.host, inputs["pool"])
        mark = Mark(pool, inputs["name"], urn)
        with reported(f"volume {inputs['name']!r} in pool {inputs['pool']!r}"):
            facts = self._made(pool, mark, inputs)
        MARKS.remember(facts.path, mark)
        return facts.key, _outputs(inputs, facts)

    def _made(self, pool: Any, mark: Mark, inputs: Values) -> VolumeFacts:
        existing = found(pool.storageVolLookupByName, inputs["name"])
        state = mark.read() if existing is not None else None
        if existing is not None and state is None:
            raise AlreadyExistsError.of(
                f"pool {inputs['pool']!r} on {self.host.uri}",
                f"volume {inputs['name']!r}",
                f"libvirt:index/volume:Volume NAME {existing.key()}",
            )
        if existing is not None and not state:
            return self._recovered(existing, inputs)
        if existing is not None:
            what = f"volume {existing.name()!r} is only partly filled, yet is"
            _storage.check_unused(self.host, existing, what)
            _storage.see_true_size(self.host, existing)
            _storage.erase(existing)
        return self._new(pool, mark, inputs)

    def _new(self, pool: Any, mark: Mark, inputs: Values) -> VolumeFacts:
        base, files = self._base(pool, inputs), _storage.holds_files(pool)
        root = self._definition(inputs, base and VolumeFacts.of(base), files=files)
        filling = bool(inputs.get("source")) or not files
        mark.set(filling=filling)
        volume = None
        try:
            if base is None or files:
                volume = pool.createXML(_xml.text_of(root), 0)
            else:
                volume = pool.createXMLFrom(_xml.text_of(root), base, 0)
            self._fill(volume, base, inputs)
            if filling:
                mark.filled()
            return VolumeFacts.of(volume)
        except BaseException:
            _storage.without_leftovers(lambda: _storage.unmake(volume, mark))
            raise

    def _fill(self, volume: Any, base: Any, inputs: Values) -> None:
        if _storage.is_block(volume):
            self._clean(volume, base, inputs)
        if inputs.get("source"):
            with _source.opened(inputs["source"]) as source:
                _storage.upload(self.host, volume, source.chunks(), source.length)
        size = inputs.get("size")
        if size and size > volume.info()[1]:
            volume.resize(size, 0)

    def _clean(self, volume: Any, base: Any, inputs: Values) -> None:
        """Overwrite what earlier owners left: libvirt hands out extents as they are."""
        capacity = volume.info()[1]
        if inputs.get("size") not in (None, capacity):
            raise RefusedChangeError(
                f"size {inputs['size']} bytes is no whole number of the volume group's extents: "
                f"declare {capacity} bytes"
            )
        if base is None:
            volume.wipe(0)
        else:
            _storage.zero(self.host, volume, base.info()[1], capacity)

    def _recovered(self, volume: Any, inputs: Values) -> VolumeFacts:
        facts = VolumeFacts.of(volume)
        wanted = inputs.get("size") or facts.capacity
        form = inputs.get("format") or facts.format
        if facts.capacity > wanted or (facts.format and facts.format != form):
            raise AlreadyExistsError(
                f"volume {inputs['name']!r} was made by an interrupted run of this resource with "
                f"{_size(facts.capacity)}, format {facts.format}: declare that, or delete it by "
                f"hand if it holds nothing (`virsh vol-delete {facts.path}`)"
            )
        if wanted > facts.capacity:
            _grow(self.host, volume, facts.path, wanted)
            facts = VolumeFacts.of(volume)
        return facts

    def _definition(self, inputs: Values, base: VolumeFacts | None, *, files: bool) -> Any:
        size, form, length = inputs.get("size"), inputs.get("format"), None
        if base is not None:
            size = size or base.capacity
            if size < base.capacity:
                raise RefusedChangeError(
                    f"size {_size(size)} is below that of base volume {base.name!r}, "
                    f"{_size(base.capacity)}: declare at least that"
                )
        if inputs.get("source"):
            with _source.opened(inputs["source"]) as source:
                form, length = form or source.format, source.virtual_bytes
        form = form or ("qcow2" if files else "raw")
        if not files and form != "raw":
            raise RefusedChangeError(
                f"pool {inputs['pool']!r} holds raw content only, not {form}: put such an image "
                "into a Volume of a `dir` pool, and make this one with that as its baseVolumeId"
            )
        root = volume_xml(inputs["name"], size or length or DEFAULT_BYTES, form, base, files=files)
        return _xml.transformed(root, inputs)

    def _base(self, pool: Any, inputs: Values) -> Any:
        if inputs.get("baseVolumeId"):
            volume = _storage.volume_keyed(self.host, inputs["baseVolumeId"], inputs["pool"])
        elif inputs.get("baseVolumeName"):
            name = inputs.get("baseVolumePool")
            home = _storage.pool(self.host, name) if name else pool
            volume = _storage.volume_named(home, inputs["baseVolumeName"])
        else:
            return None
        if volume is None:
            wanted = inputs.get("baseVolumeId") or inputs["baseVolumeName"]
            raise MissingError(f"base volume {wanted!r} is not on {self.host.uri}")
        return volume

    def read(self, urn: str, resource_id: str, inputs: Values) -> Found | None:
        """Return the volume as it is.

        Raises:
            MissingError: it is not there; a disk is never silently made anew.
        """
        volume = self._volume(urn, resource_id, inputs.get("pool"))
        with reported(f"volume {resource_id}"):
            mark = Mark.of(volume, urn)
            mark.clear()
            facts = VolumeFacts.of(volume)
            actual = {"name": facts.name, "pool": mark.pool.name()}
        if "size" in inputs or not inputs:
            actual["size"] = facts.capacity
        if "format" in inputs or not inputs:
            actual["format"] = facts.format
        if not inputs and facts.backing_path:
            actual["baseVolumeId"] = facts.backing_path
        known = drifted(inputs, actual)
        return Found(facts.key, _outputs(known, facts), known)

    def update(self, change: Change) -> Values:
        """Grow the volume, online where a domain runs on it."""
        refuse(self.refusals({**change.old, "size": _state_size(change)}, change.new))
        volume = self._volume(change.urn, change.id, change.new.get("pool"))
        with reported(f"volume {change.new['name']!r}"):
            Mark.of(volume, change.urn).clear()
            facts = VolumeFacts.of(volume)
            size = change.new.get("size") or facts.capacity
            if size < facts.capacity:
                raise RefusedChangeError(f"size: {_shrinks(facts.capacity, size)}")
            if size > facts.capacity:
                change.log(f"disk {_size(facts.capacity)} -> {_size(size)}")
                _grow(self.host, volume, facts.path, size)
            return _outputs(change.new, VolumeFacts.of(volume))

    def delete(self, urn: str, resource_id: str, state: Values) -> None:
        """Erase the volume, unless a domain still has it."""
        volume = _storage.volume_keyed(self.host, resource_id, state.get("pool"))
        if volume is None:
            _storage.check_gone(self.host, resource_id, state.get("pool"))
            return
        with reported(f"volume {resource_id}"):
            _storage.delete(self.host, volume, urn, "volume")

    def _volume(self, urn: str, key: str, pool: str | None) -> Any:
        volume = _storage.volume_keyed(self.host, key, pool)
        if volume is None:
            raise MissingError(
                f"volume {key} is missing on {self.host.uri}; it was not deleted by this program. "
                f"Restore it, or remove it from the state with `pulumi state delete '{urn}'`"
            )
        return volume


def volume_xml(
    name: str, size: int, form: str, base: VolumeFacts | None, *, files: bool = True
) -> Any:
    """Return the definition of a new volume, before any XSLT; ``files``: of its pool. Pure."""
    root = _xml.root("volume")
    _xml.add(root, "name", name)
    _xml.add(root, "capacity", size, unit="bytes")
    if files:
        # What is not allocated reads as zeros; a raw file is sparse. A logical volume would become
        # a snapshot that fails when it is full.
        _xml.add(root, "allocation", 0, unit="bytes")
    target = _xml.add(root, "target")
    _xml.add(target, "format", type=form)
    if base is not None and files:
        backing = _xml.add(root, "backingStore")
        _xml.add(backing, "path", base.path)
        _xml.add(backing, "format", type=base.format or "raw")
    return root


def _grow(host: Any, volume: Any, path: str, size: int) -> None:
    if _storage.is_block(volume):
        raise RefusedChangeError(f"size: {_grows_by_hand(volume, size)}")
    domain = _running_on(host, path)
    if domain is None:
        volume.resize(size, 0)
    else:
        domain.blockResize(path, size, 1)  # VIR_DOMAIN_BLOCK_RESIZE_BYTES
    if volume.info()[1] < size:
        raise ProviderError(f"{path} did not grow to {_size(size)}")


def _running_on(host: Any, path: str) -> Any:
    if host.is_test:
        return None
    connection = host.connection()
    block_stats, active = 1 << 5, 1  # VIR_DOMAIN_STATS_BLOCK, VIR_CONNECT_GET_ALL_..._ACTIVE
    for domain, stats in connection.getAllDomainStats(block_stats, active):
        disks = range(stats.get("block.count", 0))
        if any(stats.get(f"block.{disk}.path") == path for disk in disks):
            return domain
    return None


def _outputs(inputs: Values, facts: VolumeFacts) -> Values:
    return {**inputs, "size": facts.capacity, "format": facts.format or inputs.get("format")}


def _state_size(change: Change) -> int:
    size = change.state.get("size", 0)
    return size if isinstance(size, int) else 0


def _is_other(old: Values, new: Values, key: str) -> bool:
    if not differs(old, new, key):
        return False
    left_out = None in (old.get(key), new.get(key))
    if key in BASE and _origin(old) == _origin(new):
        return key == "baseVolumePool" and not left_out
    # What was left out and is declared now is compared with the state, which knows it.
    return not (key in Volume.computed and left_out)


def _origin(inputs: Values) -> str | None:
    # One base by its key or by its name: an imported volume knows the key only.
    if isinstance(inputs.get("baseVolumeId"), str):
        return PurePosixPath(inputs["baseVolumeId"]).name
    return inputs.get("baseVolumeName")


def _final(key: str, before: Any, after: Any) -> str:
    return (
        f"cannot change from {before!r} to {after!r}: that would replace the disk and lose its "
        f"data. Set it back; {FINAL[key]}"
    )


def _shrinks(before: int, after: int) -> str:
    return (
        f"cannot shrink from {_size(before)} to {_size(after)}: the end of the disk would be cut "
        f"off. Declare at least {before} bytes"
    )


def _grows_by_hand(volume: Any, size: int) -> str:
    path, before = volume.path(), volume.info()[1]
    pool = volume.storagePoolLookupByVolume().name()
    return (
        f"cannot grow from {_size(before)} to {_size(size)}: libvirt grows no volume of a volume "
        f"group. Nothing was changed. Do it on its host: `lvextend --size {size}b {path}`, then "
        f"`blkdiscard --zeroout --offset {before} {path}`, since the new space holds what others "
        f"left there; then `virsh pool-refresh {pool}`, and where a domain runs on it `virsh "
        f"blockresize DOMAIN {path} {size}B`; then `pulumi up --refresh`"
    )


def _size(size: int) -> str:
    whole, rest = divmod(size, GIB)
    return f"{size} bytes" if rest else f"{whole} GiB"
