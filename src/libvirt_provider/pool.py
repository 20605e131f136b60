"""Storage pools: directories and volume groups. Taking one away never takes volumes along."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from libvirt_provider import _storage, _xml
from libvirt_provider._connection import found, reported
from libvirt_provider._resource import Change, Found, Resource, differs, drifted
from libvirt_provider._schema import TEXT, XML, Failure, choice, items_of, object_of
from libvirt_provider.errors import AlreadyExistsError, InUseError, MissingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from libvirt_provider._resource import Values
    from libvirt_provider._schema import Kind

SIZES = ("allocation", "available", "capacity")
FINAL = ("name", "type", "path", "source", "target", "xml")
"""Every input that says where volumes are: none of them changes on a pool that exists."""


class Pool(Resource):
    """A directory (``dir``) or an existing volume group (``logical``) that holds volumes."""

    fields: ClassVar[Mapping[str, Kind]] = {
        "name": TEXT,
        "type": choice("dir", "logical"),
        "path": TEXT,
        "target": object_of(path=TEXT),
        "source": object_of(name=TEXT, devices=items_of(object_of(path=TEXT))),
        "xml": XML,
    }
    computed = SIZES

    def rules(self, inputs: Values) -> list[Failure]:
        """Return what is wrong between properties."""
        if inputs.get("type") is None:
            return [Failure("type", "is required: 'dir' or 'logical'")]
        if inputs["type"] == "dir" and not _path(inputs):
            return [Failure("target.path", "is required for a pool of type 'dir'")]
        return []

    def refusals(self, old: Values, new: Values) -> list[Failure]:
        """Return the changes that would leave volumes behind: all."""
        return [
            Failure(key, "cannot change on a pool that exists: its volumes would stay behind")
            for key in FINAL
            if differs(old, new, key)
            and not (key in {"path", "target"} and _path(old) == _path(new))
        ]

    def create(self, urn: str, inputs: Values) -> tuple[str, Values]:
        """Define, build (a directory only), start; a pool of a killed run is taken on."""
        connection = self.host.connection()
        with reported(f"pool {inputs['name']!r}"):
            existing = found(connection.storagePoolLookupByName, inputs["name"])
            if existing is not None and existing.UUIDString() != _storage.uuid_of(urn):
                raise AlreadyExistsError.of(
                    self.host.uri,
                    f"pool {inputs['name']!r}",
                    f"libvirt:index/pool:Pool NAME {existing.UUIDString()}",
                )
            root = _xml.transformed(pool_xml(inputs, _storage.uuid_of(urn)), inputs)
            pool = existing or connection.storagePoolDefineXML(_xml.text_of(root))
            self._started(pool, inputs)
            return pool.UUIDString(), {**inputs, **_sizes(pool)}

    def _started(self, pool: Any, inputs: Values) -> None:
        try:
            if not pool.isActive():
                if inputs["type"] == "dir":
                    pool.build(0)
                pool.create(0)
            pool.setAutostart(1)
        except BaseException:
            _storage.without_leftovers(pool.destroy)
            _storage.without_leftovers(pool.undefine)
            raise

    def read(self, urn: str, resource_id: str, inputs: Values) -> Found | None:  # noqa: ARG002
        """Return the pool.

        Raises:
            MissingError: it is not defined; volumes may still be where it was.
        """
        with reported(f"pool {resource_id}"):
            pool = self._pool(resource_id)
            root = _xml.parse(pool.XMLDesc(0))
            actual: Values = {"name": pool.name(), "type": root.get("type")}
            if not inputs:
                actual["target"] = {"path": root.findtext("target/path")}
                if root.findtext("source/name"):
                    actual["source"] = {"name": root.findtext("source/name")}
            known = drifted(inputs, actual)
            return Found(resource_id, {**known, **_sizes(pool)}, known)

    def update(self, change: Change) -> Values:
        """Nothing of a pool changes in place."""
        with reported(f"pool {change.id}"):
            return {**change.new, **_sizes(self._pool(change.id))}

    def delete(self, urn: str, resource_id: str, state: Values) -> None:  # noqa: ARG002
        """Stop and undefine it; a pool that holds volumes stays."""
        with reported(f"pool {resource_id}"):
            pool = found(self.host.connection().storagePoolLookupByUUIDString, resource_id)
            if pool is None:
                return
            volumes = pool.listVolumes() if pool.isActive() else []
            if volumes:
                raise InUseError(
                    f"pool {pool.name()!r} on {self.host.uri} still holds {len(volumes)} volumes, "
                    f"{volumes[0]!r} among them: delete those first"
                )
            if pool.isActive():
                pool.destroy()
            if _storage.kind_of(pool) == "dir":
                _storage.without_leftovers(lambda: pool.delete(0))
            pool.undefine()

    def _pool(self, uuid: str) -> Any:
        pool = found(self.host.connection().storagePoolLookupByUUIDString, uuid)
        if pool is None:
            raise MissingError(
                f"pool {uuid} is missing on {self.host.uri}: define it again, or remove it from "
                "the state with `pulumi state delete URN`"
            )
        return pool


def pool_xml(inputs: Values, uuid: str) -> Any:
    """Return the definition of a pool. Pure."""
    root = _xml.root("pool", type=inputs["type"])
    _xml.add(root, "name", inputs["name"])
    _xml.add(root, "uuid", uuid)
    source = inputs.get("source") or {}
    if inputs["type"] == "logical":
        element = _xml.add(root, "source")
        for device in source.get("devices") or []:
            _xml.add(element, "device", path=device.get("path"))
        _xml.add(element, "name", source.get("name") or inputs["name"])
        _xml.add(element, "format", type="lvm2")
    path = _path(inputs) or f"/dev/{source.get('name') or inputs['name']}"
    _xml.add(_xml.add(root, "target"), "path", path)
    return root


def _path(inputs: Values) -> str | None:
    return (inputs.get("target") or {}).get("path") or inputs.get("path")


def _sizes(pool: Any) -> Values:
    _, capacity, allocation, available = pool.info()
    return {"allocation": allocation, "available": available, "capacity": capacity}
