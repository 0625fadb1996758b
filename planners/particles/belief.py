"""Particles: weighted plans, and what proposes the next ones."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray

from ...dynamics.checks import integer
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace, Discrete
from ..beliefs.locked import locks_of
from ..beliefs.moments import average
from ..beliefs.protocol import (
    Belief,
    Centered,
    Family,
    LearnsSpread,
    Plan,
    Plans,
    Policy,
    Sequential,
    update,
)
from ..beliefs.spline import Splined
from ..beliefs.warm_start import Shifting
from ..checks import check_part


@pytree
class Particles:
    """q(a) = Σ_k w_k δ(a − a_k). Make one with `particles`.

    Attributes:
        proposal: the belief that plans are drawn from, which is fitted to those that survive; or a policy, which
            stays as it is.
        plans: [K, H, A].
        log_weights: normalised, [K].
        inverse_temperature: 1/λ that they have reached, a scalar, in 1/reward units; 0 at first.
        informative: whether their returns differ; where not, the proposal is not fitted to them.
        num_actions: the number of discrete actions; None where actions are continuous.
    """

    proposal: Any
    plans: Plans
    log_weights: Float[Array, " K"]
    inverse_temperature: Float[Array, ""]
    informative: Bool[Array, ""]
    num_actions: int | None = static()

    @property
    def mean(self) -> Plan:
        """The weighted mean, [H, A]; between the modes, where there are several."""
        mean = average(jnp.exp(self.log_weights), self.plans)
        return jnp.where(self.locks, self.plans[0], mean)  # a mean of equal numbers is one of them but for rounding

    def covariance(self) -> Float[Array, "d d"]:
        """The weighted covariance of the flattened plans, [H·A, H·A]."""
        flat = (self.plans - self.mean).reshape(len(self.plans), -1)
        return jnp.einsum("k,ki,kj->ij", jnp.exp(self.log_weights), flat, flat, precision="highest")

    def roots(self) -> tuple[Num[Array, "K *a"], Float[Array, " K"]]:
        """The distinct first actions and the weight of each, padded with zeros to K: an estimate of p(a₀ | s₀, O)."""
        actions, group = self._groups()
        return actions, jnp.zeros(len(self.plans)).at[group].add(jnp.exp(self.log_weights))

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A] from the particles."""
        return self.plans[jax.random.categorical(key, self.log_weights, shape=(num_samples,))]

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q of each plan: of the weight of those that it equals, −inf for others."""

        def one(plan: Plan) -> Float[Array, ""]:
            same = (self.plans == plan).reshape(len(self.plans), -1).all(-1)
            return jax.nn.logsumexp(jnp.where(same, self.log_weights, -jnp.inf))

        return jax.lax.map(one, plans)

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "Particles":
        """These plans and weights; the proposal is fitted to them."""
        return self.update(plans, weights, jnp.where(weights > 0, weights, -jnp.inf))

    def update(self, plans: Plans, weights: Float[Array, " K"], returns: Float[Array, " K"]) -> "Particles":
        """These plans and weights; the proposal is fitted to them."""
        proposal = self.proposal
        if isinstance(proposal, Sequential):
            fitted = update(proposal, plans, weights, returns)
            proposal = jax.tree.map(lambda new, old: jnp.where(self.informative, new, old), fitted, proposal)
        log_weights = jnp.log(jnp.maximum(weights, jnp.finfo(weights.dtype).tiny))
        return dataclasses.replace(self, proposal=proposal, plans=plans, log_weights=log_weights)

    def mode(self) -> Plan:
        """The mean of the plans that share the first action of the greatest weight, which it begins with.

        Discrete actions have no mean: each step takes the heaviest, among the plans that agree on the steps before.
        """
        weights = jnp.exp(self.log_weights)
        if self.num_actions is not None:
            return self._heaviest_path(weights)
        actions, group = self._groups()
        heaviest = jnp.argmax(jnp.zeros(len(self.plans)).at[group].add(weights))
        chosen = jnp.where(group == heaviest, weights, 0.0)
        # a mean of equal actions is one of them but for rounding, which is no action of a policy over discrete ones
        mean = jnp.where(self.locks, self.plans[0], average(chosen / chosen.sum(), self.plans))
        return mean.at[0].set(actions[heaviest])

    def map_centers(self, function: Callable[[Float[Array, "*M H A"]], Float[Array, "*M H A"]]) -> "Particles":
        """The same with a proposal around other centres; the plans, which were drawn, stay."""
        if not isinstance(self.proposal, Centered):
            return self
        return dataclasses.replace(self, proposal=self.proposal.map_centers(function))

    @property
    def learns_spread(self) -> bool:
        """Whether fits change the spread of the proposal."""
        return isinstance(self.proposal, LearnsSpread) and self.proposal.learns_spread

    @property
    def locks(self) -> Bool[Array, "H *a"]:
        """Of the proposal."""
        return locks_of(self.proposal, self.plans[0])

    def spread(self) -> Float[Array, " A"]:
        """Of the proposal."""
        return self.proposal.spread()

    def random_mode(self, key: PRNGKeyArray) -> Plan:
        """One of the plans, each as often as it weighs."""
        return self.sample(key, 1)[0]

    def shift(self, initial: "Particles", how: Shifting) -> "Particles":
        """Proposal and plans later; `how` decides the last actions of a plan."""
        proposal = self.proposal
        if isinstance(proposal, Sequential):
            proposal = proposal.shift(initial.proposal, how)
        return dataclasses.replace(self, proposal=proposal, plans=how.plans(self.plans, initial.plans[0]))

    def entropy(self) -> None:
        """Particles have no density."""
        return None

    def kl(self, other: "Particles") -> None:
        """Particles have no density."""
        return None

    def _heaviest_path(self, weights: Float[Array, " K"]) -> Int[Array, " H"]:
        """The plan that takes the heaviest branch at each step of the tree that the plans make."""

        def branch(weights: Float[Array, " K"], actions: Int[Array, " K"]) -> tuple[Array, Array]:
            heaviest = jnp.argmax(jnp.zeros(self.num_actions).at[actions].add(weights)).astype(actions.dtype)
            return jnp.where(actions == heaviest, weights, 0.0), heaviest

        return jax.lax.scan(branch, weights, self.plans.T)[1]

    def _groups(self) -> tuple[Num[Array, "K *a"], Int[Array, " K"]]:
        """The distinct first actions, padded to K, and which of them each plan has."""
        first = self.plans[:, 0]
        actions, group = jnp.unique(first, axis=0, return_inverse=True, size=len(first), fill_value=0)
        return actions, group.reshape(-1)


def check_sequential(belief: Any) -> Any:
    """Return a belief whose plans can be drawn step by step, or raise a `ValueError`."""
    if isinstance(belief, Sequential):
        return belief
    more = " (dynamics.action_repeat holds actions instead)" if isinstance(belief, Splined) else ""
    kind = type(belief).__name__
    raise ValueError(f"a resampler needs a belief whose plans can be drawn step by step, got {kind}{more}")


@pytree
class ParticlesFamily:
    """Particles without a shape. Make one with `particles`, whose arguments the attributes are."""

    proposal: Any
    num_samples: int = static()

    def bind(self, horizon: int, space: ActionSpace) -> Particles:
        """Equally weighted particles at the mode of the proposal, or at 0 where a policy proposes."""
        proposal, mean = self.proposal, space.zeros(horizon)
        if isinstance(proposal, Family):
            proposal = proposal.bind(horizon, space)
            check_sequential(proposal)
        if isinstance(proposal, Sequential):
            mean = proposal.mode()
        if mean.shape != (horizon, *space.shape):
            raise ValueError(f"proposal must be over plans of shape {(horizon, *space.shape)}, got {mean.shape}")
        number = self.num_samples
        return Particles(
            proposal,
            jnp.broadcast_to(mean, (number, *mean.shape)),
            jnp.full(number, -math.log(number), float),
            jnp.zeros(()),
            jnp.array(True),
            space.num if isinstance(space, Discrete) else None,
        )


def particles(proposal: Any, num_samples: int) -> ParticlesFamily:
    """Make the family of particles.

    Args:
        proposal: the family that they are drawn from (`gaussian`, `full_gaussian`, `kronecker_gaussian`, `mixture`
            or `categorical`), or a policy: a pytree with `sample(key, state) -> action [A]` and `log_prob(state,
            action)`, a density on the scale of plans.
        num_samples: the number K of particles.

    Returns:
        The family.

    Raises:
        ValueError: for a proposal that is neither, or a parameter outside its range.
    """
    fits = isinstance(proposal, Family | Sequential) or (
        isinstance(proposal, Policy) and not isinstance(proposal, Belief)
    )
    if isinstance(proposal, type) or not fits:
        kind = proposal.__name__ if isinstance(proposal, type) else type(proposal).__name__
        raise ValueError(
            "proposal must be a family whose plans can be drawn step by step, or a policy with sample(key, state) "
            f"and log_prob(state, action), got {kind}"
        )
    return ParticlesFamily(check_part("proposal", proposal), integer("num_samples", num_samples, 2))
