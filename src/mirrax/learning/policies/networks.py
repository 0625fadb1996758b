"""What policies and values see of a state, and the networks that are bound to it."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax.dynamics.base import Model, State
from mirrax.dynamics.observations import observation
from mirrax.dynamics.perceptron import Perceptron
from mirrax.dynamics.pytrees import traceable
from mirrax.planners.policies.network import observed as observed_by_plans
from mirrax.planners.policies.network import without_additions

_FAR = 10.0  # standard deviations beyond which an observation says no more


class NormalizedParams(NamedTuple):
    """Parameters of a `Normalized` network.

    Attributes:
        mean: of observations, [n].
        std: their standard deviations, [n].
        network: parameters of the network of normalised observations.
    """

    mean: Float[Array, " n"]
    std: Float[Array, " n"]
    network: Any

    def normalize(self, seen: Float[Array, "*b n"]) -> Float[Array, "*b n"]:
        """Observations less their mean, in standard deviations, within ±10; mean and std get no gradient."""
        apart = (seen - jax.lax.stop_gradient(self.mean)) / jax.lax.stop_gradient(self.std)
        return jnp.clip(apart, -_FAR, _FAR)  # what was constant so far is not blown up


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Perceptrons of the same sizes that begin apart, whose outputs follow one another.

    Attributes:
        network: each of them.
        num_members: how many.
    """

    network: Perceptron
    num_members: int

    @property
    def output_size(self) -> int:
        """The number of outputs of all."""
        return self.num_members * self.network.output_size

    @property
    def hidden(self) -> tuple[int, ...]:
        """The sizes of the hidden layers of each."""
        return self.network.hidden

    def input_size(self, params: Any) -> int:
        """The number n of inputs that parameters are for."""
        return self.network.input_size(jax.tree.map(lambda leaf: leaf[0], params))

    def init(self, key: PRNGKeyArray, inputs: Float[Array, " n"]) -> Any:
        """First parameters, with a leading axis."""
        return jax.vmap(lambda key: self.network.init(key, inputs))(jax.random.split(key, self.num_members))

    def apply(self, params: Any, inputs: Float[Array, " n"]) -> Float[Array, " outputs"]:
        """Their outputs."""
        return jax.vmap(lambda own: self.network.apply(own, inputs))(params).ravel()


@dataclasses.dataclass(frozen=True)
class Normalized:
    """A network of normalised observations, whose parameters are `NormalizedParams`.

    Attributes:
        network: of the normalised observations.
    """

    network: Perceptron | Ensemble

    @property
    def output_size(self) -> int:
        """The number of outputs."""
        return self.network.output_size

    @property
    def hidden(self) -> tuple[int, ...]:
        """The sizes of the hidden layers."""
        return self.network.hidden

    def input_size(self, params: NormalizedParams) -> int:
        """The number n of inputs that parameters are for."""
        return self.network.input_size(params.network)

    def init(self, key: PRNGKeyArray, inputs: Float[Array, " n"]) -> NormalizedParams:
        """First parameters, of mean 0 and standard deviation 1."""
        return NormalizedParams(jnp.zeros_like(inputs), jnp.ones_like(inputs), self.network.init(key, inputs))

    def apply(self, params: NormalizedParams, inputs: Float[Array, " n"]) -> Float[Array, " outputs"]:
        """Its outputs."""
        return self.network.apply(params.network, params.normalize(inputs))


Network = Perceptron | Ensemble | Normalized


def check_observe(observe: Any) -> Callable[..., Any] | None:
    """Return a function of a state as a pytree, or None, or raise a `ValueError`."""
    if observe is not None and not callable(observe):
        raise ValueError(f"observe must be a function of a state, got {observe!r}")
    return None if observe is None else traceable(observe)


def bound_observe(observe: Callable[..., Any] | None, model: Model) -> Callable[..., Any]:
    """What is seen of a state of a model: by `observe`, or if that is None by `dynamics.observations.observation`.

    Args:
        observe: as given, or None.
        model: whose states they are.

    Returns:
        State -> observation [n], a pytree.
    """
    return jax.tree_util.Partial(_seen, model) if observe is None else observe


def observe_name(observe: Callable[..., Any]) -> str | None:
    """The name of a function of states; None for what is observed where none is given.

    Args:
        observe: of a policy, a value or a plan network that is bound.
    """
    function = observe.func if isinstance(observe, functools.partial) else observe
    if function in (_seen, observed_by_plans):
        return None
    return str(getattr(function, "__qualname__", type(function).__name__))


def observed_size(observe: Callable[..., Any], state: State) -> int:
    """How many numbers are observed of a state, or a `ValueError` where they are no vector.

    Args:
        observe: state -> observation [n].
        state: any.
    """
    seen = jax.eval_shape(observe, state)
    if not isinstance(seen, jax.ShapeDtypeStruct) or len(seen.shape) != 1 or not seen.size:
        shape = getattr(seen, "shape", type(seen).__name__)
        raise ValueError(
            f"observe must make a vector [n] of at least one number of a state (unless it is given, of its "
            f"observation or its floating-point numbers), got {shape}"
        )
    return int(seen.shape[0])


def bound_params(
    network: Network, params: Any, observe: Callable[..., Any], state: State, key: Any, besides: int = 0
) -> Any:
    """Parameters of a network of observations: those given, which must fit, or its first ones.

    Args:
        network: whose.
        params: those given, or None.
        observe: state -> observation [n].
        state: any.
        key: of first parameters; None for always the same.
        besides: how many other numbers the network takes after the observation.

    Returns:
        The parameters.

    Raises:
        ValueError: if what is observed is no vector, or the network does not take it with these parameters.
    """
    size = observed_size(observe, state)
    inputs = jnp.zeros(size + besides)
    if params is None:
        return network.init(jax.random.key(0) if key is None else key, inputs)
    try:
        own = network.input_size(params) - besides
        if own == size:
            jax.eval_shape(network.apply, params, inputs)
    except Exception as error:
        raise ValueError(f"params must be those of a network of {size} observed numbers: {error}") from error
    _check_size(own, size)
    return params


def _check_size(own: int, size: int) -> None:
    if own != size:
        raise ValueError(f"model must have {own} observed numbers, as that of this policy or value had, got {size}")


def outputs(network: Any, params: Any, seen: Float[Array, "*b n"]) -> Float[Array, "*b outputs"]:
    """What a network makes of observations.

    Args:
        network: whose.
        params: its parameters.
        seen: observations, [*b, n].

    Returns:
        Its outputs, [*b, ...].

    Raises:
        ValueError: if there are no parameters, or they are of another number of observations.
    """
    if params is None or network is None:
        raise ValueError("policy must have parameters: make some with policy.init(model, state), got params=None")
    _check_size(network.input_size(params), jnp.shape(seen)[-1])
    apply = jnp.vectorize(lambda row: jnp.asarray(network.apply(params, row), float), signature="(n)->(m)")
    return apply(jnp.asarray(seen, float))


def observed(observe: Callable[..., Any] | None, state: State) -> Float[Array, " n"]:
    """What a policy sees of a state, [n], or a `ValueError` if it is of no model yet."""
    if observe is None:
        raise ValueError("policy must be of a model: make it so with policy.init(model, state), got observe=None")
    return jnp.asarray(observe(state), float)


def _seen(model: Model, state: State) -> Float[Array, " n"]:
    """What is observed of a state; of what planners add to a state nothing."""
    return observation(model, without_additions(state, model))
