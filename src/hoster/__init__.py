"""The rules of a hosting company that rents out virtual private servers."""

__version__ = "0.1.0"
