"""What the control machine and a host node say to each other, defined once for both."""
