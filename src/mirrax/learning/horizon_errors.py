"""How far a learned model goes astray when it runs freely, and whether it knows."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax.dynamics.base import scenarios
from mirrax.dynamics.checks import integer
from mirrax.dynamics.learned import LearnedModel, Transitions


class HorizonErrors(NamedTuple):
    """Errors of open-loop predictions, in the units of observations.

    Attributes:
        error: root mean square of the errors of the mean of the particles after 1, 2, ... steps, [H, n].
        spread: root mean square of the particles' standard deviation, [H, n]; well calibrated is a spread as great as
            the error.
    """

    error: np.ndarray
    spread: np.ndarray


def horizon_errors(
    model: LearnedModel,
    trajectory: Transitions,
    key: PRNGKeyArray,
    *,
    horizon: int = 20,
    num_starts: int = 20,
) -> HorizonErrors:
    """Predict as planners do, from several states of an episode on, and compare with what happened.

    Args:
        model: fitted.
        trajectory: the steps of one episode, in their order.
        key: of the model's noise.
        horizon: the number H of steps.
        num_starts: from how many states, spread over the episode.

    Returns:
        The errors, and what the model expects them to be.

    Raises:
        ValueError: if the episode has fewer than `horizon` steps, or a number is not positive.
    """
    horizon, num_starts = integer("horizon", horizon), integer("num_starts", num_starts)
    if trajectory.size < horizon:
        raise ValueError(f"horizon must be at most the {trajectory.size} steps of the trajectory, got {horizon}")
    starts = np.unique(np.linspace(0, trajectory.size - horizon, num_starts).round().astype(int))
    if len(starts) < num_starts:  # the same program, whatever the length of the episode
        starts = np.resize(starts, num_starts)
    rows = starts[:, None] + np.arange(horizon)
    first, truth = trajectory.observations[starts], trajectory.next_observations[rows]
    return HorizonErrors(*map(np.asarray, _errors(model.fitted(), key, first, trajectory.actions[rows], truth)))


@jax.jit
def _errors(
    model: LearnedModel, key: Array, first: Float[Array, "S n"], actions: Array, truth: Float[Array, "S H n"]
) -> tuple[Array, Array]:
    model_key, noise_key = jax.random.split(key)
    particles = scenarios(model, model_key, model.num_particles)

    def predicted(first: Float[Array, " n"], actions: Array, key: Array) -> Float[Array, "M H n"]:
        def follow(particle: Any, key: Array) -> Float[Array, "H n"]:
            def step(state: Array, now: tuple[Array, Array]) -> tuple[Array, Array]:
                after = particle.step(now[0], state, now[1]).state
                return after, after

            return jax.lax.scan(step, jnp.asarray(first, float), (jax.random.split(key, len(actions)), actions))[1]

        return jax.vmap(follow)(particles, jax.random.split(key, model.num_particles))

    def compare(first: Array, actions: Array, truth: Array, key: Array) -> tuple[Array, Array]:
        found = predicted(first, actions, key)
        apart = jax.vmap(lambda one: jax.vmap(model.change)(truth, one))(found)  # angles by the shorter way round
        return apart.mean(0) ** 2, apart.var(0)

    squares = jax.vmap(compare)(first, actions, truth, jax.random.split(noise_key, len(first)))
    return jnp.sqrt(squares[0].mean(0)), jnp.sqrt(squares[1].mean(0))
