"""Pulumi, asked and driven as a program."""
