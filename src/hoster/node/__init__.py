"""The node agent: what enforces the contract on a host node, alone and after any crash.

It knows nothing of the control machine. The kernel does the work; the agent only says which
taps exist and what each may do.
"""
