"""What policies and values see of a state, and the networks that are bound to it."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from mirrax.dynamics.base import Model, State
from mirrax.dynamics.observations import observation
from mirrax.dynamics.perceptron import Perceptron
from mirrax.dynamics.pytrees import traceable
from mirrax.planners.policies.network import observed as observed_by_plans
from mirrax.planners.policies.network import without_additions


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


def bound_params(network: Perceptron, params: Any, observe: Callable[..., Any], state: State, key: Any) -> Any:
    """Parameters of a network of observations: those given, which must fit, or its first ones.

    Args:
        network: whose.
        params: those given, or None.
        observe: state -> observation [n].
        state: any.
        key: of first parameters; None for always the same.

    Returns:
        The parameters.

    Raises:
        ValueError: if what is observed is no vector, or the network does not take it with these parameters.
    """
    seen = jax.eval_shape(observe, state)
    if not isinstance(seen, jax.ShapeDtypeStruct) or len(seen.shape) != 1 or not seen.size:
        shape = getattr(seen, "shape", type(seen).__name__)
        raise ValueError(
            f"observe must make a vector [n] of at least one number of a state (unless it is given, of its "
            f"observation or its floating-point numbers), got {shape}"
        )
    if params is None:
        return network.init(jax.random.key(0) if key is None else key, jnp.zeros(seen.shape))
    try:
        jax.eval_shape(network.apply, params, jnp.zeros(seen.shape))
    except Exception as error:
        raise ValueError(f"params must be those of a network of {seen.shape[0]} observed numbers: {error}") from error
    return params


def outputs(network: Any, params: Any, seen: Float[Array, "*b n"]) -> Float[Array, "*b outputs"]:
    """What a network makes of observations.

    Args:
        network: whose.
        params: its parameters.
        seen: observations, [*b, n].

    Returns:
        Its outputs, [*b, ...].

    Raises:
        ValueError: if there are no parameters.
    """
    if params is None or network is None:
        raise ValueError("policy must have parameters: make some with policy.init(model, state), got params=None")
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
