"""Which options go with which beliefs, by what these can do."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

from ...dynamics.spaces import ActionSpace, Discrete
from ..beliefs.protocol import Belief, HasMean, LearnsSpread, Multimodal, innermost
from ..beliefs.strategy import Strategy


def check_bound(belief: Any, horizon: int, space: ActionSpace) -> Any:
    """Return what a family has bound, or raise a `ValueError` unless it is a belief over plans of that shape."""
    missing = [name for name in vars(Belief) if not (name.startswith("_") or callable(getattr(belief, name, None)))]
    if missing:
        raise ValueError(
            f"belief must be a family that binds a planners.beliefs.Belief, which has {', '.join(missing)}, "
            f"got {type(belief).__name__} without"
        )
    shape, own = (horizon, *space.shape), belief.mode().shape
    if own != shape:
        raise ValueError(f"belief must be over plans of shape {shape}, got {own}")
    kind = jnp.integer if isinstance(space, Discrete) else jnp.floating
    if not jnp.issubdtype(belief.mode().dtype, kind):
        raise ValueError(
            f"belief must be over plans of {kind.__name__} numbers where the model has {space}, "
            f"got {type(belief).__name__} of {belief.mode().dtype}"
        )
    return belief


def check_execution(execute: str | None, belief: Any, space: ActionSpace) -> None:
    """Raise a `ValueError` unless a belief has what is to be executed."""
    inner = innermost(belief)
    kind = type(inner).__name__
    if execute == "mean" and (isinstance(space, Discrete) or not isinstance(inner, HasMean)):
        raise ValueError(f"execute='mean' needs a belief that has a mean, got {kind}")
    if execute is None and not isinstance(space, Discrete) and not isinstance(inner, HasMean):
        raise ValueError(f"execute=None executes the mean, and needs a belief that has one, got {kind}")
    if execute == "sample" and isinstance(inner, Strategy):
        raise ValueError(f"execute='sample' needs a belief to draw from, got {kind}")
    if execute == "component" and not isinstance(inner, Multimodal):
        raise ValueError(f"execute='component' needs a belief of several modes, got {kind}")


def check_bounds(bounds: str | None, space: ActionSpace) -> None:
    """Raise a `ValueError` if actions that have no range are to be kept within one."""
    if bounds is not None and isinstance(space, Discrete):
        raise ValueError(f"bounds must not be given where actions are discrete, got {bounds!r}")


def check_inflation(inflation: Float[Array, ""] | None, belief: Any) -> None:
    """Raise a `ValueError` if a spread is to be carried on that is not learnt."""
    inner = innermost(belief)
    if inflation is not None and not (isinstance(inner, LearnsSpread) and inner.learns_spread):
        raise ValueError(f"inflation needs a belief that learns its spread, got {type(inner).__name__}")
