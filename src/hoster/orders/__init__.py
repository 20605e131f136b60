"""Rules on what is ordered: declarations, addresses, places, disks."""
