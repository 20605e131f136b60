"""What the agent says to the kernel: elements by netlink, classes by tc."""
