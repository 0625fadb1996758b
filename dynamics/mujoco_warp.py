"""MJX on NVIDIA's Warp, and MJX's chatter."""

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import jax
from jaxtyping import Array, Float


def on_warp(sys: Any) -> bool:
    """Whether parameters, a `mujoco.mjx.Model`, are those of a simulation on Warp."""
    return str(getattr(sys.impl, "value", sys.impl)).lower() == "warp"


@jax.custom_jvp
def without_derivatives(action: Float[Array, " A"]) -> Float[Array, " A"]:
    """An action, as it is; what follows derivatives through it is told that there are none.

    Raises:
        ValueError: if it is differentiated.
    """
    return action


@without_derivatives.defjvp
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
