"""A planner around another, to which a network tells in each state which plans are likely."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ..dynamics.base import Model, State
from ..dynamics.checks import boolean, choice, real
from ..dynamics.pytrees import pytree, static
from .checks import binding, check_own_belief, check_unconstrained
from .info import Info
from .options import checked
from .particles.particle_filter import ParticleFilter
from .policies.plans import PlanNetwork, check_network
from .policies.priming import check_over_steps, check_wrapped, moved, proposing, tempered, ways
from .sampling.importance import ImportanceSampler
from .sampling.incumbent import Incumbent
from .sampling.loop import SamplingPlanner
from .sampling.priors import FixedPrior
from .wrapper import PlannerWrapper

STARTS = ("better", "network", "carried")


@pytree
class PrimedPlanner(PlannerWrapper):
    """A sampling planner whose prior, and whose start, an amortised plan gives. Make one with `primed`.

    Attributes:
        planner: that samples.
        network: q_φ(a|s).
        exponent: b of the prior q_φ^b, a scalar.
        std_min: the floor of the prior's standard deviations before they are tempered, a scalar.
        as_prior: whether it is the planner's prior.
        start: where inference starts: "better", "network" or "carried".
    """

    planner: SamplingPlanner
    network: PlanNetwork
    exponent: Float[Array, ""]
    std_min: Float[Array, ""]
    as_prior: bool = static()
    start: str = static()

    def init(self, model: Model, state: State) -> Incumbent:
        """The planner's belief where inference starts, which the network moves at each planning.

        Raises:
            ValueError: if planner or network do not fit the model, it has constraints, or plans are over knots.
        """
        with binding(self.name, model, state):
            check_unconstrained(model)
            network = self.network.init(model, state)
        own = self.planner.init(model, state)
        with binding(self.name, model, state):
            check_over_steps(proposing(own.belief))
        return self._given(self.prior(network.belief(state), own)).init(model, state)

    def improve(self, model: Model, key: PRNGKeyArray, state: State, belief: Incumbent) -> tuple[Incumbent, Info]:
        """Run the planner with q_φ(·|s) for its prior, from where inference starts in this state.

        Raises:
            ValueError: if `belief` is not of the structure and shapes that `init` gives.
        """
        check_own_belief(self, model, state, belief)
        plans = self.prior(self.network.belief(state), belief)
        if self.start == "better":
            key, noise_key = jax.random.split(key)
            modes = ways(plans)
            known = jnp.concatenate([modes, belief.belief.mode()[None]])
            returns = self.planner.evaluator.rollouts.score(model, noise_key, state, known).returns
            best = jnp.argmax(jnp.where(jnp.isfinite(returns), returns, -jnp.inf))
            better, start = best < len(modes), moved(belief, plans, jnp.minimum(best, len(modes) - 1))
            belief = jax.tree.map(lambda new, old: jnp.where(better, new, old), start, belief)
        elif self.start == "network":
            belief = moved(belief, plans)
        return self._given(plans).improve(model, key, state, belief)

    def prior(self, plans: Any, search: Incumbent) -> Any:
        """The prior that a plan network's belief in a state becomes.

        Args:
            plans: q_φ in that state.
            search: what the planner believes.
        """
        return tempered(plans, self.exponent, self.std_min, proposing(search.belief))

    def _given(self, prior: Any) -> SamplingPlanner:
        """The planner with this prior."""
        evaluator: Any = self.planner.evaluator
        if not self.as_prior:
            return self.planner
        return dataclasses.replace(self.planner, evaluator=dataclasses.replace(evaluator, prior=FixedPrior(prior)))


def primed(
    planner: Any,
    network: Any,
    *,
    exponent: Any = 1.0,
    std_min: Any = 0.1,
    as_prior: bool = True,
    start: str = "better",
) -> PrimedPlanner:
    """Give a planner an amortised plan: in each state q_φ(a|s) is its prior, and where its inference starts.

    The prior p = q_φ^b enters by log p − log q alone, so that the posterior is p(a) exp(R/λ) whatever the start
    (Millidge et al., 2020, appendix A). An over-confident prior vetoes good plans: temper it by an exponent below 1,
    or raise its floor. It is of the network's family again, N(m, max(σ, floor)²/b); of an independent Gaussian with
    the correlation in time of the planner's own Gaussian noise, where that has one. Of a mixture all components are
    the prior, and inference starts from one, or, in a mixture of as many, from all.

    Args:
        planner: one that samples plans over steps of continuous actions: `vi_mpc`, `smc`, `mppi`, `cem` and the
            like, without refine or rest_steps (`planners.resting` goes around this).
        network: q_φ, a `planners.policies.plan_network` that is bound, of the planner's horizon.
        exponent: b, in (0, 1].
        std_min: the floor of the standard deviations of q_φ, > 0, before they are tempered.
        as_prior: whether it is the prior, in the place of the planner's own. An `smc` that adapts its temperature to
            max_kl takes none: with False and a start from it q_φ is its proposal, and thereby its prior.
        start: where each inference starts: "network" from p, of a mixture from its heaviest component; "carried"
            from where the last one has led, the warm start; "better" from the one whose mean earns most in this
            state, of that and the components of p, which takes a rollout each, and does not average plans that go
            different ways. A belief of p's family takes over its standard deviations, which do not exceed its initial
            ones; other families its mean.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range, a planner that cannot be given one, or a network that is not
            bound, or of another horizon.
    """
    planner = check_wrapped(planner)
    network, evaluator = check_network(network, planner.horizon), planner.evaluator
    choice("start", start, STARTS)
    if not boolean("as_prior", as_prior) and start == "carried":
        raise ValueError("as_prior must be True where start='carried': the network would be of no use")
    if as_prior and isinstance(evaluator, ParticleFilter) and evaluator.likelihood.max_kl is not None:
        raise ValueError(
            "as_prior must be False for smc that adapts its temperature to max_kl: the network is then its proposal, "
            "and thereby its prior; or give smc a temperature"
        )
    if as_prior and isinstance(evaluator, ImportanceSampler) and (evaluator.per_step or evaluator.clip_plans):
        raise ValueError(f"as_prior must be False for {planner.name}, whose plans' densities are not the belief's")
    return PrimedPlanner(
        planner,
        network,
        real("exponent", exponent, above=0.0, maximum=1.0),
        checked("std_min", std_min, required=True),
        as_prior,
        start,
    )
