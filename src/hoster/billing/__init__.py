"""Rules on money and on the cycles that it goes by."""
