"""The node agent: what enforces the contract on a host node, alone and after any crash.

It knows nothing of the control machine. The kernel does the work; the agent only says which
taps exist and what each may do.
"""

STATE = "/var/lib/hoster/node.sqlite"
CONFIG = "/etc/hoster"
"""Where a host node keeps its state, and where the roles put what the agent loads."""
