"""One client's VPSs, as declared in this stack's configuration."""

from hoster.stack.program import declare

declare()
