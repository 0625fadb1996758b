"""MJX on NVIDIA's Warp, and MJX's chatter."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import jax
from jaxtyping import Array


def on_warp(sys: Any) -> bool:
    """Whether parameters, a `mujoco.mjx.Model`, are those of a simulation on Warp."""
    return str(getattr(sys.impl, "value", sys.impl)).lower() == "warp"


def without_derivatives(tree: Any) -> Any:
    """The same numbers, as they are; what follows derivatives through them is told that there are none.

    Raises:
        ValueError: where they are differentiated.
    """
    return jax.tree.map(_without_derivatives, tree)


@jax.custom_jvp
def _without_derivatives(leaf: Array) -> Array:
    return leaf


@_without_derivatives.defjvp
def _no_derivatives(primals: Any, tangents: Any) -> Any:
    raise ValueError(
        "impl must be 'jax' for a planner that follows derivatives, got 'warp', which has none: make the model with "
        "impl='jax', or take a planner that samples (mppi, cem, vi_mpc, ...)"
    )


@contextlib.contextmanager
def quiet_imports() -> Iterator[None]:
    """Import and use `mujoco.mjx` without its chatter about what is not installed, or is going to change."""
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said):
        warnings.filterwarnings("ignore", module=r"(jaxopt|mujoco)\b")
        yield
