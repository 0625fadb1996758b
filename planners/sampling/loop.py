"""Planning as inference: the loop that every sampling planner is."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, PRNGKeyArray

from ...dynamics.base import Model, State
from ...dynamics.constraints import constraint_names
from ...dynamics.pytrees import pytree, static
from ..beliefs.protocol import Belief, Family, Multimodal, Plan, update
from ..beliefs.reading import read
from ..beliefs.warm_start import Shift, shift_by_one, shift_of
from ..checks import binding, check_belief, fresh
from ..info import Info
from .compatibility import check_bound, check_bounds, check_execution, check_inflation
from .containment import containment
from .evaluation import Evaluator, padded
from .guard import check_guarded, guarded, measured
from .incumbent import Incumbent, incumbent


@pytree
class SamplingPlanner:
    """A planner that samples plans, weighs them by their returns, and projects them back onto its family.

    Which planner it is, its components decide. Make one with a factory (`mppi`, `cem`, ...) or `sampling_planner`.

    Attributes:
        family: of beliefs.
        evaluator: draws plans and weighs them.
        warm_start: how beliefs move on by a time step; None to forget them.
        horizon: the number H of steps.
        num_samples: the number K of plans per iteration, or of each iteration.
        num_iterations: the number I of iterations.
        bounds: "clip" keeps the centre of the belief near the actuators' range, "none" lets it go; None follows
            the model.
        execute: "mode", "mean", "best", "sample" or "component"; None for the mean, where actions have one.
        diagnostics: whether `info` has more than returns and failures.
        keep: which arrays of plans `info` keeps.
        name: for errors and reports.
    """

    family: Family
    evaluator: Evaluator
    warm_start: Shift | None
    horizon: int = static()
    num_samples: int | tuple[int, ...] = static()
    num_iterations: int = static()
    bounds: str | None = static()
    execute: str | None = static()
    diagnostics: bool = static()
    keep: tuple[str, ...] = static()
    name: str = static()

    def init(self, model: Model, state: State) -> Incumbent:
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
            belief = check_bound(self.family.bind(self.horizon, space), self.horizon, space)
            check_execution(self.execute, belief, space)
            check_bounds(self.bounds, space)
            check_inflation(None if self.warm_start is None else self.warm_start.inflation, belief)
            if constrained := constraint_names(model) is not None:
                check_guarded(self.execute)
            self.evaluator.rollouts.check(model)
            prior = self.evaluator.bind(belief, space, self.num_samples)
            return fresh(incumbent(belief, prior, executes=self.execute == "best", constrained=constrained))

    def improve(self, model: Model, key: PRNGKeyArray, state: State, belief: Any) -> tuple[Incumbent, Info]:
        """Run the loop from `belief`: I times q⁺ ∝ q^(1−κ) (p W)^κ, projected onto the family.

        Args:
            model: what to imagine with.
            key: of samples and noise.
            state: where plans start.
            belief: what `init`, `improve` or `shift` gave; or a belief of the family alone.

        Returns:
            The belief, with the best plan that was found, and one row of `Info` per iteration.

        Raises:
            ValueError: if `belief` is not of the structure and shapes that `init` gives.
        """
        belief = self._checked(model, state, belief)
        contain, limit = containment(model, state, belief, self.bounds)

        def iterate(carry: tuple[Incumbent, Any], now: tuple[Array, Array], num_samples: int) -> tuple[Any, Info]:
            (search, memory), (keys, last) = carry, now
            q = search.belief
            # a ~ q, w ∝ (p W(R(a)) / q)^κ
            plans = self.evaluator(model, keys, state, search, memory, num_samples=num_samples, last=last)
            # q⁺ = argmin KL(Σ w δ_a ‖ q)
            fitted = update(plans.belief, plans.plans, plans.weights, plans.relative)
            fitted = contain(_keep(plans.degenerate, q, fitted))
            search = dataclasses.replace(search, belief=fitted)
            cost, search = search.multiplier, dataclasses.replace(search, multiplier=plans.multiplier)
            search = search.challenged(plans.plans, plans.returns, plans.residual, plans.violation)
            info = measured(plans.diagnose(search.best_return, q, fitted), plans, search, cost)
            return (search, plans.memory), self._reported(dataclasses.replace(info, samples=plans.plans))

        search = belief if limit is None else dataclasses.replace(belief, limit=limit)
        keys = jax.random.split(key, (self.num_iterations, 2))
        last = jnp.arange(self.num_iterations) == self.num_iterations - 1
        search, info = self._repeat(iterate, (search, self.evaluator.start(belief.belief)), (keys, last))
        if search.guarded is None:
            return search, info
        rollouts = self.evaluator.rollouts
        execute = functools.partial(self._executed, key)
        return guarded(rollouts, model, key, state, belief.plan, search, info, execute, contain)

    def act(self, key: PRNGKeyArray, belief: Any) -> Array:
        """The first action of the plan to execute: the belief's mode or mean, a sample of it, or one of its modes."""
        return self._executed(key, belief)[0]

    def actions(self, key: PRNGKeyArray, belief: Any, times: Any) -> Array:
        """The actions of that plan at some times, in model steps, [n]."""
        return read(self._executed(key, belief), times, belief.belief)

    def respond(self, model: Model, key: PRNGKeyArray, state: State, belief: Any, time: Any) -> Array:
        """The action of that plan at a time, whatever the state: there is no feedback."""
        return self.actions(key, belief, jnp.stack([time]))[0]

    def _executed(self, key: PRNGKeyArray, belief: Any) -> Plan:
        """The plan to execute."""
        discrete = belief.limit is None
        if self.execute in ("mode", "best") or (self.execute is None and discrete):
            return belief.mode()
        if self.execute == "sample":
            return belief.clipped(belief.sample(key, 1)[0])
        if self.execute in ("mean", None):
            return belief.clipped(belief.kept(belief.mean))
        assert isinstance(belief.belief, Multimodal)  # see `init`
        return belief.clipped(belief.belief.random_mode(key))

    def shift(self, belief: Incumbent, steps: Any = 1) -> Incumbent:
        """The belief from which to plan so many time steps later, > 0, whole or not; a known number costs least."""
        if (how := shift_of(self.warm_start, steps)) is None:
            constrained = belief.guarded is not None
            initial = incumbent(
                belief.initial.belief, belief.initial.prior, executes=belief.executes, constrained=constrained
            )
            if constrained:  # the one that kept to the constraints is not forgotten, but tried again
                moved: Any = shift_of(shift_by_one(), steps)
                initial = dataclasses.replace(initial, plan=moved.plans(belief.plan, belief.plan))
            return fresh(initial)
        return fresh(belief.shift(belief.initial, how))

    @property
    def sharding(self) -> NamedSharding | None:
        """How plans are spread over devices; None for one device."""
        return self.evaluator.rollouts.sharding

    def _repeat(self, iterate: Callable[..., Any], carry: Any, now: Any) -> tuple[Incumbent, Info]:
        """All iterations; those of different sizes are programs of their own."""
        sizes = self.num_samples
        if isinstance(sizes, int) and self.num_iterations > 1:

            def step(carry: tuple[Any, Any], now: Any) -> tuple[tuple[Any, Any], Info]:
                after, info = iterate(carry[0], now, sizes)
                return (after, info.samples), dataclasses.replace(info, samples=None)

            nothing = None
            if "samples" in self.keep:  # of the last iteration alone: those of all would take memory, and time
                first = jax.tree.map(lambda leaf: leaf[0], now)
                form = jax.eval_shape(lambda: iterate(carry, first, sizes)[1].samples)
                nothing = jnp.zeros(form.shape, form.dtype)
            ((search, _), samples), info = jax.lax.scan(step, (carry, nothing), now)
            return search, dataclasses.replace(info, samples=samples)
        rows = []
        sizes = (sizes,) if isinstance(sizes, int) else sizes
        if len(sizes) != self.num_iterations:
            raise ValueError(f"num_iterations must be {len(sizes)}, as many as num_samples has numbers")
        for i, size in enumerate(sizes):  # in a loop of one XLA would simplify less
            carry, info = iterate(carry, jax.tree.map(lambda leaf: leaf[i], now), size)  # noqa: B023
            rows.append(dataclasses.replace(info, samples=None))
        info_rows = jax.tree.map(lambda *rows: jnp.stack(rows), *_as_long(rows))
        return carry[0], dataclasses.replace(info_rows, samples=info.samples)

    def _reported(self, info: Info) -> Info:
        return (info if self.diagnostics else info.brief()).keeping(self.keep)

    def _checked(self, model: Model, state: State, belief: Any) -> Incumbent:
        """The belief, if it is one that `init` gives, or of the family alone."""
        own = jax.eval_shape(lambda: self.init(model, state))
        alone = not isinstance(belief, Incumbent) and isinstance(belief, Belief)
        with binding(self.name, model, state):
            check_belief(own.belief if alone else own, belief)
        return dataclasses.replace(self.init(model, state), belief=belief, plan=belief.mode()) if alone else belief


def _as_long(rows: list[Info]) -> list[Info]:
    """Rows whose arrays of plans are as long as the longest: those of fewer plans end in NaN, and in weights of 0."""
    longest = max(max(map(_length, (row.returns, row.weights))) for row in rows)
    return [
        dataclasses.replace(
            row,
            returns=padded(row.returns, longest, jnp.nan),
            weights=padded(row.weights, longest, 0.0),
        )
        for row in rows
    ]


def _length(values: Array | None) -> int:
    return 0 if values is None else len(values)


def _keep(condition: Bool[Array, ""], old: Any, new: Any) -> Any:
    """The old belief where the condition holds, else the new one."""
    return jax.tree.map(lambda old, new: jnp.where(condition, old, new), old, new)
