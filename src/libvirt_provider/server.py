"""Pulumi's provider protocol: plain values in, blocking work in threads, clear errors out."""

from __future__ import annotations

import asyncio
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
from google.protobuf import any_pb2, empty_pb2
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

from libvirt_provider import VERSION
from libvirt_provider._resource import Change
from libvirt_provider._values import plain, secrets, wire
from libvirt_provider.errors import PartlyDoneError, ProviderError
from libvirt_provider.provider import Provider, schema

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from libvirt_provider._schema import Failure

PARALLEL_CALLS = 32
"""How many resources a host works on at a time; Pulumi's own default is 16 per core or less."""

MAX_MESSAGE_BYTES = 400 * 2**20


class Servicer(provider_pb2_grpc.ResourceProviderServicer):
    """The gRPC face of one provider."""

    def __init__(self, engine_address: str = "") -> None:
        self.provider = Provider()
        self._engine_address = engine_address
        self._engine: Any = None
        self._workers = ThreadPoolExecutor(PARALLEL_CALLS)

    # -- the plugin itself

    async def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Say which version is served."""
        return plugin_pb2.PluginInfo(version=VERSION)

    async def GetSchema(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Say which resources are served."""
        return provider_pb2.GetSchemaResponse(schema=schema())

    async def Cancel(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Let what runs come to its end: half a resize is worse than a late one."""
        return empty_pb2.Empty()

    async def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Judge the provider's inputs."""
        wrong = self.provider.config_failures(plain(request.news))
        return provider_pb2.CheckResponse(inputs=request.news, failures=_failures(wrong))

    async def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Another way to reach a host replaces nothing on it."""
        same = plain(request.olds).get("uri") == plain(request.news).get("uri")
        changes = provider_pb2.DiffResponse.DIFF_NONE if same else _SOME
        return provider_pb2.DiffResponse(changes=changes)

    async def Configure(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Take the URI; no connection yet."""
        self.provider.configure(plain(request.args))
        return provider_pb2.ConfigureResponse(acceptSecrets=True, supportsPreview=True)

    # -- resources

    async def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Judge the inputs of a resource, and give those left out."""
        work = partial(self._check, request)
        return await self._answer(context, work)

    def _check(self, request: Any) -> Any:
        resource = self.provider.resource(request.urn)
        inputs, wrong = resource.checked(
            request.urn, request.randomSeed, plain(request.olds), plain(request.news)
        )
        hidden = secrets(request.news) | resource.secret
        return provider_pb2.CheckResponse(inputs=wire(inputs, hidden), failures=_failures(wrong))

    async def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Tell what would change. Nothing is ever replaced."""
        return await self._answer(context, partial(self._diff, request))

    def _diff(self, request: Any) -> Any:
        olds, new = plain(request.olds), plain(request.news)
        old = plain(request.old_inputs)
        changed = self.provider.changed(request.urn, olds, old, new)
        kinds = {(False, True): _KIND.ADD, (True, False): _KIND.DELETE}
        detailed = {
            key: _KIND(kind=kinds.get((key in old, key in new), _KIND.UPDATE), inputDiff=True)
            for key in changed
        }
        return provider_pb2.DiffResponse(
            changes=_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=changed,
            detailedDiff=detailed,
            hasDetailedDiff=True,
        )

    async def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Make a resource, or say what it would be."""
        return await self._answer(context, partial(self._create, request))

    def _create(self, request: Any) -> Any:
        resource = self.provider.resource(request.urn)
        inputs = plain(request.properties)
        hidden = secrets(request.properties) | resource.secret
        if request.preview:
            return provider_pb2.CreateResponse(properties=wire(resource.planned(inputs), hidden))
        resource_id, outputs = resource.create(request.urn, inputs)
        return provider_pb2.CreateResponse(id=resource_id, properties=wire(outputs, hidden))

    async def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Say what is on the host."""
        return await self._answer(context, partial(self._read, request))

    def _read(self, request: Any) -> Any:
        resource = self.provider.resource(request.urn)
        found = resource.read(request.urn, request.id, plain(request.inputs))
        if found is None:
            return provider_pb2.ReadResponse()
        hidden = secrets(request.properties) | secrets(request.inputs) | resource.secret
        return provider_pb2.ReadResponse(
            id=found.id, properties=wire(found.outputs, hidden), inputs=wire(found.inputs, hidden)
        )

    async def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Change a resource in place, or say what that would do."""
        return await self._answer(context, partial(self._update, request, _Talk(self, request)))

    def _update(self, request: Any, log: Callable[[str], None]) -> Any:
        resource = self.provider.resource(request.urn)
        hidden = secrets(request.news) | resource.secret
        state = plain(request.olds)
        old = plain(request.old_inputs) or {k: state[k] for k in resource.fields if k in state}
        change = Change(request.urn, request.id, state, old, plain(request.news), log)
        try:
            outputs = (resource.planned_update if request.preview else resource.update)(change)
        except PartlyDoneError as error:
            raise _PartlyDoneError(request.id, str(error), wire(error.outputs, hidden)) from error
        return provider_pb2.UpdateResponse(properties=wire(outputs, hidden))

    async def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Remove a resource."""
        return await self._answer(context, partial(self._delete, request))

    def _delete(self, request: Any) -> Any:
        resource = self.provider.resource(request.urn)
        resource.delete(request.urn, request.id, plain(request.properties))
        return empty_pb2.Empty()

    # -- plumbing

    async def _answer(self, context: Any, work: Callable[[], Any]) -> Any:
        try:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._workers, work)
        except _PartlyDoneError as error:
            await context.abort_with_status(error.status())
        except ProviderError as error:
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except Exception as error:
            await _abort(context, grpc.StatusCode.INTERNAL, _defect(error))

    def log(self, urn: str, message: str) -> None:
        """Tell the person who runs Pulumi, beside the resource's line."""
        if not self._engine_address:
            return
        if self._engine is None:
            self._engine = engine_pb2_grpc.EngineStub(grpc.insecure_channel(self._engine_address))
        request = engine_pb2.LogRequest(severity=engine_pb2.INFO, message=message, urn=urn)
        self._engine.Log(request)


class _Talk:
    """Logs for one resource."""

    def __init__(self, servicer: Servicer, request: Any) -> None:
        self._servicer, self._urn = servicer, request.urn

    def __call__(self, message: str) -> None:
        self._servicer.log(self._urn, message)


class _PartlyDoneError(Exception):
    """An update that failed half-way, as the engine wants to be told."""

    def __init__(self, resource_id: str, message: str, properties: Any) -> None:
        super().__init__(message)
        self._detail = provider_pb2.ErrorResourceInitFailed(
            id=resource_id, properties=properties, reasons=[message]
        )

    def status(self) -> Any:
        """Return the gRPC status whose detail carries the state that is there now."""
        packed = any_pb2.Any()
        packed.Pack(self._detail)
        code = grpc.StatusCode.UNKNOWN
        whole = status_pb2.Status(code=code.value[0], message=str(self), details=[packed])
        status = grpc.Status()
        status.code, status.details = code, str(self)
        status.trailing_metadata = (("grpc-status-details-bin", whole.SerializeToString()),)
        return status


_KIND = provider_pb2.PropertyDiff
_SOME = provider_pb2.DiffResponse.DIFF_SOME


def _failures(wrong: Iterable[Failure]) -> list[Any]:
    return [provider_pb2.CheckFailure(property=it.property, reason=it.reason) for it in wrong]


def _defect(error: Exception) -> str:
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    where = f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}" if frame else "?"
    return f"a defect of the libvirt provider: {type(error).__name__} at {where}"


async def _abort(context: Any, code: Any, message: str) -> NoReturn:
    await context.abort(code, message)
    raise AssertionError  # abort raises


async def serve(engine_address: str) -> None:
    """Serve one provider until the engine ends this process; the port goes to stdout."""
    limits = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
    server = grpc.aio.server(options=limits)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(Servicer(engine_address), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    await server.wait_for_termination()


def main(arguments: list[str]) -> None:
    """Run as a plugin: ``pulumi-resource-libvirt ENGINE-ADDRESS``."""
    addresses = [argument for argument in arguments if not argument.startswith("-")]
    try:
        asyncio.run(serve(addresses[0] if addresses else ""))
    except KeyboardInterrupt:
        # A thread may be waiting for a host; the process need not.
        os._exit(0)
