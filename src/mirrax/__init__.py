"""mirrax: planning as inference, in JAX."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mirrax import compiling, dynamics, learning, planners, report, results

__version__ = "0.1.0"

__all__ = ["__version__", "compiling", "dynamics", "learning", "planners", "report", "results"]


def __getattr__(name: str) -> Any:
    """The packages, imported when they are asked for: what needs no JAX does not wait for it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return importlib.import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    """The names."""
    return sorted(__all__)
