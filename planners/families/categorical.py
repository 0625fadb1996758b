"""Discrete actions: one of C at each step, independently."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...dynamics.base import integer, pytree, real
from ..base import Plan, Plans
from ..differentiation import undifferentiable
from ..warm_start import Shifting

_REFUSAL = "vi_mpc and smc of discrete actions have no derivatives: a probability that moves draws others by leaps"


@pytree
class Categorical:
    """q(a) = Π_t θ_t[c_t], where the plan takes action c_t of a list. Make one with `categorical`.

    Attributes:
        actions: the list, [C, A].
        log_probs: log θ, [H, C].
        smoothing: the share of a fit that is the uniform distribution, so that no action dies out, a scalar.
    """

    actions: Float[Array, "C A"]
    log_probs: Float[Array, "H C"]
    smoothing: Float[Array, ""]

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A] whose actions are on the list."""
        return self.from_noise(self.noise(key, num_samples))

    def noise(self, key: PRNGKeyArray, num_samples: int) -> Int[Array, "K H"]:
        """Choices from the list."""
        log_probs = undifferentiable(self.log_probs, _REFUSAL)
        return jax.random.categorical(key, log_probs, shape=(num_samples, len(log_probs)))

    def from_noise(self, noise: Int[Array, "K H"]) -> Plans:
        """The plans that consist of these choices."""
        return self.actions[noise]

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q of each plan, whose actions are taken for the nearest ones on the list."""
        return self.step_log_probs(plans).sum(-1)

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """Log q(a_t) of each plan."""
        choices = nearest(self.actions, plans)
        return jnp.take_along_axis(self.log_probs[None], choices[..., None], axis=-1)[..., 0]

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "Categorical":
        """The weighted frequencies θ_t[c] = Σ_k w_k 1[a_kt = c], which minimise the forward divergence, smoothed."""
        chosen = jax.nn.one_hot(nearest(self.actions, plans), len(self.actions))
        theta = jnp.einsum("k,khc->hc", weights, chosen, precision="highest")
        theta = (1.0 - self.smoothing) * theta + self.smoothing / len(self.actions)
        return dataclasses.replace(self, log_probs=jnp.log(theta))

    def mode(self) -> Plan:
        """The most probable action of each step."""
        return self.actions[jnp.argmax(self.log_probs, axis=-1)]

    def shift(self, initial: "Categorical", how: Shifting) -> "Categorical":
        """The probabilities one step later, the last of them as in `initial`."""
        theta = jnp.maximum(how.distributions(jnp.exp(self.log_probs), jnp.exp(initial.log_probs[-1])), 1e-6)
        return dataclasses.replace(initial, log_probs=jnp.log(theta / theta.sum(-1, keepdims=True)))

    def entropy(self) -> Float[Array, ""]:
        """−E log q, nats."""
        return -(jnp.exp(self.log_probs) * self.log_probs).sum()

    def kl(self, other: "Categorical") -> Float[Array, ""]:
        """KL(self ‖ other), nats."""
        return (jnp.exp(self.log_probs) * (self.log_probs - other.log_probs)).sum()


def categorical(horizon: int, actions: Any, *, smoothing: Any = 0.02) -> Categorical:
    """Make a belief over plans of discrete actions, uniform at first.

    Args:
        horizon: the number H of steps.
        actions: the list to choose from, [C, A]; 1 is the end of the actuators' range.
        smoothing: the share of a fit that is the uniform distribution, in (0, 1).

    Returns:
        The belief.

    Raises:
        ValueError: for a parameter outside its range or of another shape.
    """
    table = action_table(actions)
    return Categorical(
        actions=table,
        log_probs=jnp.full((integer("horizon", horizon), len(table)), -math.log(len(table)), float),
        smoothing=real("smoothing", smoothing, above=0.0, below=1.0),
    )


def action_table(actions: Any) -> Float[Array, "C A"]:
    """Return a list of actions as an array [C, A], or raise a `ValueError` unless it has two or more."""
    table = real("actions", actions, shape=None)
    if table.ndim != 2 or len(table) < 2:
        raise ValueError(f"actions must have shape [C, A] with C >= 2, one action per row, got {table.shape}")
    return table


def nearest(actions: Float[Array, "C A"], plans: Plans) -> Int[Array, "K H"]:
    """The number on the list of the action that is nearest to each of the plans'."""
    return jnp.argmin(((plans[..., None, :] - actions) ** 2).sum(-1), axis=-1)
