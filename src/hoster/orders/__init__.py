"""What clients order and have: declarations, places, addresses, systems and their disks."""
