"""What can go wrong in the lab; each message tells a person what to do next."""

from __future__ import annotations


class LabError(Exception):
    """The lab cannot do what was asked; the message says why, and what helps."""
