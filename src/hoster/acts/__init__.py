"""What ops do: one function or small class each, for the command line, playbooks and pages."""
