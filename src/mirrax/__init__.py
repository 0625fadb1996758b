"""mirrax: planning as inference, in JAX."""

from mirrax import dynamics, planners

__version__ = "0.1.0"

__all__ = ["__version__", "dynamics", "planners"]
