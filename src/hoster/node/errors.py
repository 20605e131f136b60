"""What can go wrong on a node. Whatever does, nothing passes that did not before."""

from __future__ import annotations

from hoster.wire.errors import NodeError


class UnknownVpsError(NodeError):
    """No VPS of that name, address or tap was ever on this node."""


class KernelError(NodeError):
    """The kernel refused a change: nothing of it was done."""
