"""Gradient ascent: differentiate, step, and go back where that was not possible."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ...dynamics.base import Model, State
from ...dynamics.spaces import ActionSpace
from ..differentiation import Equations
from ..info import Info, info_row
from .objective import Target
from .optimizers import Optimizer


class Climb(NamedTuple):
    """The objective at S parameters that are optimised side by side.

    Attributes:
        objective: of each, [S]; −∞ if that is no number.
        gradients: of the objective, like the parameters.
        valid: whose objective and gradients are numbers, [S].
        returns: of the plans that were tried, [K], reward units.
        num_invalid: how many of the plans had a return or a gradient that was NaN or infinite.
        elbo: an estimate of it, nats; None where no density is climbed.
        num_invalid_gradients: how many of them had a return all the same; None where gradients are made of returns.
        kl: of a policy from the given one, nats per step; None of plans.
        rounding: how much of the differences between returns may be rounding; None where they need not differ.
    """

    objective: Float[Array, " S"]
    gradients: Any
    valid: Bool[Array, " S"]
    returns: Float[Array, " K"]
    num_invalid: Int[Array, ""]
    elbo: Float[Array, ""] | None
    num_invalid_gradients: Int[Array, ""] | None = None
    kl: Float[Array, ""] | None = None
    rounding: Float[Array, ""] | None = None


@runtime_checkable
class Objective(Protocol):
    """What is climbed: the return of plans, the evidence bound of a belief, ..."""

    @property
    def target(self) -> Target:
        """R + λ log p of plans."""
        ...

    def aimed(self, target: Target) -> Any:
        """The same with another target."""
        ...

    @property
    def keeps_best(self) -> bool:
        """Whether each ends as the best that it has been, which takes an objective that is no estimate."""
        ...

    def check(self, belief: Any, space: ActionSpace) -> None:
        """Raise a `ValueError` if it does not fit the plans of a belief."""
        ...

    def prepared(self, model: Model, state: State, belief: Any) -> Any:
        """The same for a model and a belief, whose shapes and range of actions are known."""
        ...

    def parameters(self, key: Key[Array, ""], belief: Any) -> Any:
        """What is optimised, unconstrained: a pytree of arrays [S, ...]."""
        ...

    def climb(self, model: Model, noise: Key[Array, ""], key: Key[Array, ""], state: State, parameters: Any) -> Climb:
        """The objective at the parameters, and its gradients; `noise` is the model's, the same in all iterations."""
        ...

    def evaluate(self, model: Model, noise: Key[Array, ""], state: State, parameters: Any) -> Float[Array, " S"]:
        """The objective at the parameters, without gradients and without estimates; −∞ where it is no number."""
        ...

    def bounded(self, parameters: Any) -> Any:
        """The nearest parameters that are allowed."""
        ...

    def believe(self, belief: Any, parameters: Any, objective: Float[Array, " S"]) -> Any:
        """The belief that has these parameters."""
        ...


@runtime_checkable
class Implicit(Objective, Protocol):
    """What is climbed to where it has no slope, so that the optimum has derivatives."""

    def optimality(self, model: Model, noise: Key[Array, ""], state: State, parameters: Any) -> Equations:
        """What holds at parameters that have converged: the equations, with parameters and objective."""
        ...


@runtime_checkable
class Explicit(Objective, Protocol):
    """What is climbed by estimates, or only for a while: the result has no derivatives."""

    @property
    def refusal(self) -> str:
        """Which planner has none, and why."""
        ...


def ascend(
    climb: Callable[[Key[Array, ""], Any], Climb],
    evaluate: Callable[[Any], Float[Array, " S"]],
    parameters: Any,
    key: Key[Array, ""],
    *,
    optimizer: Optimizer,
    bounded: Callable[[Any], Any],
    keeps_best: bool,
    num_iterations: int,
    temperature: Float[Array, ""] | None,
    refuge: Any = None,
) -> tuple[Any, Float[Array, " S"], Info]:
    """Climb from S parameters at once, each for itself.

    Args:
        climb: (key, parameters) -> the objective there, and its gradients.
        evaluate: parameters -> the objective, [S]; −∞ where it is no number.
        parameters: a pytree of arrays [S, ...].
        key: of estimates.
        optimizer: how gradients become steps.
        bounded: parameters -> the nearest that are allowed.
        keeps_best: whether each ends as the best that it has been, which takes an objective that is no estimate.
        num_iterations: the number I of steps.
        temperature: to report.
        refuge: parameters towards which those go back whose objective never was a number; None where they stay.

    Returns:
        The parameters, the objective there, and what happened.

    Raises:
        ValueError: if the optimiser searches along a line where the objective is an estimate.
    """
    transformation = optimizer.transformation()

    def cost(parameters: Any) -> Float[Array, ""]:
        """Of one of them, for optimisers that search along a line."""
        if not keeps_best:
            raise ValueError("optimizer must not search along a line: the objective is not a function of one plan")
        return -evaluate(jax.tree.map(lambda leaf: leaf[None], parameters))[0]

    def step(parameters: Any, gradients: Any, memory: Any, objective: Array) -> tuple[Any, Any]:
        costs = jax.tree.map(jnp.negative, gradients)
        updates, memory = transformation.update(
            costs, memory, parameters, value=-objective, grad=costs, value_fn=cost
        )
        return jax.tree.map(lambda own, update: (own + update).astype(own.dtype), parameters, updates), memory

    def iterate(carry: tuple[Any, ...], key: Array) -> tuple[tuple[Any, ...], Info]:
        parameters, memory, best, greatest, best_return = carry
        climbed = climb(key, parameters)
        better = climbed.objective > greatest
        best, greatest = _choose(better, parameters, best), jnp.where(better, climbed.objective, greatest)
        moved, remembered = jax.vmap(step)(parameters, climbed.gradients, memory, climbed.objective)
        moved = bounded(moved)
        norms = jax.vmap(_norm)(climbed.gradients)
        sound = climbed.valid & jnp.isfinite(norms) & _finite(moved)  # the norm of a finite gradient may overflow
        finite = jnp.where(jnp.isfinite(climbed.returns), climbed.returns, -jnp.inf)
        best_return = jnp.maximum(best_return, finite.max())
        row = info_row(
            returns=climbed.returns,
            best_return=best_return,
            objective=climbed.objective.max(),
            gradient_norm=norms.max(),
            rounding=climbed.rounding,
            elbo=climbed.elbo,
            kl=climbed.kl,
            num_invalid=climbed.num_invalid,
            num_invalid_gradients=climbed.num_invalid_gradients,
            degenerate=~sound.any() | (norms == 0).all(),
            temperature=temperature,
        )
        # where the objective is no number, or has no slope, go half way back to where it was, without momentum
        back = jax.tree.map(lambda here, there: 0.5 * (here + there), parameters, best)
        remembered = _choose(sound, remembered, jax.vmap(transformation.init)(parameters))
        return (_choose(sound, moved, back), remembered, best, greatest, best_return), row

    unknown = jnp.full(len(jax.tree.leaves(parameters)[0]), -jnp.inf)
    best = parameters if refuge is None else refuge
    start = (parameters, jax.vmap(transformation.init)(parameters), best, unknown, jnp.full((), -jnp.inf))
    (parameters, _, best, greatest, _), info = jax.lax.scan(iterate, start, jax.random.split(key, num_iterations))
    last = evaluate(parameters)
    enough = last > (greatest if keeps_best else -jnp.inf)  # the objective may not be a number after the last step
    return _choose(enough, parameters, best), jnp.where(enough, last, greatest), info


def _norm(gradients: Any) -> Float[Array, ""]:
    return jnp.sqrt(jnp.stack([(leaf**2).sum() for leaf in jax.tree.leaves(gradients)]).sum())


def _choose(which: Bool[Array, " S"], new: Any, old: Any) -> Any:
    """Of each leaf [S, ...] the new rows where `which` is true."""

    def rows(new: Array, old: Array) -> Array:
        return jnp.where(which.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(rows, new, old)


def _finite(parameters: Any) -> Bool[Array, " S"]:
    """Of which of S parameters all leaves are finite."""
    finite = [jnp.isfinite(leaf).reshape(len(leaf), -1).all(1) for leaf in jax.tree.leaves(parameters)]
    return jnp.stack(finite).all(0)
