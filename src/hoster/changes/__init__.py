"""Rules on what a change of declarations or of the catalogue may do, and what it reaches."""
