"""A planner around two: the second refines the plan that the first has found, and it is taken if it is better."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...dynamics.base import Model, State
from ...dynamics.pytrees import pytree
from ...dynamics.spaces import Discrete
from ..beliefs.protocol import Plan, Plans
from ..beliefs.reading import read
from ..checks import binding, check_own_belief, check_part, check_unconstrained, fresh
from ..info import Info, Refinement
from ..wrapper import PlannerWrapper
from .importance import ImportanceSampler
from .incumbent import Incumbent
from .loop import SamplingPlanner
from .recentring import recentred


@runtime_checkable
class Refiner(Protocol):
    """A planner that can continue from plans: `planners.gradient`, `planners.ilqr`."""

    @property
    def horizon(self) -> int:
        """The number H of steps."""
        ...

    @property
    def num_starts(self) -> int:
        """The number of plans from which it continues."""
        ...

    def resume(self, model: Model, state: State, plans: Plans) -> Any:
        """The belief to continue from these plans."""
        ...

    def improve(self, model: Model, key: PRNGKeyArray, state: State, belief: Any) -> tuple[Any, Info]:
        """Continue the inference."""
        ...


@pytree
class Refined:
    """What a planner believes, and the plan to execute, which was refined from its mode.

    Attributes:
        found: the belief of the planner that was refined, around the refined plan.
        plan: the refined plan, [H, A].
    """

    found: Incumbent
    plan: Plan

    @property
    def mean(self) -> Plan:
        """Of the belief, [H, A]."""
        return self.found.mean

    def mode(self) -> Plan:
        """The refined plan, [H, A], within the actuators' range."""
        return self.found.clipped(self.plan)

    def best(self) -> Plan:
        """The best plan that was tried since the last shift, [H, A]."""
        return self.found.best()

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans of the belief, [K, H, A]."""
        return self.found.sample(key, num_samples)

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan."""
        return self.found.log_prob(plans)

    def entropy(self) -> Float[Array, ""] | None:
        """Of the belief, nats."""
        return self.found.entropy()


@pytree
class RefinedPlanner(PlannerWrapper):
    """A sampling planner whose plan another planner refines.

    Attributes:
        planner: that samples.
        refiner: that continues from its plan.
    """

    planner: SamplingPlanner
    refiner: Refiner

    def init(self, model: Model, state: State) -> Refined:
        """The belief where inference starts; see `SamplingPlanner.init`."""
        found = self.planner.init(model, state)
        with binding(self.name, model, state) as space:
            check_unconstrained(model)
            if isinstance(space, Discrete):
                raise ValueError(f"refine moves actions freely: it needs continuous actions, got {space}")
        return fresh(Refined(found, found.belief.mode()))

    def improve(self, model: Model, key: PRNGKeyArray, state: State, belief: Refined) -> tuple[Refined, Info]:
        """Run the planner, refine what it has found, and keep the best.

        The refiner starts from the better of the belief's mode and the plan of the time step before; if it takes
        several plans, from both, and samples of the belief. Of these two and the refined plan the best is kept, so
        that a refined plan is never worse than one that is not, as far as the model can tell, and the belief is moved
        there.

        Raises:
            ValueError: if `belief` is not of the structure and shapes that `init` gives.
        """
        check_own_belief(self, model, state, belief)
        loop_key, refine_key, noise_key = jax.random.split(key, 3)
        found, info = self.planner.improve(model, loop_key, state, belief.found)
        assert isinstance(self.planner.evaluator, ImportanceSampler)  # see `sampling_planner`
        evaluator = self.planner.evaluator

        def returns_of(plans: Plans) -> Float[Array, " K"]:
            returns = evaluator.returns(model, jax.random.clone(noise_key), state, plans)
            return jnp.where(jnp.isfinite(returns), returns, -jnp.inf)

        sample_key, climb_key = jax.random.split(refine_key)
        known = jnp.stack([found.belief.mode(), belief.plan])
        starts = known[jnp.argsort(-returns_of(known))]
        refiner = self.refiner
        if refiner.num_starts > 2:
            starts = jnp.concatenate([starts, found.sample(sample_key, refiner.num_starts - 2)])
        start = refiner.resume(model, state, starts[: refiner.num_starts])
        refined, refiner_info = refiner.improve(model, climb_key, state, start)
        candidates = jnp.concatenate([known, refined.mode()[None]])
        returns = returns_of(candidates)
        best = jnp.argmax(returns)
        plan = candidates[best]
        found = dataclasses.replace(found, belief=recentred(found.belief, plan))
        found = found.challenged(plan[None], returns.max()[None])
        info = info.replacing("best_return", info.best_return.at[-1].set(found.best_return))
        outcome = Refinement(returns=returns, accepted=best == 2, info=refiner_info)
        return Refined(found, plan), dataclasses.replace(info, refinement=outcome)

    def act(self, key: PRNGKeyArray, belief: Refined) -> Float[Array, " A"]:
        """The first action of the refined plan."""
        return belief.mode()[0]

    def actions(self, key: PRNGKeyArray, belief: Refined, times: Any) -> Float[Array, "n A"]:
        """The actions of the refined plan at some times, in model steps, [n]."""
        return read(belief.mode(), times)

    def respond(
        self, model: Model, key: PRNGKeyArray, state: State, belief: Refined, time: Any
    ) -> Float[Array, " A"]:
        """The action of the refined plan at a time, whatever the state."""
        return self.actions(key, belief, jnp.stack([time]))[0]

    def shift(self, belief: Refined, steps: Any = 1) -> Refined:
        """The belief from which to plan so many time steps later, > 0, whole or not."""
        found, initial = self.planner.shift(belief.found, steps), belief.found.initial.belief
        how = self.planner.warm_start
        plan = initial.mode() if how is None else how.by(steps).plans(belief.plan, initial.mode())
        return fresh(Refined(found, plan))


def refined(planner: SamplingPlanner, refine: Any) -> RefinedPlanner:
    """The planner around both, or a `ValueError` unless one can go on from the plans of the other."""
    if not isinstance(refine, Refiner) or isinstance(refine, type):
        raise ValueError(
            f"refine must be a planner that can start from given plans (gradient, elbo_gradient, stein, ilqr), "
            f"got {type(refine).__name__}"
        )
    if not isinstance(planner.evaluator, ImportanceSampler):
        raise ValueError("refine goes on from the mode of a belief: smc has particles; give it to another planner")
    if planner.execute in ("sample", "component"):
        raise ValueError(f"refine executes the plan that it finds: execute must not be {planner.execute!r}")
    if refine.horizon != planner.horizon:
        raise ValueError(f"refine must have the horizon {planner.horizon}, got {refine.horizon}")
    return RefinedPlanner(planner, check_part("refine", refine))
