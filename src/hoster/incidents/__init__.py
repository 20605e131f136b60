"""Rules on security incidents, and on the measures against VPSs."""
