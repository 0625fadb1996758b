"""Gradient ascent: differentiate, step, and go back where that was not possible."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float, Int, Key

from ...dynamics.base import Model, State
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import Continuous, action_space
from ..beliefs.protocol import Plans
from ..beliefs.warm_start import Shift
from ..checks import check_belief, fresh, named
from ..differentiation import Equations, constant, implicit, undifferentiable
from ..info import Info, info_row
from .optimizers import Optimizer
from .points import Points, PointsFamily


class Climb(NamedTuple):
    """The objective at S parameters that are optimised side by side.

    Attributes:
        objective: of each, [S]; −∞ if that is no number.
        gradients: of the objective, like the parameters.
        valid: whose objective and gradients are numbers, [S].
        returns: of the plans that were tried, [K], reward units.
        num_invalid: how many of the plans had a return or a gradient that was NaN or infinite.
        elbo: an estimate of it, nats; None where there is none.
        kl: of a policy from the one that it must not leave, nats per step; None where there is none.
    """

    objective: Float[Array, " S"]
    gradients: Any
    valid: Bool[Array, " S"]
    returns: Float[Array, " K"]
    num_invalid: Int[Array, ""]
    elbo: Float[Array, ""] | None
    kl: Float[Array, ""] | None = None


@runtime_checkable
class Objective(Protocol):
    """What is climbed: the return of plans, the evidence bound of a belief, ..."""

    @property
    def keeps_best(self) -> bool:
        """Whether each ends as the best that it has been, which takes an objective that is no estimate."""
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
            raise ValueError("optimizer must not search along a line: what is climbed is no function of one")
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
            elbo=climbed.elbo,
            kl=climbed.kl,
            num_invalid=climbed.num_invalid,
            degenerate=~sound.any(),
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
    enough = last > (greatest if keeps_best else -jnp.inf)  # the last step may have led where there is none
    return _choose(enough, parameters, best), jnp.where(enough, last, greatest), info


@pytree
class GradientPlanner:
    """A planner that follows gradients. Which one, its components decide; make one with a factory.

    Attributes:
        family: of beliefs.
        objective: what is climbed.
        optimizer: how gradients become steps.
        temperature: of the objective, in reward units, or None.
        warm_start: how beliefs move on by a time step; None to forget them.
        horizon: the number H of steps.
        num_iterations: the number I of steps.
        execute: "mode", "mean" or "sample".
        keep: which arrays of plans `info` keeps.
        name: for errors and reports.
    """

    family: Any
    objective: Implicit | Explicit
    optimizer: Optimizer
    temperature: Float[Array, ""] | None
    warm_start: Shift | None
    horizon: int = static()
    num_iterations: int = static()
    execute: str = static()
    keep: tuple[str, ...] = static()
    name: str = static()

    @property
    def sharding(self) -> NamedSharding | None:
        """How plans are spread over devices; None for one device."""
        return self.objective.target.rollouts.sharding

    @property
    def num_starts(self) -> int:
        """From how many plans it goes on: as many as it moves."""
        return self.family.num_samples if isinstance(self.family, PointsFamily) else 1

    def resume(self, model: Model, state: State, plans: Plans) -> Any:
        """The belief from which it goes on from so many plans."""
        belief = self.init(model, state)
        if isinstance(belief, Points):
            return dataclasses.replace(belief, plans=plans, spread=jnp.zeros_like(belief.spread))
        return dataclasses.replace(belief, mean=plans[0])

    def init(self, model: Model, state: State) -> Any:
        """The belief where inference starts: binds shapes, and checks them.

        Args:
            model: whose actions are planned.
            state: a state of `model`.

        Returns:
            The belief, in arrays of its own.

        Raises:
            ValueError: naming planner, model, parameter and shapes, if they do not fit.
        """
        space = action_space(model)
        with named(self.name, f"{type(model).__name__} ({space})"):
            belief = self.family.bind(self.horizon, space)
            self.objective.target.bound(self.horizon, space)  # its prior must fit, too
            return fresh(belief)

    def improve(self, model: Model, key: Key[Array, ""], state: State, belief: Any) -> tuple[Any, Info]:
        """Take so many steps from `belief`.

        Plans of `planners.gradient`, and their objectives, have the derivatives of converged plans, with respect to
        all that model, state and planner are made of; other beliefs have none, which is an error.

        Raises:
            ValueError: if `belief` is not of the structure and shapes that `init` gives, the model has no gradients,
                or what has no derivatives is differentiated.
        """
        check_belief(jax.eval_shape(lambda: self.init(model, state)), belief)
        start_key, noise, climb_key = jax.random.split(key, 3)
        objective = self.objective.prepared(model, state, belief)
        if isinstance(objective, Implicit):
            planner, *parts = constant((dataclasses.replace(self, objective=objective), model, state, belief))
            parameters, values, info = constant(planner._ascend(start_key, noise, climb_key, *parts, held=constant))
            parameters, values = implicit(
                parameters,
                (parameters, values),
                lambda x: objective.optimality(model, jax.random.clone(noise), state, x),
            )
        else:
            held = functools.partial(undifferentiable, reason=objective.refusal)
            planner, *parts = held((dataclasses.replace(self, objective=objective), model, state, belief))
            parameters, values, info = planner._ascend(start_key, noise, climb_key, *parts, held=held)
        found = objective.believe(belief, parameters, values)
        # where nothing could be learnt, all stays as it was
        learnt = ~info.degenerate.all()
        return jax.tree.map(lambda new, old: jnp.where(learnt, new, old), found, belief), info.keeping(self.keep)

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
    ) -> tuple[Any, Array, Info]:
        """Take the steps; `held` keeps derivatives away from the objective."""
        objective = self.objective
        again = jax.random.clone  # the same noise in all iterations, on purpose
        return ascend(
            lambda key, parameters: held(objective.climb(model, again(noise), key, state, parameters)),
            lambda parameters: held(objective.evaluate(model, again(noise), state, parameters)),
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
        horizon, size = belief.mode().shape
        initial = self.family.bind(horizon, Continuous(size))
        return fresh(initial if self.warm_start is None else belief.shift(initial, self.warm_start))


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
