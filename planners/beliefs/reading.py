"""The action of a plan at any time: its steps are held, those of a smooth spline are points on it."""

from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from .protocol import Wrapping

_ROUNDING = 1e-4  # of a step: so little before one begins it has begun


@runtime_checkable
class Smooth(Protocol):
    """A belief over plans that may go smoothly from step to step."""

    @property
    def smooth(self) -> bool:
        """Whether they do; else each action is held until the next step."""
        ...


def is_smooth(belief: Any) -> bool:
    """Whether plans of a belief, or of the one inside of it, go smoothly from step to step."""
    while not isinstance(belief, Smooth):
        if not isinstance(belief, Wrapping):
            return False
        belief = belief.inner
    return belief.smooth


def read(plan: Num[Array, "H *a"], times: Any, belief: Any = None) -> Num[Array, "n *a"]:
    """The actions of a plan at some times; after its last step they are the last one.

    Args:
        plan: [H, A], or [H] of discrete actions.
        times: when, in steps since the plan begins, [n], >= 0.
        belief: that the plan is of: of a smooth one the actions lie between those of two steps; None for one whose
            steps are held.
    """
    at: Float[Array, " n"] = jnp.asarray(times, float)
    last = len(plan) - 1
    if not is_smooth(belief):
        return plan[jnp.clip(jnp.floor(at + _ROUNDING).astype(jnp.int32), 0, last)]
    below = jnp.clip(jnp.floor(at).astype(jnp.int32), 0, last)
    share = jnp.clip(at - below, 0.0, 1.0)[:, None]
    return (1.0 - share) * plan[below] + share * plan[jnp.minimum(below + 1, last)]
