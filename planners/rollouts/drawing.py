"""Plans that a policy draws, by acting in the model."""

import functools

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Int, Key

from ...dynamics.base import Model, State
from ...dynamics.spaces import action_space
from ..beliefs.protocol import Plans, Policy
from .blocks import sizes, spread
from .simulation import RolloutState, start_rollouts


def draw(
    model: Model,
    keys: Key[Array, "2"],
    state: State,
    policy: Policy,
    num_plans: int,
    horizon: int,
    *,
    first: int = 0,
    num_scenarios: int | None = None,
    common_noise: bool = True,
    chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> Plans:
    """Plans a_t ~ π(·|s_t), in the states that they lead to; after an end in the last state before.

    Of several scenarios the policy acts in the first. Given the noise a plan decides all its states, so that the
    density of what was drawn is Π_t π(a_t|s_t(a)) there: see `log_drawn` of `rollout.score`.

    Args:
        model: what to imagine with.
        keys: of the actions, and of the model's noise: the latter that with which the plans are rolled out.
        state: where all plans start.
        policy: π, a pytree.
        num_plans: K.
        horizon: the number H of steps.
        first: the number of the first plan among those that are rolled out, whose noise it meets.
        num_scenarios: see `rollout`.
        common_noise: see `rollout`.
        chunk_size: see `rollout`.
        sharding: see `rollout`.

    Returns:
        The plans, [K, H, A].

    Raises:
        ValueError: if the policy draws no action of the model.
    """
    num_scenarios, block_size = sizes(model, state, num_scenarios, chunk_size, sharding)
    draw_block = functools.partial(
        _draw, horizon=horizon, offset=first, num_scenarios=num_scenarios, common_noise=common_noise
    )
    return spread(draw_block, (model, keys, state, policy), jnp.arange(num_plans), block_size, sharding)


def _draw(
    parts: tuple[Model, Key[Array, "2"], State, Policy],
    numbers: Int[Array, " k"],
    first: Int[Array, ""],
    *,
    horizon: int,
    offset: int,
    num_scenarios: int,
    common_noise: bool,
) -> Plans:
    """The plans of these numbers, all at once; `first` is the number of the first of them."""
    model, keys, state, policy = parts
    space = action_space(model)
    rollouts = start_rollouts(
        model,
        keys[1],
        state,
        len(numbers),
        horizon,
        first + offset,
        num_scenarios=num_scenarios,
        common_noise=common_noise,
        freeze=True,
    )
    own = jax.vmap(lambda number: jax.random.split(jax.random.fold_in(keys[0], number), horizon), out_axes=1)(numbers)

    def body(at: RolloutState, now: tuple[Array, Array]) -> tuple[RolloutState, Array]:
        actions = jnp.asarray(jax.vmap(policy.sample)(now[1], rollouts.first(at.state)))
        if actions.shape[1:] != space.shape:
            raise ValueError(f"policy must draw an action of shape {space.shape}, got {actions.shape[1:]}")
        actions = actions.astype(space.zeros(1).dtype)
        after, _ = rollouts.advance(rollouts.models, now[0], at, actions)
        return after, actions

    _, actions = jax.lax.scan(body, rollouts.start, (rollouts.keys, jax.random.clone(own)))
    return jnp.moveaxis(actions, 0, 1)
