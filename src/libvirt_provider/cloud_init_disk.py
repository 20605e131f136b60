"""Seeds of cloud-init: an ISO in a pool, rewritten in place when its texts change."""

from __future__ import annotations

import io
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from libvirt_provider import _storage, _xml
from libvirt_provider._connection import found, reported
from libvirt_provider._resource import Change, Found, Resource, differs, drifted, refuse
from libvirt_provider._schema import TEXT, Failure
from libvirt_provider._storage import MARKS, Mark
from libvirt_provider.errors import AlreadyExistsError, MissingError, RefusedChangeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from libvirt_provider._resource import Values
    from libvirt_provider._schema import Kind

LABEL = "cidata"
"""The volume label by which cloud-init's NoCloud source knows its disk."""

UNIT_BYTES = 2**20
"""Seeds are padded to a multiple of this, so that a rewritten one still fits."""

FILES = {"userData": "user-data", "metaData": "meta-data", "networkConfig": "network-config"}


class CloudInitDisk(Resource):
    """A NoCloud seed. Its user data is a secret wherever it is written down."""

    fields: ClassVar[Mapping[str, Kind]] = dict.fromkeys(("name", "pool", *FILES), TEXT)
    defaults: ClassVar[Mapping[str, Any]] = {"pool": "default"}
    secret = frozenset({"userData"})

    def refusals(self, old: Values, new: Values) -> list[Failure]:
        """Return the changes that are never made: a seed stays where its domain looks for it."""
        return [
            Failure(key, "cannot change on a seed that a domain may use: set it back")
            for key in ("name", "pool")
            if key in old and differs(old, new, key)
        ]

    def create(self, urn: str, inputs: Values) -> tuple[str, Values]:
        """Write the seed; one that a killed run of this resource left is written again."""
        pool = _storage.pool(self.host, inputs["pool"])
        mark = Mark(pool, inputs["name"], urn)
        content = seed_iso(inputs)
        with reported(f"seed {inputs['name']!r} in pool {inputs['pool']!r}"):
            volume = found(pool.storageVolLookupByName, inputs["name"])
            if volume is not None and mark.read() is None:
                place = f"pool {inputs['pool']!r} on {self.host.uri}"
                raise AlreadyExistsError.of(place, f"volume {inputs['name']!r}")
            volume = self._written(pool, mark, volume, inputs["name"], content)
            MARKS.remember(volume.path(), mark)
            return _id(volume.key(), urn), dict(inputs)

    def _written(self, pool: Any, mark: Mark, volume: Any, name: str, content: bytes) -> Any:
        mark.set(filling=False)
        try:
            if volume is None:
                volume = pool.createXML(_xml.text_of(_definition(name, len(content))), 0)
            self._write(volume, content)
        except BaseException:
            _storage.without_leftovers(lambda: _storage.unmake(volume, mark))
            raise
        return volume

    def _write(self, volume: Any, content: bytes) -> None:
        capacity = volume.info()[1]
        if len(content) > capacity and _storage.is_block(volume):
            raise RefusedChangeError(
                f"it takes {len(content)} bytes, its logical volume has {capacity}, and libvirt "
                "grows none. Nothing was changed. On its host: "
                f"`lvextend --size {len(content)}b {volume.path()}`; then run again"
            )
        if len(content) > capacity:
            volume.resize(len(content), 0)
        # To the volume's end: what an earlier seed or an earlier owner left there goes.
        content = content.ljust(volume.info()[1], b"\0")
        _storage.upload(self.host, volume, iter([content]), len(content))

    def read(self, urn: str, resource_id: str, inputs: Values) -> Found | None:
        """Return the seed; None where it is gone, for it holds nothing of the client's."""
        volume = _storage.volume_keyed(self.host, volume_key(resource_id), inputs.get("pool"))
        if volume is None:
            return None
        with reported(f"seed {resource_id}"):
            mark = Mark.of(volume, urn)
            mark.clear()
            actual = {"name": volume.name(), "pool": mark.pool.name()}
            if not self.host.is_test:
                actual |= seed_texts(_storage.download(self.host, volume))
        known = drifted(inputs, actual)
        return Found(resource_id, known, known)

    def planned_update(self, change: Change) -> Values:
        """Say what a new seed does, and what it does not."""
        change.log(
            "the seed is rewritten in place; a guest that has booted before acts on it only "
            "where metaData has a new instance-id"
        )
        return super().planned_update(change)

    def update(self, change: Change) -> Values:
        """Rewrite the ISO in its volume, whether or not a guest has it."""
        refuse(self.refusals(change.old, change.new))
        volume = _storage.volume_keyed(self.host, volume_key(change.id), change.new["pool"])
        if volume is None:
            raise MissingError(
                f"seed {volume_key(change.id)} is missing on {self.host.uri}: "
                "`pulumi up --refresh` makes it anew"
            )
        with reported(f"seed {change.new['name']!r}"):
            Mark.of(volume, change.urn).clear()
            self._write(volume, seed_iso(change.new))
        return dict(change.new)

    def delete(self, urn: str, resource_id: str, state: Values) -> None:
        """Erase the seed, unless a domain still has it."""
        key = volume_key(resource_id)
        volume = _storage.volume_keyed(self.host, key, state.get("pool"))
        if volume is None:
            _storage.check_gone(self.host, key, state.get("pool"))
            return
        with reported(f"seed {resource_id}"):
            _storage.delete(self.host, volume, urn, "seed")


def volume_key(resource_id: str) -> str:
    """Return the volume's key out of a seed's id, ``key;uuid``. Pure."""
    return resource_id.partition(";")[0]


def seed_iso(inputs: Values) -> bytes:
    """Return the ISO 9660 image with what cloud-init reads. Pure."""
    import pycdlib

    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    for number, (key, name) in enumerate(FILES.items()):
        text = inputs.get(key)
        # cloud-init takes a disk for its own only where both of these are.
        if text is None and key == "networkConfig":
            continue
        data = (text or "").encode()
        iso.add_fp(
            io.BytesIO(data), len(data), f"/FILE{number}.;1", rr_name=name, joliet_path=f"/{name}"
        )
    output = io.BytesIO()
    iso.write_fp(output)
    iso.close()
    content = output.getvalue()
    return content + bytes(-len(content) % UNIT_BYTES)


def seed_texts(content: bytes) -> Values:
    """Return the texts of a seed; nothing where it is no seed. Pure."""
    import pycdlib
    from pycdlib.pycdlibexception import PyCdlibException

    texts = {}
    iso = pycdlib.PyCdlib()
    try:
        iso.open_fp(io.BytesIO(content))
        for child in iso.list_children(joliet_path="/"):
            name = child.file_identifier().decode("utf-16-be", "replace")
            for key, wanted in FILES.items():
                if name == wanted:
                    output = io.BytesIO()
                    iso.get_file_from_iso_fp(output, joliet_path=f"/{name}")
                    texts[key] = output.getvalue().decode()
        iso.close()
    except PyCdlibException:
        return {}
    return texts


def _definition(name: str, size: int) -> Any:
    root = _xml.root("volume")
    _xml.add(root, "name", name)
    _xml.add(root, "capacity", size, unit="bytes")
    target = _xml.add(root, "target")
    _xml.add(target, "format", type="raw")
    # Readable by its owner and by QEMU alone: it holds a password hash.
    _xml.add(_xml.add(target, "permissions"), "mode", "0600")
    return root


def _id(key: str, urn: str) -> str:
    return f"{key};{uuid.uuid5(uuid.NAMESPACE_URL, urn)}"
