"""Families of beliefs over plans."""

from .gaussian import Gaussian, gaussian

__all__ = ["Gaussian", "gaussian"]
