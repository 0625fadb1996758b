"""The loop of gradients: differentiate, step, and go back where that was not possible."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ..dynamics.base import Model, State, pytree, static
from .base import Plans, check_belief, fresh
from .differentiation import Equations, constant, implicit, undifferentiable
from .optimizers import Optimizer
from .warm_start import Shift


class Climb(NamedTuple):
    """What an objective says of S parameters that are optimised side by side.

    Attributes:
        worth: of each, [S]; −∞ if that is no number.
        gradients: of the worth, like the parameters.
        valid: whose worth and gradients are numbers, [S].
        returns: of the plans that were tried, [K], reward units.
        num_invalid: how many of the plans had a return or a gradient that was NaN or infinite.
        elbo: an estimate of it, nats; None where there is none.
        kl: of a policy from the one that it must not leave, nats per step; None where there is none.
    """

    worth: Float[Array, " S"]
    gradients: Any
    valid: Bool[Array, " S"]
    returns: Float[Array, " K"]
    num_invalid: Int[Array, ""]
    elbo: Float[Array, ""] | None
    kl: Float[Array, ""] | None = None


@runtime_checkable
class Objective(Protocol):
    """What is climbed: the return of plans, the evidence bound of a belief, ...

    Where that is no estimate it also has `worth(model, noise, state, parameters) -> [S]`, without gradients.
    """

    @property
    def keeps_best(self) -> bool:
        """Whether each ends as the best that it has been, which takes a worth that is no estimate."""
        ...

    def parameters(self, key: Key[Array, ""], belief: Any) -> Any:
        """What is optimised, unconstrained: a pytree of arrays [S, ...]."""
        ...

    def climb(self, model: Model, noise: Key[Array, ""], key: Key[Array, ""], state: State, parameters: Any) -> Climb:
        """What the parameters are worth, and where that rises; `noise` is the model's, the same in all iterations."""
        ...

    def bounded(self, parameters: Any) -> Any:
        """The nearest parameters that are allowed."""
        ...

    def believe(self, belief: Any, parameters: Any, worth: Float[Array, " S"]) -> Any:
        """The belief that has these parameters."""
        ...


@runtime_checkable
class Implicit(Objective, Protocol):
    """What is climbed to where it has no slope, so that what is found there has derivatives."""

    def in_range(self, model: Model, state: State) -> "Implicit":
        """The same where it is known what range the model's actions have."""
        ...

    def optimality(self, model: Model, noise: Key[Array, ""], state: State, parameters: Any) -> Equations:
        """What holds at parameters that have converged; it tells of them, and what they are worth."""
        ...


@runtime_checkable
class Explicit(Objective, Protocol):
    """What is climbed by estimates, or but for a while: what is found has no derivatives."""

    @property
    def refusal(self) -> str:
        """Which planner has none, and why."""
        ...


@pytree
class AscentInfo:
    """What happened in a gradient ascent; one row per iteration.

    Attributes:
        returns: of the plans tried, [..., K], reward units.
        worth: of the parameters before each step, [..., S], in reward units; −∞ if that was no number.
        gradient_norm: of each of these, before it was shortened, [..., S]; 0 where it was no number.
        elbo: an estimate, nats; None where no density is climbed.
        kl: of the policy before the step from the given one, nats per step; None where there is no policy.
        num_invalid: how many plans had a return or a gradient that was NaN or infinite.
        degenerate: whether none of the parameters could take a step.
        temperature: in reward units, or None.
    """

    returns: Float[Array, "... K"]
    worth: Float[Array, "... S"]
    gradient_norm: Float[Array, "... S"]
    elbo: Float[Array, "..."] | None
    kl: Float[Array, "..."] | None
    num_invalid: Int[Array, "..."]
    degenerate: Bool[Array, "..."]
    temperature: Float[Array, "..."] | None


def ascend(
    climb: Callable[[Key[Array, ""], Any], Climb],
    worth: Callable[[Any], Float[Array, " S"]] | None,
    parameters: Any,
    key: Key[Array, ""],
    *,
    optimizer: Optimizer,
    bounded: Callable[[Any], Any],
    keeps_best: bool,
    num_iterations: int,
    temperature: Float[Array, ""] | None,
    refuge: Any = None,
) -> tuple[Any, Float[Array, " S"], AscentInfo]:
    """Climb from S parameters at once, each for itself.

    Args:
        climb: (key, parameters) -> what they are worth, and where that rises.
        worth: parameters -> what they are worth, [S], if that is no estimate, or −∞ where they have no worth.
        parameters: a pytree of arrays [S, ...].
        key: of estimates.
        optimizer: how gradients become steps.
        bounded: parameters -> the nearest that are allowed.
        keeps_best: whether each ends as the best that it has been, which takes a worth that is no estimate.
        num_iterations: the number I of steps.
        temperature: to tell of.
        refuge: parameters towards which those go back that never had any worth; None where they stay.

    Returns:
        The parameters, what they are worth, and what happened.

    Raises:
        ValueError: if the optimiser searches along a line where worth is an estimate.
    """
    transformation = optimizer.transformation()

    def cost(parameters: Any) -> Float[Array, ""]:
        """Of one of them, for optimisers that search along a line."""
        if worth is None or not keeps_best:
            raise ValueError("optimizer must not search along a line: what is climbed is no function of one")
        return -worth(jax.tree.map(lambda leaf: leaf[None], parameters))[0]

    def step(parameters: Any, gradients: Any, memory: Any, worth: Array) -> tuple[Any, Any]:
        costs = jax.tree.map(jnp.negative, gradients)
        updates, memory = transformation.update(costs, memory, parameters, value=-worth, grad=costs, value_fn=cost)
        return jax.tree.map(lambda own, update: (own + update).astype(own.dtype), parameters, updates), memory

    def iterate(carry: tuple[Any, ...], key: Array) -> tuple[tuple[Any, ...], AscentInfo]:
        parameters, memory, best, greatest = carry
        climbed = climb(key, parameters)
        better = climbed.worth > greatest
        best, greatest = _choose(better, parameters, best), jnp.where(better, climbed.worth, greatest)
        moved, remembered = jax.vmap(step)(parameters, climbed.gradients, memory, climbed.worth)
        moved = bounded(moved)
        norms = jax.vmap(_norm)(climbed.gradients)
        sound = climbed.valid & jnp.isfinite(norms) & _finite(moved)  # the norm of a finite gradient may overflow
        row = AscentInfo(
            returns=climbed.returns,
            worth=climbed.worth,
            gradient_norm=norms,
            elbo=climbed.elbo,
            kl=climbed.kl,
            num_invalid=climbed.num_invalid,
            degenerate=~sound.any(),
            temperature=temperature,
        )
        # what has no worth, or no slope, goes half way back to where it had worth, without momentum
        back = jax.tree.map(lambda here, there: 0.5 * (here + there), parameters, best)
        remembered = _choose(sound, remembered, jax.vmap(transformation.init)(parameters))
        return (_choose(sound, moved, back), remembered, best, greatest), row

    unknown = jnp.full(len(jax.tree.leaves(parameters)[0]), -jnp.inf)
    best = parameters if refuge is None else refuge
    carry = (parameters, jax.vmap(transformation.init)(parameters), best, unknown)
    (parameters, _, best, greatest), info = jax.lax.scan(iterate, carry, jax.random.split(key, num_iterations))
    if worth is None:
        return parameters, greatest, info
    last = worth(parameters)
    enough = last > (greatest if keeps_best else -jnp.inf)  # the last step may have led where there is none
    return _choose(enough, parameters, best), jnp.where(enough, last, greatest), info


@pytree
class GradientPlanner:
    """A planner that follows gradients. Which one, its components decide; make one with a factory.

    Attributes:
        belief: where inference starts, and what a warm start falls back on.
        objective: what is climbed.
        optimizer: how gradients become steps.
        temperature: of the objective, in reward units, or None.
        warm_start: how beliefs move on by a time step; None to forget them.
        num_iterations: the number I of steps.
        execute: "mode", "mean" or "sample".
    """

    belief: Any
    objective: Implicit | Explicit
    optimizer: Optimizer
    temperature: Float[Array, ""] | None
    warm_start: Shift | None
    num_iterations: int = static()
    execute: str = static()

    @property
    def sharding(self) -> Any:
        """How plans are spread over devices; None for one device."""
        return getattr(getattr(self.objective, "target", None), "sharding", None)

    @property
    def plan_shape(self) -> tuple[int, ...]:
        """[H, A]."""
        return self.belief.mode().shape

    @property
    def num_starts(self) -> int:
        """From how many plans it goes on: as many as it moves."""
        return len(self.belief.plans) if hasattr(self.belief, "plans") else 1

    def resume(self, model: Model, state: State, plans: Plans) -> Any:
        """The belief from which it goes on from so many plans."""
        if hasattr(self.belief, "plans"):
            still = jnp.zeros_like(self.belief.spread)
            return dataclasses.replace(self.belief, plans=plans, spread=still)
        return dataclasses.replace(self.belief, mean=plans[0])

    def start(self, model: Model, state: State) -> Any:
        """The initial belief, `belief`, whatever the model."""
        return fresh(self.belief)

    def improve(self, model: Model, key: Key[Array, ""], state: State, belief: Any) -> tuple[Any, AscentInfo]:
        """Take so many steps from `belief`.

        Plans of `planners.gradient`, and what they are worth, have the derivatives of converged plans, with respect
        to all that model, state and planner are made of; other beliefs have none, which is an error.

        Raises:
            ValueError: if `belief` is not of the family and shape of `self.belief`, the model has no gradients, or
                what has no derivatives is differentiated.
        """
        check_belief(self.belief, belief)
        start_key, noise, climb_key = jax.random.split(key, 3)
        objective = self.objective
        if isinstance(objective, Implicit):
            objective = objective.in_range(model, state)
            planner, *parts = constant((dataclasses.replace(self, objective=objective), model, state, belief))
            parameters, worth, info = constant(planner._ascend(start_key, noise, climb_key, *parts, held=constant))
            parameters, worth = implicit(
                parameters,
                (parameters, worth),
                lambda x: objective.optimality(model, jax.random.clone(noise), state, x),
            )
        else:
            held = functools.partial(undifferentiable, reason=objective.refusal)
            planner, *parts = held((self, model, state, belief))
            parameters, worth, info = planner._ascend(start_key, noise, climb_key, *parts, held=held)
        found = objective.believe(belief, parameters, worth)
        # where nothing could be learnt, all stays as it was
        told = ~info.degenerate.all()
        return jax.tree.map(lambda new, old: jnp.where(told, new, old), found, belief), info

    def _ascend(
        self,
        start_key: Key[Array, ""],
        noise: Key[Array, ""],
        climb_key: Key[Array, ""],
        model: Model,
        state: State,
        belief: Any,
        *,
        held: Callable[[Any], Any],
    ) -> tuple[Any, Array, AscentInfo]:
        """Take the steps; what the objective says, `held` keeps derivatives from."""
        objective = self.objective
        worth = getattr(objective, "worth", None)
        again = jax.random.clone  # the same noise in all iterations, on purpose
        return ascend(
            lambda key, parameters: held(objective.climb(model, again(noise), key, state, parameters)),
            None if worth is None else lambda parameters: held(worth(model, again(noise), state, parameters)),
            objective.bounded(objective.parameters(start_key, belief)),
            climb_key,
            optimizer=self.optimizer,
            bounded=objective.bounded,
            keeps_best=objective.keeps_best,
            num_iterations=self.num_iterations,
            temperature=self.temperature,
        )

    def act(self, key: Key[Array, ""], belief: Any) -> Float[Array, " A"]:
        """The first action of the belief's mode or mean, or of a sample of it."""
        if self.execute == "sample":
            return belief.sample(key, 1)[0, 0]
        return belief.mean[0] if self.execute == "mean" else belief.mode()[0]

    def shift(self, belief: Any) -> Any:
        """The belief from which to plan at the next time step."""
        return fresh(self.belief if self.warm_start is None else belief.shift(self.belief, self.warm_start))


def _norm(gradients: Any) -> Float[Array, ""]:
    return jnp.sqrt(jnp.stack([(leaf**2).sum() for leaf in jax.tree.leaves(gradients)]).sum())


def _choose(which: Bool[Array, " S"], new: Any, old: Any) -> Any:
    """Of each leaf [S, ...] the new rows where `which` says so."""

    def rows(new: Array, old: Array) -> Array:
        return jnp.where(which.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    return jax.tree.map(rows, new, old)


def _finite(parameters: Any) -> Bool[Array, " S"]:
    """Of which of S parameters all leaves are finite."""
    finite = [jnp.isfinite(leaf).reshape(len(leaf), -1).all(1) for leaf in jax.tree.leaves(parameters)]
    return jnp.stack(finite).all(0)
