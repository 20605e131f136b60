"""Pulumi's libvirt provider: disks that only grow, domains that are never undefined first.

It serves the tokens and properties of the ``pulumi_libvirt`` 0.5.4 SDK; see docs/provider.md.
"""

VERSION = "0.5.4"
"""The version of the SDK whose resources are served."""
