"""Policies for discrete actions: a network gives the logarithms of their probabilities, or their values."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mirrax.dynamics.base import Model, State
from mirrax.dynamics.perceptron import Perceptron, layer_sizes
from mirrax.dynamics.pytrees import pytree, static
from mirrax.dynamics.spaces import Continuous, action_space
from mirrax.learning.policies.distributions import Choices
from mirrax.learning.policies.networks import (
    bound_observe,
    bound_params,
    check_observe,
    observed,
    outputs,
)


@pytree
class CategoricalPolicy:
    """π(a|s) ∝ p(a) exp(f(s, a)/temperature), f a network. Make one with `categorical`.

    Attributes:
        params: of the network; None until it is bound.
        observe: state -> observation [n]; None until it is bound.
        temperature: in the units of f, a scalar.
        log_prior: log p(a), scalar or [C].
        network: observation -> [C]; None until it is bound.
        hidden: the sizes of its hidden layers.
    """

    params: Any
    observe: Callable[..., Any] | None
    temperature: Float[Array, ""]
    log_prior: Float[Array, "..."]
    network: Perceptron | None = static()
    hidden: tuple[int, ...] = static()

    def init(self, model: Model, state: State, key: PRNGKeyArray | None = None) -> "CategoricalPolicy":
        """The policy for a model, with its own parameters or first ones: everywhere its prior.

        Args:
            model: whose actions it draws.
            state: a state of `model`.
            key: of first parameters; None for always the same.

        Returns:
            The policy.

        Raises:
            ValueError: if actions are continuous, or what is observed does not fit.
        """
        space = action_space(model)
        if isinstance(space, Continuous):
            raise ValueError(f"a categorical policy needs discrete actions, got {space}")
        network = Perceptron(space.num, self.hidden, zero_last=True)
        observe = bound_observe(self.observe, model)
        params = bound_params(network, self.params, observe, state, key)
        return dataclasses.replace(self, params=params, observe=observe, network=network)

    def distribution(self, seen: Float[Array, "*b n"]) -> Choices:
        """Of actions, for observations [*b, n]."""
        return Choices(self.log_prior + outputs(self.network, self.params, seen) / self.temperature)

    def sample(self, key: PRNGKeyArray, state: State) -> Int[Array, ""]:
        """Draw an action."""
        return self._of(state).sample(key)

    def log_prob(self, state: State, action: Int[Array, ""]) -> Float[Array, ""]:
        """Log of the probability of an action."""
        return self._of(state).log_prob(jnp.asarray(action))

    def mode(self, state: State) -> Int[Array, ""]:
        """The most probable action."""
        return jnp.argmax(self._of(state).logits).astype(jnp.int32)

    def probabilities(self, state: State) -> Float[Array, " C"]:
        """Of all actions."""
        return jnp.exp(self._of(state).log_probs)

    def q_values(
        self, params: Any, seen: Float[Array, "*b n"], key: PRNGKeyArray | None = None
    ) -> Float[Array, "*b C"]:
        """F of all actions, which is Q in soft Q-learning, whatever `key` is.

        Args:
            params: of the network.
            seen: observations, [*b, n].
            key: of nothing.
        """
        return outputs(self.network, params, seen)

    def value_of(self, params: Any, seen: Float[Array, "*b n"], raw: Int[Array, "*b"]) -> Float[Array, "*b"]:
        """F of one action in each state.

        Args:
            params: of the network.
            seen: observations, [*b, n].
            raw: actions, [*b].
        """
        return jnp.take_along_axis(outputs(self.network, params, seen), raw[..., None], -1)[..., 0]

    def _of(self, state: State) -> Choices:
        return self.distribution(observed(self.observe, state))


def categorical(*, observe: Callable[..., Any] | None = None, hidden: Any = (64, 64)) -> CategoricalPolicy:
    """Make a policy for discrete actions.

    Args:
        observe: state -> observation [n]; None for `state.obs` where there is one, else the coordinates of the state.
        hidden: the sizes of the hidden layers, with tanh; () for a linear map.

    Returns:
        The policy, without parameters: `init(model, state)` makes them.

    Raises:
        ValueError: for a parameter outside its range.
    """
    prior = jnp.zeros(())
    return CategoricalPolicy(None, check_observe(observe), jnp.ones(()), prior, None, layer_sizes(hidden))
