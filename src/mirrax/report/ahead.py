"""Where plans lead: the path of the tracked body under the plan that is executed, and under a fan of others."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num, PRNGKeyArray

from mirrax import planners
from mirrax.dynamics import Model
from mirrax.dynamics.figures import Figure

_SAMPLES = 12  # sampled plans of a fan at most, the weightiest
_FINE, _COARSE = 64, 16  # points of a path at most, so that what is kept of a step does not grow with the horizon


class Fan(NamedTuple):
    """Plans beside the one that is executed.

    Attributes:
        plans: the modes of a belief that has several, and sampled plans, [F, H, A].
        weights: how much each counts, the weightiest of either kind 1, [F].
    """

    plans: Num[Array, "F H *a"]
    weights: Float[Array, " F"]


def fan_of(modes: tuple[Any, Any] | None, info: planners.Info) -> Fan | None:
    """The plans to show beside the one that is executed.

    Args:
        modes: of the belief after planning, where it has several, [M, H, A], and their weights, [M]; else None.
        info: of planning; with `samples` and `weights` where the planner keeps them.

    Returns:
        The modes of a mixture, and the weightiest of the sampled plans; None where there are neither.
    """
    parts = [] if modes is None else [modes]
    if info.samples is not None and info.weights is not None:
        samples, weights = info.samples, info.weights[-1, : len(info.samples)]
        weights, chosen = jax.lax.top_k(weights, min(_SAMPLES, len(weights)))
        parts.append((samples[chosen], weights))
    if not parts:
        return None
    plans = jnp.concatenate([plans for plans, _ in parts])
    shares = [weights / jnp.maximum(weights.max(), jnp.finfo(weights.dtype).tiny) for _, weights in parts]
    return Fan(plans, jnp.concatenate(shares))


def paths_of(
    looks: Figure, model: Model, key: PRNGKeyArray, state: Any, plan: Any, fan: Fan | None
) -> dict[str, Float[Array, "..."]]:
    """The paths of the tracked body under plans, under the same noise.

    Args:
        looks: the model's figure.
        model: what to imagine with.
        key: of its noise.
        state: where plans start.
        plan: that is executed, [H, A].
        fan: of others; None for none.

    Returns:
        `path` of the plan, [P, 3], m, thinned out to 64 points; with a fan `fan`, [F, Q, 3], thinned out to 16, and
        `fan_weights`, [F].
    """

    def path(plan: Any) -> Float[Array, "H 3"]:
        return jax.vmap(looks.poses)(planners.trajectory(model, key, state, plan).states)[:, looks.tracked, :3]

    if fan is None:
        return {"path": _thinned(path(plan), _FINE)}
    paths = jax.vmap(path)(jnp.concatenate([plan[None], fan.plans]))  # one program, which compiles once
    others = jax.vmap(lambda path: _thinned(path, _COARSE))(paths[1:])
    return {"path": _thinned(paths[0], _FINE), "fan": others, "fan_weights": fan.weights}


def _thinned(path: Float[Array, "H 3"], most: int) -> Float[Array, "P 3"]:
    return path[np.unique(np.linspace(0, len(path) - 1, most).round().astype(int))]
