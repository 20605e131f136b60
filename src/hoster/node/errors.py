"""What can go wrong on a node. Whatever does, nothing passes that did not before."""

from __future__ import annotations


class NodeError(Exception):
    """A reason why the agent did not do what it was asked; the message says what to do."""


class InvalidMetadataError(NodeError):
    """A domain's facts do not describe a VPS."""


class UnknownVpsError(NodeError):
    """No VPS of that name, address or tap was ever on this node."""


class KernelError(NodeError):
    """The kernel refused a change: nothing of it was done."""
