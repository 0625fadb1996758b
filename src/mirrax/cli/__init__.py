"""The command line: `mirrax run`, `mirrax list`, `mirrax bench`."""

from .main import main

__all__ = ["main"]
