"""Gaussian policies whose mean and standard deviation a network gives."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...dynamics.base import Model, State
from ...dynamics.checks import real
from ...dynamics.observations import observation as observation_of
from ...dynamics.perceptron import Perceptron, layer_sizes
from ...dynamics.pytrees import pytree, static, traceable
from ...dynamics.resting import Resting, RestingState
from ...dynamics.spaces import Discrete, action_space
from ...dynamics.timed import Timed, TimedState
from ..beliefs.locked import divisor, log_scale, where_free
from ..options import checked

_LOG_STD = (-10.0, 4.0)  # relative to the scale: beyond, exponentials do harm


@pytree
class NetworkPolicy:
    """π(a|s) = N(m, diag σ²), where a network gives m and log(σ/scale) for an observation; see `network_policy`.

    Attributes:
        params: of the network; None until it is bound.
        observe: state -> observation [n].
        scale: the standard deviation where the network's output is 0, scalar or [A]; actuators where it is 0 are no
            part of the density, and no gradient moves them.
        network: has `init(key, observation) -> params` and `apply(params, observation) -> [2 A]`, means before
            logarithms; None for a perceptron, which is made when it is bound.
        hidden: the sizes of the perceptron's hidden layers.
    """

    params: Any
    observe: Callable[..., Any]
    scale: Float[Array, "..."]
    network: Any = static()
    hidden: tuple[int, ...] = static()

    def init(self, model: Model, state: State) -> "NetworkPolicy":
        """The policy with its own parameters, or those with which its network begins, always the same.

        Args:
            model: whose actions it draws.
            state: a state of `model`.

        Returns:
            The policy.

        Raises:
            ValueError: if actions are discrete, or the network does not give two numbers per actuator.
        """
        space = action_space(model)
        if isinstance(space, Discrete):
            raise ValueError(f"a Gaussian policy needs continuous actions, got {space}")
        scale = real("std", self.scale, shape=space.shape)
        network = Perceptron(2 * space.size, self.hidden, zero_last=True) if self.network is None else self.network
        bound = dataclasses.replace(self, network=network, scale=scale)
        return bound._with_params(state)

    def _with_params(self, state: State) -> "NetworkPolicy":
        observation = self.observe(state)
        if jnp.ndim(observation) != 1 or not jnp.size(observation):
            raise ValueError(
                f"observe must make a vector [n] of at least one number of a state (unless it is given, of its "
                f"floating-point numbers), got shape {jnp.shape(observation)}"
            )
        params = self.network.init(jax.random.key(0), observation) if self.params is None else self.params
        policy = dataclasses.replace(self, params=params)
        try:
            said = jax.eval_shape(self.network.apply, params, observation)
        except Exception as error:
            raise ValueError(f"network must apply to its params and what is observed, [n]: {error}") from error
        shape = said.shape if isinstance(said, jax.ShapeDtypeStruct) else type(said).__name__
        if shape != (2 * len(self.scale),):
            raise ValueError(
                f"network must give one vector [2 A] = ({2 * len(self.scale)},), means before log stds, got {shape}"
            )
        return policy

    def mean(self, state: State) -> Float[Array, " A"]:
        """The mean action."""
        return self.moments(self.outputs(self.observe(state)))[0]

    def mode(self, state: State) -> Float[Array, " A"]:
        """What to do without noise: the mean action."""
        return self.mean(state)

    def sample(self, key: PRNGKeyArray, state: State) -> Float[Array, " A"]:
        """Draw an action, on the scale of plans."""
        outputs = self.outputs(self.observe(state))
        return self.drawn(outputs, jax.random.normal(key, (len(outputs) // 2,)))

    def log_prob(self, state: State, action: Float[Array, " A"]) -> Float[Array, ""]:
        """Log of the density of an action."""
        return self.log_density(self.outputs(self.observe(state)), action)

    def kl(self, other: "NetworkPolicy", state: State) -> Float[Array, ""]:
        """KL(self ‖ other) of actions in a state, nats."""
        return self.divergence(self.outputs(self.observe(state)), other.moments(other.outputs(other.observe(state))))

    def outputs(self, observation: Float[Array, " n"]) -> Float[Array, " outputs"]:
        """The output of the network for an observation."""
        if self.params is None:
            raise ValueError("policy must have parameters: make some with policy.init(model, state), got params=None")
        return jnp.asarray(self.network.apply(self.params, observation), float)

    def moments(self, outputs: Float[Array, "*k outputs"]) -> tuple[Float[Array, "*k A"], Float[Array, "*k A"]]:
        """Mean and standard deviation for outputs of the network."""
        mean, log_std = jnp.split(outputs, 2, -1)
        mean = where_free(self.scale, mean, jax.lax.stop_gradient(mean))
        return mean, self.scale * jnp.exp(jnp.clip(log_std, *_LOG_STD))

    def drawn(self, outputs: Float[Array, "*k outputs"], noise: Float[Array, "*k A"]) -> Float[Array, "*k A"]:
        """The actions that standard normal noise drives."""
        mean, std = self.moments(outputs)
        return mean + std * noise

    def log_density(self, outputs: Float[Array, "*k outputs"], actions: Float[Array, "*k A"]) -> Float[Array, "*k"]:
        """Log of the density of actions for outputs of the network."""
        mean, std = self.moments(outputs)
        z, units = (actions - mean) / divisor(std), (std != 0) * jnp.log(2.0 * jnp.pi)
        return -(0.5 * (z**2 + units) + log_scale(std)).sum(-1)

    def divergence(
        self, outputs: Float[Array, "*k outputs"], other: tuple[Float[Array, "*k A"], Float[Array, "*k A"]]
    ) -> Float[Array, "*k"]:
        """KL from a Gaussian of another mean and standard deviation, nats."""
        mean, std = self.moments(outputs)
        apart, ratio = (mean - other[0]) / divisor(other[1]), std / divisor(other[1])
        return (0.5 * (ratio**2 + apart**2 - (ratio != 0)) - log_scale(ratio)).sum(-1)


def network_policy(
    network: Any = None,
    params: Any = None,
    *,
    observe: Callable[..., Any] | None = None,
    std: Any = None,
    hidden: Any = (32, 32),
) -> NetworkPolicy:
    """Make a Gaussian policy of a network.

    Args:
        network: a module of flax.linen that makes one vector [2 A] of an observation [n], mean actions, of which
            [-1, 1] is the actuators' range, before logarithms of standard deviations; or anything hashable with
            `init(key, observation) -> params` and `apply(params, observation)`. None for a perceptron whose last
            layer begins at 0: at first all states get the mean 0 and the same `std`.
        params: of the network, such as `{"params": {...}}` of flax; None for those with which it begins, once
            `init(model, state)` of a planner, or of the policy, knows the shapes. What must not change, such as the
            statistics of a normaliser, belongs into `observe`.
        observe: state -> observation [n], a function of a module's or a pytree; None for `state.obs` where there is
            one, else the floating-point numbers of the state.
        std: by which the standard deviations of the network are multiplied, > 0, scalar or [A], or 0 for an actuator
            of several that is to do what the policy's mean does; None for 1, or
            0.5 of the perceptron.
        hidden: the sizes of the perceptron's hidden layers, with tanh.

    Returns:
        The policy, which `planners.smc` takes as its proposal, whose `log_prob` `planners.priors.policy_prior`
        takes, and which acts by itself once it has parameters (`planners.controller`).

    Raises:
        ValueError: for a parameter outside its range.
    """
    own = network is None
    if own and params is not None:
        raise ValueError("params need the network whose they are, got network=None")
    layers = layer_sizes(hidden)
    for method in () if own else ("init", "apply"):
        if isinstance(network, type) or not callable(getattr(network, method, None)):
            named = network.__name__ if isinstance(network, type) else type(network).__name__
            raise ValueError(f"network must be an instance that has init and apply, as of flax.linen, got {named}")
    try:
        hash(network)
    except TypeError as error:
        raise ValueError(
            f"network must be hashable: give its layers as a tuple, not as a list; got {error}"
        ) from error
    if observe is not None and not callable(observe):
        raise ValueError(f"observe must be a function of a state, got {observe!r}")
    scale = checked("std", (0.5 if own else 1.0) if std is None else std)
    return NetworkPolicy(params, traceable(observed if observe is None else observe), scale, network, layers)


def observed(state: State) -> Float[Array, " n"]:
    """The observation in a state, or its floating-point numbers; of what planners add to a state nothing.

    Args:
        state: of any model.

    Returns:
        The observation [n].
    """
    return observation_of(None, without_additions(state))


def without_additions(state: State, model: Any = None) -> State:
    """A state without what planners add to it: the number of steps, and how it began to come to rest.

    Args:
        state: in which a policy is asked.
        model: whose states it knows; what such a model has of its own stays. None for one that adds nothing.

    Returns:
        The state of the model.
    """
    own = {Timed: TimedState, Resting: RestingState}.get(type(model))
    while isinstance(state, TimedState | RestingState) and type(state) is not own:
        state = state.state
    return state
