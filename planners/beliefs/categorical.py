"""Discrete actions: one of C at each step, independently."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...dynamics.checks import real
from ...dynamics.pytrees import pytree
from ...dynamics.spaces import ActionSpace, Discrete
from ..differentiation import undifferentiable
from .warm_start import Shifting

_REFUSAL = "planners of discrete actions have no derivatives: a probability that moves draws others by leaps"


@pytree
class Categorical:
    """q(a) = Π_t θ_t[a_t] over plans of integers, [H]. Make one with `categorical`.

    Attributes:
        log_probs: log θ, [H, C].
        smoothing: the share of a fit that is the uniform distribution, so that no action dies out, a scalar.
    """

    log_probs: Float[Array, "H C"]
    smoothing: Float[Array, ""]

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Int[Array, "K H"]:
        """Draw plans [K, H]."""
        return self.noise(key, num_samples)

    def noise(self, key: PRNGKeyArray, num_samples: int) -> Int[Array, "K H"]:
        """The plans themselves, [K, H]."""
        log_probs = undifferentiable(self.log_probs, _REFUSAL)
        return jax.random.categorical(key, log_probs, shape=(num_samples, len(log_probs))).astype(jnp.int32)

    def from_noise(self, noise: Int[Array, "K H"]) -> Int[Array, "K H"]:
        """The plans."""
        return noise

    def log_prob(self, plans: Int[Array, "K H"]) -> Float[Array, " K"]:
        """Log q of each plan."""
        return self.step_log_probs(plans).sum(-1)

    def step_log_probs(self, plans: Int[Array, "K H"]) -> Float[Array, "K H"]:
        """Log q(a_t) of each plan."""
        return jnp.take_along_axis(self.log_probs[None], plans[..., None], axis=-1)[..., 0]

    def fit(self, plans: Int[Array, "K H"], weights: Float[Array, " K"]) -> "Categorical":
        """The weighted frequencies θ_t[c] = Σ_k w_k 1[a_kt = c], which minimise the forward divergence, smoothed."""
        num_actions = self.log_probs.shape[1]
        chosen = jax.nn.one_hot(plans, num_actions)
        theta = jnp.einsum("k,khc->hc", weights, chosen, precision="highest")
        theta = (1.0 - self.smoothing) * theta + self.smoothing / num_actions
        return dataclasses.replace(self, log_probs=jnp.log(theta))

    def mode(self) -> Int[Array, " H"]:
        """The most probable action of each step."""
        return jnp.argmax(self.log_probs, axis=-1).astype(jnp.int32)

    def shift(self, initial: "Categorical", how: Shifting) -> "Categorical":
        """The probabilities later, those of new steps as the last of `initial`."""
        theta = jnp.maximum(how.distributions(jnp.exp(self.log_probs), jnp.exp(initial.log_probs[-1])), 1e-6)
        return dataclasses.replace(initial, log_probs=jnp.log(theta / theta.sum(-1, keepdims=True)))

    def entropy(self) -> Float[Array, ""]:
        """−E log q, nats."""
        return -(jnp.exp(self.log_probs) * self.log_probs).sum()

    def kl(self, other: "Categorical") -> Float[Array, ""]:
        """KL(self ‖ other), nats."""
        return (jnp.exp(self.log_probs) * (self.log_probs - other.log_probs)).sum()


@pytree
class CategoricalFamily:
    """Independent discrete actions without a shape. Make one with `categorical`.

    Attributes:
        smoothing: see `Categorical`.
    """

    smoothing: Float[Array, ""]

    def bind(self, horizon: int, space: ActionSpace) -> Categorical:
        """The uniform belief over plans of `horizon` steps."""
        number = num_actions("a categorical belief", space)
        return Categorical(jnp.full((horizon, number), -math.log(number), float), self.smoothing)


def categorical(*, smoothing: Any = 0.02) -> CategoricalFamily:
    """Make the family of independent discrete actions, uniform at first.

    Args:
        smoothing: the share of a fit that is the uniform distribution, in (0, 1).

    Returns:
        The family.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return CategoricalFamily(real("smoothing", smoothing, above=0.0, below=1.0))


def num_actions(family: str, space: ActionSpace) -> int:
    """The number of discrete actions, or a `ValueError` where they are continuous."""
    if not isinstance(space, Discrete):
        raise ValueError(f"{family} needs discrete actions (see dynamics.discretized), got {space}")
    return space.num
