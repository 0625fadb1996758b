"""Values of states that networks give."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax.dynamics import discounted, with_value
from mirrax.dynamics.base import Model, State
from mirrax.dynamics.perceptron import Perceptron
from mirrax.dynamics.pytrees import pytree, static
from mirrax.learning.policies.networks import Ensemble, Network, Normalized, observed, outputs
from mirrax.learning.policies.objectives import huber

_LONGEST = 100.0  # steps that a unit of value stands for at most


def value_unit(discount: Any) -> Float[Array, ""]:
    """In what values are measured: rewards of 1 in all of the 1/(1 − γ) steps, at most 100, that count.

    Networks give values in this unit, so that their outputs are of the size of a reward.

    Args:
        discount: γ.
    """
    return 1.0 / jnp.maximum(1.0 - jnp.asarray(discount, float), 1.0 / _LONGEST)


@pytree
class AmortisedValue:
    """V(s) of a policy, by a network: the terminal value of a planner (`dynamics.with_value(model, value)`).

    Of an ensemble it is the mean: where planners look for states that a network overrates, few networks agree.

    Attributes:
        params: of the network.
        observe: state -> observation [n].
        discount: γ, that it was learnt with, a scalar.
        network: observation -> [members], in `unit`.
    """

    params: Any
    observe: Callable[..., Any]
    discount: Float[Array, ""]
    network: Network = static()

    @property
    def unit(self) -> Float[Array, ""]:
        """See `value_unit`, in units of reward."""
        return value_unit(self.discount)

    def __call__(self, state: State) -> Float[Array, ""]:
        """The value of a state, discounted, with the entropies of the policy if they were part of it."""
        return self.of(observed(self.observe, state))

    def of(self, seen: Float[Array, "*b n"]) -> Float[Array, "*b"]:
        """The values of observations."""
        return self.unit * outputs(self.network, self.params, seen).mean(-1)


@runtime_checkable
class Discounting(Protocol):
    """A value of states that knows its discount, as all do that are learnt here."""

    @property
    def discount(self) -> Float[Array, ""]:
        """γ."""
        ...

    def __call__(self, state: State) -> Float[Array, ""]:
        """The value of a state."""
        ...


def beyond(model: Model, value: Any) -> Model:
    """A model with a learnt value beyond the horizon: plans are worth Σ_{t<H} γ^t r_t + γ^H V(s_H).

    Args:
        model: any model.
        value: of `learn_value` or `learn_policy`, which knows its γ. Of values that do not, γ is the user's matter:
            `dynamics.discounted(dynamics.with_value(model, value), discount)`.

    Returns:
        The model with the value in place of its own, and with its own discount times γ.

    Raises:
        ValueError: for a value without a discount.
    """
    if isinstance(value, type) or not isinstance(value, Discounting):
        got = value.__name__ if isinstance(value, type) else type(value).__name__
        raise ValueError(f"value must have a discount, as those of learn_value and learn_policy have, got {got}")
    return discounted(with_value(model, value), value.discount)


class ValueFit(NamedTuple):
    """A value on its way.

    Attributes:
        value: as it is.
        optimizer_state: of Adam.
    """

    value: AmortisedValue
    optimizer_state: Any


def first_fit(
    key: PRNGKeyArray,
    observe: Callable[..., Any],
    size: int,
    hidden: tuple[int, ...],
    discount: Any,
    *,
    normalized: bool = False,
    num_members: int = 1,
) -> ValueFit:
    """A value before anything is learnt: 0.

    Args:
        key: of the first parameters.
        observe: state -> observation [n].
        size: n.
        hidden: the sizes of the hidden layers.
        discount: γ.
        normalized: whether the parameters hold mean and standard deviations of observations, at first 0 and 1.
        num_members: how many networks the value is the mean of.

    Returns:
        Where a fit begins.
    """
    perceptron = Perceptron(1, hidden, zero_last=True)
    several = Ensemble(perceptron, num_members) if num_members > 1 else perceptron
    network = Normalized(several) if normalized else several
    params = network.init(key, jnp.zeros(size))
    value = AmortisedValue(params, observe, jnp.asarray(discount, float), network)
    return ValueFit(value, optax.adam(1e-3).init(params))  # the rate is no part of its state


def fitted(
    fit: ValueFit, seen: Float[Array, "*b n"], targets: Float[Array, "*b"], rate: Any, num_steps: int
) -> tuple[ValueFit, Float[Array, ""]]:
    """The value some steps of regression nearer to targets.

    Args:
        fit: where it is.
        seen: observations, [*b, n].
        targets: their values, [*b].
        rate: of Adam.
        num_steps: of Adam, on all of them.

    Returns:
        Where it is then, and the mean loss of the steps, in squared units of `value_unit`.
    """
    value = fit.value

    def loss(params: Any) -> Float[Array, ""]:
        errors = outputs(value.network, params, seen) - targets[..., None] / value.unit
        return huber(errors).mean()

    def step(at: tuple[Any, Any], _: None) -> tuple[tuple[Any, Any], Array]:
        params, state = at
        now, gradient = jax.value_and_grad(loss)(params)
        updates, state = optax.adam(rate).update(gradient, state)
        return (optax.apply_updates(params, updates), state), now

    (params, state), losses = jax.lax.scan(step, (value.params, fit.optimizer_state), None, length=num_steps)
    return ValueFit(AmortisedValue(params, value.observe, value.discount, value.network), state), losses.mean()
