"""What is wrong with what one machine says to the other."""

from __future__ import annotations


class NodeError(Exception):
    """A reason why the agent did not do what it was asked; the message says what to do."""


class InvalidMetadataError(NodeError):
    """A domain's facts do not describe a VPS."""


class InvalidMeasureError(NodeError):
    """What a node was told is no measure that it takes."""
