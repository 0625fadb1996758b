"""The planner that follows gradients."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Key

from ...dynamics.base import Model, State
from ...dynamics.checks import real
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import Continuous
from ..beliefs.protocol import Plans, continuous_shape
from ..beliefs.reading import read
from ..beliefs.warm_start import Shift, shift_of
from ..checks import binding, check_own_belief, check_unconstrained, fresh
from ..differentiation import constant, implicit, undifferentiable
from ..info import Info
from .ascent import Explicit, Implicit, ascend
from .optimizers import Optimizer
from .points import Points, PointsFamily

_NUM_MEASURED = 32  # plans whose returns tell the spread
_USUAL_STD = 0.5  # by which they are told apart where all start at one place


@pytree
class GradientPlanner:
    """A planner that follows gradients. Which one, its components decide; make one with a factory.

    Attributes:
        family: of beliefs.
        objective: what is climbed.
        optimizer: how gradients become steps.
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
        """The number of plans from which it continues: as many as it moves."""
        return self.family.num_samples if isinstance(self.family, PointsFamily) else 1

    def resume(self, model: Model, state: State, plans: Plans) -> Any:
        """The belief to continue from these plans."""
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
        with binding(self.name, model, state) as space:
            check_unconstrained(model)
            if not isinstance(self.family, PointsFamily):
                real("initial_plan", self.family.mean, shape=continuous_shape(self.name, self.horizon, space))
            belief = self.family.bind(self.horizon, space)
            self.objective.check(belief, space)
            self.objective.target.rollouts.check(model)
            return fresh(belief)

    def improve(self, model: Model, key: Key[Array, ""], state: State, belief: Any) -> tuple[Any, Info]:
        """Take the steps from `belief`.

        Plans of `planners.gradient`, and their objectives, have the derivatives of converged plans, with respect to
        all that model, state and planner are made of; other beliefs have none, which is an error.

        Raises:
            ValueError: if `belief` is not of the structure and shapes that `init` gives, the model has no gradients,
                or what has no derivatives is differentiated.
        """
        check_own_belief(self, model, state, belief)
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
        again, objective = jax.random.clone, self.objective  # the same noise in all iterations, on purpose
        if objective.target.relative is not None:
            scatter_key, start_key = jax.random.split(start_key)
            plans = self._around(scatter_key, belief)
            measured = held(objective.target.measured(model, again(noise), state, plans))
            objective = objective.aimed(measured)
        return ascend(
            lambda key, parameters: held(objective.climb(model, again(noise), key, state, parameters)),
            lambda parameters: held(objective.evaluate(model, again(noise), state, parameters)),
            objective.bounded(objective.parameters(start_key, belief)),
            climb_key,
            optimizer=self.optimizer,
            bounded=objective.bounded,
            keeps_best=objective.keeps_best,
            num_iterations=self.num_iterations,
            temperature=objective.target.temperature,
        )

    def _around(self, key: Key[Array, ""], belief: Any) -> Plans:
        """Plans as they are spread where inference starts, around the present one."""
        horizon, size = belief.mode().shape
        initial = self.family.bind(horizon, Continuous(size))
        if isinstance(initial, Points):  # those that all start at one place would differ in nothing
            spread = jnp.where((initial.spread != 0).any(), initial.spread, _USUAL_STD)
            plans = dataclasses.replace(initial, spread=spread).scattered(key)
        else:
            plans = initial.sample(key, _NUM_MEASURED)
        return belief.mode() + (plans - initial.mode())

    def act(self, key: Key[Array, ""], belief: Any) -> Float[Array, " A"]:
        """The first action of the belief's mode or mean, or of a sample of it."""
        return self._executed(key, belief)[0]

    def actions(self, key: Key[Array, ""], belief: Any, times: Any) -> Float[Array, "n A"]:
        """The actions of that plan at some times, in model steps, [n]."""
        return read(self._executed(key, belief), times, belief)

    def respond(self, model: Model, key: Key[Array, ""], state: State, belief: Any, time: Any) -> Float[Array, " A"]:
        """The action of that plan at a time, whatever the state."""
        return self.actions(key, belief, jnp.stack([time]))[0]

    def _executed(self, key: Key[Array, ""], belief: Any) -> Float[Array, "H A"]:
        """The plan to execute."""
        if self.execute == "sample":
            return belief.sample(key, 1)[0]
        return belief.mean if self.execute == "mean" else belief.mode()

    def shift(self, belief: Any, steps: Any = 1) -> Any:
        """The belief from which to plan so many time steps later, > 0, whole or not."""
        horizon, size = belief.mode().shape
        initial = self.family.bind(horizon, Continuous(size))
        how = shift_of(self.warm_start, steps)
        return fresh(initial if how is None else belief.shift(initial, how))
