"""Policies for vectors: a normal distribution that a network gives, squashed into the actuators' range by tanh."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax.dynamics.base import Model, State
from mirrax.dynamics.checks import real
from mirrax.dynamics.perceptron import Perceptron, layer_sizes
from mirrax.dynamics.pytrees import pytree, static
from mirrax.dynamics.spaces import ActionSpace, Discrete, action_space
from mirrax.learning.policies.distributions import TanhNormal, unsquashed
from mirrax.learning.policies.networks import (
    Network,
    Normalized,
    NormalizedParams,
    bound_observe,
    bound_params,
    check_observe,
    observed,
    outputs,
)

_LOG_STD = (-6.0, 2.0)  # relative to the scale
_MEAN = 2.0  # of u at most, of an action of 0.96: far beyond, tanh swallows the noise, and nothing is explored


@pytree
class TanhGaussianPolicy:
    """π(a|s): a = tanh u, u ~ N(m, diag σ²); a network gives m, within ±2, and log(σ/scale).

    Make one with `tanh_gaussian`.

    Attributes:
        params: of the network; None until it is bound.
        observe: state -> observation [n]; None until it is bound.
        scale: the standard deviation of u where the network's output is 0, scalar or [A].
        network: observation -> [2 A]; None until it is bound.
        hidden: the sizes of its hidden layers.
    """

    params: Any
    observe: Callable[..., Any] | None
    scale: Float[Array, "..."]
    network: Network | None = static()
    hidden: tuple[int, ...] = static()

    def init(self, model: Model, state: State, key: PRNGKeyArray | None = None) -> "TanhGaussianPolicy":
        """The policy for a model, with its own parameters or first ones: everywhere the mean 0 and the same std.

        Args:
            model: whose actions it draws.
            state: a state of `model`.
            key: of first parameters; None for always the same.

        Returns:
            The policy.

        Raises:
            ValueError: if actions are discrete, or what is observed does not fit.
        """
        space = action_space(model)
        if isinstance(space, Discrete):
            raise ValueError(f"a Gaussian policy needs continuous actions, got {space}")
        scale = real("std", self.scale, above=0.0, shape=space.shape)
        outer = Perceptron(2 * space.size, self.hidden, zero_last=True)
        network = Normalized(outer) if isinstance(self.network, Normalized) else outer
        observe = bound_observe(self.observe, model)
        params = bound_params(network, self.params, observe, state, key)
        return dataclasses.replace(self, params=params, observe=observe, scale=scale, network=network)

    def distribution(self, seen: Float[Array, "*b n"]) -> TanhNormal:
        """Of actions, for observations [*b, n]."""
        mean, log_std = jnp.split(outputs(self.network, self.params, seen), 2, -1)
        return TanhNormal(_MEAN * jnp.tanh(mean / _MEAN), self.scale * jnp.exp(jnp.clip(log_std, *_LOG_STD)))

    def sample(self, key: PRNGKeyArray, state: State) -> Float[Array, " A"]:
        """Draw an action, in [-1, 1]."""
        return jnp.tanh(self._of(state).sample(key))

    def log_prob(self, state: State, action: Float[Array, " A"]) -> Float[Array, ""]:
        """Log of the density of an action, −∞ beyond [-1, 1]."""
        inside = (jnp.abs(action) <= 1.0).all()
        return jnp.where(inside, self._of(state).log_prob(unsquashed(jnp.asarray(action, float))), -jnp.inf)

    def mean(self, state: State) -> Float[Array, " A"]:
        """The mean action, E tanh u."""
        return self._of(state).moments()[0]

    def mode(self, state: State) -> Float[Array, " A"]:
        """The median action, tanh m: what to do without noise."""
        return jnp.tanh(self._of(state).mean)

    def unbounded(self, std_min: Any = 0.05) -> "UnboundedPolicy":
        """The Gaussian policies nearest to it, argmin KL(π ‖ N), without bounds: a prior of planners.

        Planners draw plans without bounds, of which a model clips what lies beyond [-1, 1]; there this policy has no
        density, and as their prior would forbid most plans.

        Args:
            std_min: the least standard deviation, > 0: an over-confident prior vetoes good plans.

        Returns:
            The policy, for `planners.priors.policy_prior`, or the proposal of `planners.smc`.

        Raises:
            ValueError: if `std_min` is not positive.
        """
        return UnboundedPolicy(self, real("std_min", std_min, above=0.0))

    def _of(self, state: State) -> TanhNormal:
        return self.distribution(observed(self.observe, state))


@pytree
class UnboundedPolicy:
    """N(m, diag s²) with the moments of a policy within [-1, 1]; see `TanhGaussianPolicy.unbounded`.

    Attributes:
        policy: whose moments; one of `tanh_gaussian` or `energy_based`.
        std_min: the least standard deviation, a scalar.
    """

    policy: Any
    std_min: Float[Array, ""]

    def moments(self, state: State) -> tuple[Float[Array, " A"], Float[Array, " A"]]:
        """Mean and standard deviation of an action."""
        mean, std = self.policy._of(state).moments()
        return mean, jnp.maximum(std, self.std_min)

    def mean(self, state: State) -> Float[Array, " A"]:
        """The mean action."""
        return self.moments(state)[0]

    def mode(self, state: State) -> Float[Array, " A"]:
        """The same: what to do without noise."""
        return self.mean(state)

    def sample(self, key: PRNGKeyArray, state: State) -> Float[Array, " A"]:
        """Draw an action, on the scale of plans."""
        mean, std = self.moments(state)
        return mean + std * jax.random.normal(key, mean.shape)

    def log_prob(self, state: State, action: Float[Array, " A"]) -> Float[Array, ""]:
        """Log of the density of an action."""
        mean, std = self.moments(state)
        return -(0.5 * ((action - mean) / std) ** 2 + jnp.log(std) + 0.5 * math.log(2.0 * math.pi)).sum()


def tanh_gaussian(
    *, observe: Callable[..., Any] | None = None, std: Any = 0.8, hidden: Any = (64, 64)
) -> TanhGaussianPolicy:
    """Make a Gaussian policy that is squashed into the actuators' range (Haarnoja et al., 2018, appendix C).

    Args:
        observe: state -> observation [n]; None for `state.obs` where there is one, else the coordinates of the state.
        std: at first, of actions before they are squashed, > 0, scalar or [A].
        hidden: the sizes of the hidden layers, with tanh; () for a linear map.

    Returns:
        The policy, without parameters: `init(model, state)` makes them.

    Raises:
        ValueError: for a parameter outside its range.
    """
    scale = real("std", std, above=0.0, shape=None)
    return TanhGaussianPolicy(None, check_observe(observe), scale, None, layer_sizes(hidden))


def check_gaussian(name: str, space: ActionSpace, observe: Any) -> TanhGaussianPolicy:
    """Return a policy with the defaults, or raise a `ValueError` unless actions are continuous.

    Args:
        name: of what needs them.
        space: of actions.
        observe: as of `tanh_gaussian`.
    """
    if isinstance(space, Discrete):
        raise ValueError(f"{name} needs continuous actions, got {space}")
    return tanh_gaussian(observe=observe)


def normalized(policy: TanhGaussianPolicy, size: int) -> TanhGaussianPolicy:
    """The same policy, whose network normalises what it observes: at first by mean 0 and standard deviation 1.

    Args:
        policy: with parameters.
        size: of an observation, n.
    """
    network = policy.network
    if network is None or isinstance(network, Normalized):
        return policy
    params = NormalizedParams(jnp.zeros(size), jnp.ones(size), policy.params)
    return dataclasses.replace(policy, network=Normalized(network), params=params)
