"""A planner around another, which plans only where the plan of a network does not do."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Num, PRNGKeyArray

from ..dynamics.base import Model, State
from ..dynamics.pytrees import pytree, static
from .beliefs.protocol import Plan
from .beliefs.reading import read
from .beliefs.warm_start import shift_by_one
from .checks import binding, check_own_belief, check_unconstrained, fresh
from .info import Info
from .policies.criteria import CRITERIA, Trial, check_scenarios, judge, must_plan, prior_of, temperature_of, tries_of
from .policies.plans import PlanNetwork, check_network
from .policies.priming import check_over_steps, check_wrapped, moved, proposing
from .primed import PrimedPlanner
from .sampling.containment import containment
from .sampling.incumbent import Incumbent
from .sampling.loop import SamplingPlanner
from .sampling.priors import FixedPrior
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
    """Executes a network's plan, and plans where a criterion says it must. Make one with `amortised`.

    Attributes:
        planner: that plans.
        network: q_φ(a|s).
        threshold: of the criterion's measure, a scalar.
        temperature: λ of the posterior that it compares with, a scalar, reward units; None where it needs none.
        criterion: "regret", "elbo", "ess" or "disagreement".
        num_tries: how many plans are tried to decide.
    """

    planner: SamplingPlanner | PrimedPlanner
    network: PlanNetwork
    threshold: Float[Array, ""]
    temperature: Float[Array, ""] | None
    criterion: str = static()
    num_tries: int = static()

    def init(self, model: Model, state: State) -> Amortised:
        """The planner's belief where inference starts.

        Raises:
            ValueError: if planner or network do not fit the model, it has constraints, or plans are over knots.
        """
        with binding(self.name, model, state):
            check_unconstrained(model)
            check_scenarios(self.criterion, self._sampling.evaluator.rollouts, model)
            self.network.init(model, state)
        found = self.planner.init(model, state)
        with binding(self.name, model, state):
            check_over_steps(proposing(found.belief))
        return fresh(Amortised(found, found.belief.mode(), jnp.array(True)))

    def improve(self, model: Model, key: PRNGKeyArray, state: State, belief: Amortised) -> tuple[Amortised, Info]:
        """Try a few plans, and plan where the criterion says it must; see `amortised`.

        Raises:
            ValueError: if `belief` is not of the structure and shapes that `init` gives.
        """
        check_own_belief(self, model, state, belief)
        plan_key, try_key = jax.random.split(key)
        said, sampling = self.network.belief(state), self._sampling
        if isinstance(self.planner, PrimedPlanner) and self.planner.as_prior:
            prior: Any = FixedPrior(self.planner.prior(said, belief.found))
        else:
            prior = prior_of(sampling, model, belief.found)
        trial = Trial(sampling, prior, self.temperature, self.num_tries, said, belief.found, belief.plan)
        judged = judge(self.criterion, trial, model, try_key, state)
        limit = containment(model, state, belief.found, sampling.bounds)[1]

        def think() -> tuple[Incumbent, Info]:
            return self.planner.improve(model, plan_key, state, belief.found)

        blank = jax.eval_shape(think)[1]

        def recall() -> tuple[Incumbent, Info]:
            search = dataclasses.replace(moved(belief.found, said), best_return=judged.plan_return, limit=limit)
            info = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), blank).nothing()
            return search, info.replacing("best_return", judged.plan_return)

        must = must_plan(self.criterion, judged, self.threshold)
        found, info = jax.lax.cond(must, think, recall)
        plan = jnp.where(must, found.belief.mode(), said.mode())
        measures = {"planned": must.astype(float), CRITERIA[self.criterion]: judged.measure}
        return Amortised(found, plan, must), info.adding(**measures)

    @property
    def _sampling(self) -> SamplingPlanner:
        return self.planner.planner if isinstance(self.planner, PrimedPlanner) else self.planner

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


def amortised(
    planner: Any,
    network: Any,
    threshold: Any,
    *,
    criterion: str = "regret",
    temperature: Any = None,
    num_tries: int | None = None,
) -> AmortisedPlanner:
    """Execute an amortised plan, and plan only where it does not do.

    At each time step a few plans are tried, and a criterion makes one number of them. Beyond the threshold the
    planner plans, from where it is; else the mode of q_φ(a|s) is executed, and the planner's belief moves there.
    `info.planned` says which, and its mean over an episode is the share of the plannings. A planning that is saved
    costs no time where steps follow one another, under jit; under vmap both are computed. The criteria:

    * "regret", `info.regret`: what the best of the tries earns more than the mode of q_φ, reward units. These are
      what is left of the plan before, and samples of q_φ and of the planner's belief. 0 where the mode is the best
      plan around, however wide q_φ is.
    * "elbo", `info.network_gap`: log p(O) − ELBO(q_φ) of samples of q_φ, nats, an estimate of KL(q_φ ‖ posterior)
      from below: how far q_φ is from what the planner would infer, its width included. 0 where q_φ is the posterior.
    * "ess", `info.network_ess`: the effective sample size of such samples as a share of their number, 1 where q_φ is
      the posterior; it is planned *below* the threshold.
    * "disagreement", `info.disagreement`: the standard deviation of the returns of the mode of q_φ over the scenarios
      of the model, such as the members of an ensemble, divided by that of the tries' mean returns: how much less
      certain the plan's return is than plans differ. Where members have learnt from the states that the network has
      learnt from, they disagree where it knows little, too. Noise of the model counts as well.

    None of them changes where a constant is added to returns; "disagreement" not where their unit changes.

    Args:
        planner: one that samples plans (`vi_mpc`, `smc`, ...), or `planners.primed` of one, whose prior then is p.
        network: q_φ, a `planners.policies.plan_network` that is bound, of the planner's horizon.
        threshold: of that number, >= 0, of "ess" at most 1; infinite never plans but for a plan of the network's
            whose return is not finite, as 0 does for "ess".
        criterion: one of the above.
        temperature: λ of the posterior of "elbo" and "ess", reward units, > 0; None for that of the planner, where
            it has one in reward units that does not adapt.
        num_tries: how many plans are tried, at least 2, for "elbo" and "ess" at least 3; each costs a rollout. None
            for 8, of these two 64.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range, a planner that cannot be given one, or a network that is not
            bound, or of another horizon.
    """
    if not isinstance(planner, PrimedPlanner):
        planner = check_wrapped(planner)
    network = check_network(network, planner.horizon)
    number, limit = tries_of(criterion, num_tries, threshold)
    sampling = planner.planner if isinstance(planner, PrimedPlanner) else planner
    return AmortisedPlanner(
        planner, network, limit, temperature_of(criterion, sampling, temperature), criterion, number
    )
