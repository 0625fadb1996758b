"""The files of a run of `mirrax run`: written so that nothing is lost, and read back as arrays."""

from mirrax.results.results import Results, load

__all__ = ["Results", "load"]
