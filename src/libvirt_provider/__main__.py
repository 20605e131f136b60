"""The plugin's process. Loads Pulumi's protocol without the rest of its SDK.

The SDK takes 0.8 s of processor time to import, the protocol's generated modules 0.3 s, and
every provider of a stack is a process of its own. See docs/decisions/0005.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from types import ModuleType


def _only_the_protocol() -> None:
    spec = find_spec("pulumi")
    if spec is None or not spec.submodule_search_locations or spec.origin is None:
        sys.exit(
            f"pulumi-resource-libvirt: {sys.executable} has no Pulumi SDK; run scripts/setup, or "
            "put the Python that has it first on PATH"
        )
    root = spec.submodule_search_locations[0]
    for name, path in (("pulumi", root), ("pulumi.runtime", f"{root}/runtime")):
        module = ModuleType(name)
        module.__path__ = [path]
        sys.modules[name] = module


if __name__ == "__main__":
    # libvirt forks `ssh` out of this process, and gRPC's fork handlers now and then kill such a
    # child before it becomes ssh: the host then seems to reset the connection. They serve forks
    # that go on using gRPC, which there are none of here. Read when grpc is imported.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    _only_the_protocol()

    from libvirt_provider.server import main

    main(sys.argv[1:])
