"""Rules on who the clients are, and what they are told and asked for."""
