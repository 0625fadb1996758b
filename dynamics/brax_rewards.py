"""What the rewards of Brax environments are made of."""

from typing import Any

from jaxtyping import Array, Float

from .environments import metric_terms, within

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
    while (inner := within(env)) is not None:
        repeats *= vars(env).get("action_repeat", 1)
        own = own and type(env).__module__.startswith("brax.envs.wrappers.")
        env = inner
    weights = _WEIGHTS.get(type(env).__module__) if own else None
    return metric_terms(after, _TERM, weights or {}, whole=weights is not None) if repeats == 1 else None
