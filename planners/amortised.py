"""A planner around another, which plans only where the plan of a network does not do."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from ..dynamics.base import Model, State
from ..dynamics.checks import integer, real
from ..dynamics.pytrees import pytree, static
from .beliefs.protocol import Plan
from .beliefs.reading import read
from .beliefs.warm_start import shift_by_one
from .checks import binding, check_own_belief, check_unconstrained, fresh
from .info import Info
from .policies.plans import PlanNetwork, check_network
from .policies.priming import check_over_steps, check_wrapped, moved, proposing
from .primed import PrimedPlanner
from .sampling.containment import containment
from .sampling.incumbent import Incumbent
from .sampling.loop import SamplingPlanner
from .wrapper import PlannerWrapper


@pytree
class Amortised:
    """What is believed where a planner is asked only now and then.

    Attributes:
        found: the planner's belief, which goes along where it does not plan.
        plan: that is executed where it was not planned, [H, A].
        planned: whether it was.
    """

    found: Incumbent
    plan: Plan
    planned: Bool[Array, ""]

    def mode(self) -> Plan:
        """The plan to execute, [H, A], within the actuators' range."""
        return jnp.where(self.planned, self.found.mode(), self.found.clipped(self.plan))

    def best(self) -> Plan:
        """The best plan that was tried since the last shift, [H, A]."""
        return self.found.best()


@pytree
class AmortisedPlanner(PlannerWrapper):
    """Executes a network's plan, and plans where a few tries earn more. Make one with `amortised`.

    Attributes:
        planner: that plans.
        network: q_φ(a|s).
        threshold: the regret above which it is planned, a scalar, reward units.
        num_tries: how many plans are tried to decide.
    """

    planner: SamplingPlanner | PrimedPlanner
    network: PlanNetwork
    threshold: Float[Array, ""]
    num_tries: int = static()

    def init(self, model: Model, state: State) -> Amortised:
        """The planner's belief where inference starts.

        Raises:
            ValueError: if planner or network do not fit the model, it has constraints, or plans are over knots.
        """
        with binding(self.name, model, state):
            check_unconstrained(model)
            self.network.init(model, state)
        found = self.planner.init(model, state)
        with binding(self.name, model, state):
            check_over_steps(proposing(found.belief))
        return fresh(Amortised(found, found.belief.mode(), jnp.array(True)))

    def improve(self, model: Model, key: PRNGKeyArray, state: State, belief: Amortised) -> tuple[Amortised, Info]:
        """Try a few plans, and plan where one of them earns more than the network's by more than the threshold.

        These are the mode of q_φ(·|s), what is left of the plan that was executed last, samples of q_φ, and, as a
        network cannot know what it has not learnt, as many of the planner's belief.

        Raises:
            ValueError: if `belief` is not of the structure and shapes that `init` gives.
        """
        check_own_belief(self, model, state, belief)
        plan_key, sample_key, noise_key = jax.random.split(key, 3)
        said = self.network.belief(state)
        tries, near = [said.mode()[None], belief.plan[None]], self.num_tries // 2 - 1
        near_key, wide_key = jax.random.split(sample_key)
        if near:
            tries.append(said.sample(near_key, near))
        if (wide := self.num_tries - 2 - near) > 0:
            tries.append(belief.found.sample(wide_key, wide))
        sampling = self.planner.planner if isinstance(self.planner, PrimedPlanner) else self.planner
        returns = sampling.evaluator.rollouts.score(model, noise_key, state, jnp.concatenate(tries)).returns
        returns = jnp.where(jnp.isfinite(returns), returns, -jnp.inf)
        known = returns[0] > -jnp.inf
        regret = jnp.where(known, returns.max() - jnp.where(known, returns[0], 0.0), jnp.inf)
        limit = containment(model, state, belief.found, sampling.bounds)[1]

        def think() -> tuple[Incumbent, Info]:
            return self.planner.improve(model, plan_key, state, belief.found)

        blank = jax.eval_shape(think)[1]

        def recall() -> tuple[Incumbent, Info]:
            search = dataclasses.replace(moved(belief.found, said), best_return=returns[0], limit=limit)
            info = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), blank).nothing()
            return search, info.replacing("best_return", returns[0])

        must = ~known | ~(regret <= self.threshold)
        found, info = jax.lax.cond(must, think, recall)
        plan = jnp.where(must, found.belief.mode(), said.mode())
        return Amortised(found, plan, must), info.adding(planned=must.astype(float), regret=regret)

    def act(self, key: PRNGKeyArray, belief: Amortised) -> Num[Array, "*a"]:
        """The action to execute now: the planner's where it has planned, else the first of the network's plan."""
        own = belief.found.clipped(belief.plan)[0]
        return jnp.where(belief.planned, self.planner.act(key, belief.found), own)

    def actions(self, key: PRNGKeyArray, belief: Amortised, times: Any) -> Num[Array, "n *a"]:
        """The actions of that plan at some times, in model steps, [n]."""
        own = read(belief.found.clipped(belief.plan), times)
        return jnp.where(belief.planned, self.planner.actions(key, belief.found, times), own)

    def respond(self, model: Model, key: PRNGKeyArray, state: State, belief: Any, time: Any) -> Num[Array, "*a"]:
        """The action of that plan at a time, whatever the state: there is no feedback."""
        return self.actions(key, belief, jnp.stack([time]))[0]

    def shift(self, belief: Amortised, steps: Any = 1) -> Amortised:
        """The belief from which to go on so many time steps later, > 0, whole or not."""
        plan = shift_by_one().by(steps).plans(belief.plan, belief.plan)
        return fresh(Amortised(self.planner.shift(belief.found, steps), plan, belief.planned))


def amortised(planner: Any, network: Any, threshold: Any, *, num_tries: int = 8) -> AmortisedPlanner:
    """Execute an amortised plan, and plan only where it does not do.

    At each time step a few plans are tried: the mean of q_φ(a|s), what is left of the plan before, and samples of
    q_φ and of the planner's belief. What the best of them earns more than the mean of q_φ is its regret, which is 0
    where that is the best plan around, however wide q_φ is. Above the threshold the planner plans, from where it is;
    else the mean of q_φ is executed, and the planner's belief moves there. `info.planned` says which, and its mean
    over an episode is the share of the plannings; `info.regret` is what a threshold is compared with. A planning that
    is saved costs no time where steps follow one another, under jit; under vmap both are computed.

    Args:
        planner: one that samples plans (`vi_mpc`, `smc`, ...), or `planners.primed` of one.
        network: q_φ, a `planners.policies.plan_network` that is bound, of the planner's horizon.
        threshold: of the regret, in units of the return of a plan, >= 0; infinite never plans but for a plan
            of the network's whose return is not finite.
        num_tries: how many plans are tried, at least 2; each costs a rollout.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range, a planner that cannot be given one, or a network that is not
            bound, or of another horizon.
    """
    if not isinstance(planner, PrimedPlanner):
        planner = check_wrapped(planner)
    network = check_network(network, planner.horizon)
    infinite = isinstance(threshold, float) and threshold == float("inf")
    limit = jnp.full((), jnp.inf) if infinite else real("threshold", threshold, minimum=0.0)
    return AmortisedPlanner(planner, network, limit, integer("num_tries", num_tries, 2))
