"""A boot, watched from the host node past the packet filter."""
