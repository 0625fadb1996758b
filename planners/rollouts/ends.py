"""What follows the end of an episode: nothing is earned there, and states may stay as they were."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from ...dynamics.base import Model, State, Step, checked_step
from ...dynamics.randomness import is_key


def frozen_if(over: Bool[Array, ""], old: State, new: State) -> State:
    """The old state where an episode is over, else the new one."""
    return reuse_noise(jax.tree.map(lambda old, new: jnp.where(over, old, new), reuse_noise(old), new))


def reuse_noise(state: State) -> State:
    """The state, to be stepped once more with the same noise, in a way that `jax_debug_key_reuse` allows."""
    return jax.tree.map(lambda leaf: jax.random.clone(leaf) if is_key(leaf) else leaf, state)


def masked_step(model: Model, inputs: tuple[Array, Array], state: State, weight: Float[Array, ""]) -> Step:
    """Step the model; after an end reward and discount are 0, whatever it returns: 0 · NaN would be NaN."""
    return masked(checked_step(model.step(inputs[0], state, inputs[1]), state), weight)


def masked(step: Step, weight: Float[Array, ""]) -> Step:
    """A step whose reward and discount are 0 after an end."""
    reward, discount = (
        jnp.where(weight == 0, 0.0, jnp.asarray(x, weight.dtype)) for x in (step.reward, step.discount)
    )
    return Step(step.state, reward, discount)


def frozen_step(model: Model, inputs: tuple[Array, Array], state: State, weight: Float[Array, ""]) -> Step:
    """As `masked_step`; at an end the state stays the last one before it: beyond it there may be no derivatives."""
    step = masked_step(model, inputs, state, weight)
    return step._replace(state=frozen_if(weight * step.discount == 0, state, step.state))
