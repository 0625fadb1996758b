"""What the rewards of Brax environments are made of."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float

_TERM = "reward_"
# By module, from Brax's sources: environments whose metrics, with these weights, sum to the reward. The weight of a
# metric that is not named is 1.
_WEIGHTS: dict[str, dict[str, float]] = {
    "brax.envs.ant": {},
    "brax.envs.half_cheetah": {},
    "brax.envs.hopper": {},
    "brax.envs.humanoid": {},
    "brax.envs.pusher": {"ctrl": 0.1, "near": 0.5},
    "brax.envs.reacher": {},
    "brax.envs.swimmer": {},
    "brax.envs.walker2d": {},
}


def terms_of(env: Any, after: Any) -> dict[str, Float[Array, ""]] | None:
    """The terms of the reward that a step of an environment gave.

    Args:
        env: a Brax environment.
        after: its state after the step, with the reward.

    Returns:
        Name -> scalar, which sum to the reward: metrics, and what they leave as "other"; None where there are no such
        metrics, or a wrapper of Brax repeats actions, of which metrics tell the last repetition only.
    """
    repeats, own = 1, True
    while "env" in vars(env):
        repeats *= vars(env).get("action_repeat", 1)
        own = own and type(env).__module__.startswith("brax.envs.wrappers.")
        env = env.env
    metrics = getattr(after, "metrics", None) or {}
    found = {name.removeprefix(_TERM): value for name, value in metrics.items() if name.startswith(_TERM)}
    if not found or repeats != 1:
        return None
    weights = _WEIGHTS.get(type(env).__module__) if own else None
    terms = {name: (weights or {}).get(name, 1.0) * jnp.asarray(v, float).reshape(()) for name, v in found.items()}
    if weights is None:
        rest = jnp.asarray(after.reward, float).reshape(()) - sum(terms.values())
        terms["other"] = terms.get("other", 0.0) + rest
    return terms
