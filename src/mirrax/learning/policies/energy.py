"""Energy-based policies for vectors: π(a|s) ∝ exp(Q(s, a)/β) on the box [-1, 1]^A, Q a network."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax.dynamics.base import Model, State
from mirrax.dynamics.checks import integer, real
from mirrax.dynamics.perceptron import Perceptron, layer_sizes
from mirrax.dynamics.pytrees import pytree, static
from mirrax.dynamics.spaces import Discrete, action_space
from mirrax.learning.policies.gaussian import UnboundedPolicy
from mirrax.learning.policies.networks import bound_observe, bound_params, check_observe, observed, outputs

_ROUNDS, _ZOOM = 4, 0.25  # of the search for the mode


@pytree
class EnergyPolicy:
    """π(a|s) = exp((Q(s, a) − V(s))/β)/2^A on [-1, 1]^A, with V(s) = β log E exp(Q(s, a)/β), a uniform.

    The expectation is the mean over K points of a lattice. Make one with `energy_based`.

    Attributes:
        params: of the network; None until it is bound.
        observe: state -> observation [n]; None until it is bound.
        temperature: β, in the units of the network's output, a scalar.
        network: observation and action -> [1]; None until it is bound.
        hidden: the sizes of its hidden layers.
        num_samples: K.
        action_size: A; 0 until it is bound.
    """

    params: Any
    observe: Callable[..., Any] | None
    temperature: Float[Array, ""]
    network: Perceptron | None = static()
    hidden: tuple[int, ...] = static()
    num_samples: int = static()
    action_size: int = static()

    def init(self, model: Model, state: State, key: PRNGKeyArray | None = None) -> "EnergyPolicy":
        """The policy for a model, with its own parameters or first ones: everywhere uniform.

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
            raise ValueError(f"an energy-based policy needs continuous actions, got {space}")
        network = Perceptron(1, self.hidden, zero_last=True)
        observe = bound_observe(self.observe, model)
        params = bound_params(network, self.params, observe, state, key, besides=space.size)
        return dataclasses.replace(self, params=params, observe=observe, network=network, action_size=space.size)

    def distribution(self, seen: Float[Array, "*b n"]) -> "Tilted":
        """Of actions, for observations [*b, n]."""
        return Tilted(self, seen)

    def sample(self, key: PRNGKeyArray, state: State) -> Float[Array, " A"]:
        """Draw an action: one of K uniform ones, by its exp(Q/β)."""
        return self._of(state).sample(key)

    def log_prob(self, state: State, action: Float[Array, " A"]) -> Float[Array, ""]:
        """Log of the density of an action, −∞ beyond [-1, 1]."""
        inside = (jnp.abs(action) <= 1.0).all()
        return jnp.where(inside, self._of(state).log_prob(jnp.asarray(action, float)), -jnp.inf)

    def mode(self, state: State) -> Float[Array, " A"]:
        """The most probable action: the best of the lattice, then the best of finer ones around it."""
        seen = observed(self.observe, state)
        points, best = self._lattice(), jnp.zeros(self.action_size)
        for turn in range(_ROUNDS):
            around = jnp.concatenate([best[None], jnp.clip(best + _ZOOM**turn * points, -1.0, 1.0)])
            best = around[jnp.argmax(self.values(self.params, seen, around))]
        return best

    def unbounded(self, std_min: Any = 0.05) -> UnboundedPolicy:
        """The Gaussian policies nearest to it, without bounds; see `TanhGaussianPolicy.unbounded`.

        Args:
            std_min: the least standard deviation, > 0.

        Returns:
            The policy, for `planners.priors.policy_prior`, or the proposal of `planners.smc`.

        Raises:
            ValueError: if `std_min` is not positive.
        """
        return UnboundedPolicy(self, real("std_min", std_min, above=0.0))

    def values(self, params: Any, seen: Float[Array, "*b n"], actions: Float[Array, "*b K A"]) -> Float[Array, "..."]:
        """Q of several actions in each state, [*b, K].

        Args:
            params: of the network.
            seen: observations, [*b, n].
            actions: [*b, K, A].
        """
        seen = jnp.broadcast_to(seen[..., None, :], (*actions.shape[:-1], seen.shape[-1]))
        return outputs(self.network, params, jnp.concatenate([seen, actions], -1))[..., 0]

    def q_values(
        self, params: Any, seen: Float[Array, "*b n"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*b K"]:
        """Q of K actions that stand for all of the box; their `log_prior` is −log K.

        Args:
            params: of the network.
            seen: observations, [*b, n].
            key: of a shift of the lattice; None for always the same points.
        """
        return self.values(params, seen, self.points(seen.shape[:-1], key))

    @property
    def log_prior(self) -> Float[Array, ""]:
        """Log of the weight of each of K uniform actions."""
        return jnp.asarray(-math.log(self.num_samples))

    def value_of(self, params: Any, seen: Float[Array, "*b n"], raw: Float[Array, "*b A"]) -> Float[Array, "*b"]:
        """Q of one action in each state.

        Args:
            params: of the network.
            seen: observations, [*b, n].
            raw: actions, [*b, A].
        """
        return self.values(params, seen, raw[..., None, :])[..., 0]

    def points(self, batch: tuple[int, ...], key: PRNGKeyArray | None) -> Float[Array, "*b K A"]:
        """Actions that fill the box evenly, [*batch, K, A].

        Args:
            batch: the leading axes, of the states.
            key: of shifts, with which each point is uniform; None for always the same points.
        """
        points = self._lattice()
        if key is None:
            return jnp.broadcast_to(points, (*batch, *points.shape))
        shift = jax.random.uniform(key, (*batch, 1, self.action_size))
        return 2.0 * ((0.5 * (points + 1.0) + shift) % 1.0) - 1.0

    def _lattice(self) -> Float[Array, "K A"]:
        """A Kronecker sequence in [-1, 1]^A, of the root of x^(A+1) = x + 1 (Roberts, 2018); of one actuator even."""
        count, size = self.num_samples, self.action_size
        if size == 1:
            return jnp.linspace(-1.0, 1.0, count, endpoint=False)[:, None] + 1.0 / count
        root = max(np.roots([1.0, *[0.0] * (size - 1), -1.0, -1.0]).real)
        steps = root ** -np.arange(1.0, size + 1.0)
        return jnp.asarray(2.0 * ((0.5 + np.arange(1, count + 1)[:, None] * steps) % 1.0) - 1.0, float)

    def _of(self, state: State) -> "Tilted":
        return self.distribution(observed(self.observe, state))


@pytree
class Tilted:
    """The distribution of actions of an energy-based policy in some states; u is the action itself.

    Attributes:
        policy: whose.
        seen: observations, [*b, n].
    """

    policy: EnergyPolicy
    seen: Float[Array, "*b n"]

    def sample(self, key: PRNGKeyArray) -> Float[Array, "*b A"]:
        """Draw actions."""
        points_key, pick_key = jax.random.split(key)
        policy, points = self.policy, self.policy.points(self.seen.shape[:-1], points_key)
        logits = policy.values(policy.params, self.seen, points) / policy.temperature
        picked = jax.random.categorical(pick_key, logits)
        return jnp.take_along_axis(points, picked[..., None, None], -2)[..., 0, :]

    def action(self, raw: Float[Array, "*b A"]) -> Float[Array, "*b A"]:
        """The action itself."""
        return raw

    def log_prob(self, raw: Float[Array, "*b A"]) -> Float[Array, "*b"]:
        """Log of the density of actions."""
        policy = self.policy
        value = jax.nn.logsumexp(
            policy.log_prior + policy.q_values(policy.params, self.seen) / policy.temperature, -1
        )
        # log π = (Q − V)/β − A log 2
        advantage = policy.value_of(policy.params, self.seen, raw) / policy.temperature - value
        return advantage - policy.action_size * math.log(2.0)

    def moments(self) -> tuple[Float[Array, "*b A"], Float[Array, "*b A"]]:
        """Mean and standard deviation of actions, by the points of the lattice."""
        policy, points = self.policy, self.policy.points(self.seen.shape[:-1], None)
        shares = jax.nn.softmax(policy.values(policy.params, self.seen, points) / policy.temperature)[..., None]
        mean = (shares * points).sum(-2)
        return mean, jnp.sqrt((shares * (points - mean[..., None, :]) ** 2).sum(-2))


def energy_based(
    *, observe: Callable[..., Any] | None = None, num_samples: int = 32, hidden: Any = (64, 64)
) -> EnergyPolicy:
    """Make a policy π(a|s) ∝ exp(Q(s, a)/β) for vectors, of soft Q-learning (Haarnoja et al., 2017).

    Sums over uniform actions stand for integrals over the box, which is for few actuators: π is as fine as K actions
    tell, and in many dimensions none of K may be near the best.

    Args:
        observe: state -> observation [n]; None for `state.obs` where there is one, else the coordinates of the state.
        num_samples: K, of the actions of which one is drawn.
        hidden: the sizes of the hidden layers of Q, with tanh.

    Returns:
        The policy, without parameters: `init(model, state)` makes them.

    Raises:
        ValueError: for a parameter outside its range.
    """
    num_samples = integer("num_samples", num_samples, 2)
    return EnergyPolicy(None, check_observe(observe), jnp.ones(()), None, layer_sizes(hidden), num_samples, 0)
