"""Particles: weighted plans, and what proposes the next ones."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...dynamics.base import integer, pytree
from ..base import Belief, Centered, Plan, Plans, Policy, Sequential, check_part, update
from ..warm_start import Shifting
from .categorical import Categorical, nearest
from .moments import average


@pytree
class Particles:
    """q(a) = Σ_k w_k δ(a − a_k). Make one with `particles`.

    Attributes:
        proposal: the belief that plans are drawn from, which is fitted to those that survive; or a policy, which
            stays as it is.
        plans: [K, H, A].
        log_weights: normalised, [K].
        inverse_temperature: 1/λ that they have reached, a scalar, in 1/reward units; 0 at first.
    """

    proposal: Any
    plans: Plans
    log_weights: Float[Array, " K"]
    inverse_temperature: Float[Array, ""]

    @property
    def mean(self) -> Plan:
        """The weighted mean, [H, A]; between the modes, where there are several."""
        return average(jnp.exp(self.log_weights), self.plans)

    def covariance(self) -> Float[Array, "d d"]:
        """The weighted covariance of the flattened plans, [H·A, H·A]."""
        flat = (self.plans - self.mean).reshape(len(self.plans), -1)
        return jnp.einsum("k,ki,kj->ij", jnp.exp(self.log_weights), flat, flat, precision="highest")

    def roots(self) -> tuple[Float[Array, "K A"], Float[Array, " K"]]:
        """The distinct first actions and the weight of each, padded with zeros to K: an estimate of p(a₀ | s₀, O)."""
        actions, group = self._groups()
        return actions, jnp.zeros(len(self.plans)).at[group].add(jnp.exp(self.log_weights))

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A] of those that there are."""
        return self.plans[jax.random.categorical(key, self.log_weights, shape=(num_samples,))]

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q of each plan: of the weight of those that it equals, −inf for others."""

        def one(plan: Plan) -> Float[Array, ""]:
            return jax.nn.logsumexp(jnp.where((self.plans == plan).all((-2, -1)), self.log_weights, -jnp.inf))

        return jax.lax.map(one, plans)

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "Particles":
        """These plans and weights; the proposal is fitted to them."""
        return self.update(plans, weights, jnp.where(weights > 0, weights, -jnp.inf))

    def update(self, plans: Plans, weights: Float[Array, " K"], returns: Float[Array, " K"]) -> "Particles":
        """These plans and weights; the proposal is fitted to them."""
        proposal = self.proposal
        if isinstance(proposal, Sequential):
            proposal = update(proposal, plans, weights, returns)
        log_weights = jnp.log(jnp.maximum(weights, jnp.finfo(weights.dtype).tiny))
        return dataclasses.replace(self, proposal=proposal, plans=plans, log_weights=log_weights)

    def mode(self) -> Plan:
        """The mean of the plans that share the first action of the greatest weight, which it begins with.

        Discrete actions have no mean: of those that a `Categorical` proposes each step takes the heaviest, among the
        plans that agree on the steps before.
        """
        weights = jnp.exp(self.log_weights)
        if isinstance(self.proposal, Categorical):
            return self._heaviest_path(self.proposal.actions, weights)
        actions, group = self._groups()
        heaviest = jnp.argmax(jnp.zeros(len(self.plans)).at[group].add(weights))
        chosen = jnp.where(group == heaviest, weights, 0.0)
        # a mean of equal actions is one of them but for rounding, which is no action of a policy over discrete ones
        return average(chosen / chosen.sum(), self.plans).at[0].set(actions[heaviest])

    def map_centers(self, function: Callable[[Float[Array, "*M H A"]], Float[Array, "*M H A"]]) -> "Particles":
        """The same with a proposal around other centres; the plans, which were drawn, stay."""
        if not isinstance(self.proposal, Centered):
            return self
        return dataclasses.replace(self, proposal=self.proposal.map_centers(function))

    def spread(self) -> Float[Array, " A"]:
        """Of the proposal."""
        return self.proposal.spread()

    def random_mode(self, key: PRNGKeyArray) -> Plan:
        """One of the plans, each as often as it weighs."""
        return self.sample(key, 1)[0]

    def shift(self, initial: "Particles", how: Shifting) -> "Particles":
        """Proposal and plans one step later; what a plan ends with is as `how` says."""
        proposal = self.proposal
        if isinstance(proposal, Sequential):
            proposal = proposal.shift(initial.proposal, how)
        return dataclasses.replace(self, proposal=proposal, plans=how.plans(self.plans, initial.mean))

    def entropy(self) -> None:
        """Particles have no density."""
        return None

    def kl(self, other: "Particles") -> None:
        """Particles have no density."""
        return None

    def _heaviest_path(self, actions: Float[Array, "C A"], weights: Float[Array, " K"]) -> Plan:
        """The plan that takes the heaviest branch at each step of the tree that the plans make."""

        def branch(weights: Float[Array, " K"], choices: Int[Array, " K"]) -> tuple[Array, Array]:
            heaviest = jnp.argmax(jnp.zeros(len(actions)).at[choices].add(weights))
            return jnp.where(choices == heaviest, weights, 0.0), heaviest

        return actions[jax.lax.scan(branch, weights, nearest(actions, self.plans).T)[1]]

    def _groups(self) -> tuple[Float[Array, "K A"], Int[Array, " K"]]:
        """The distinct first actions, padded to K, and which of them each plan has."""
        first = self.plans[:, 0]
        actions, group = jnp.unique(first, axis=0, return_inverse=True, size=len(first), fill_value=0.0)
        return actions, group.reshape(-1)


def particles(proposal: Any, horizon: int, action_size: int, num_samples: int) -> Particles:
    """Make a belief of particles.

    Args:
        proposal: the belief over plans that they are drawn from (`gaussian`, `full_gaussian`, `kronecker_gaussian`,
            `mixture` or `categorical`), or a policy: a pytree with `sample(key, state) -> action [A]` and
            `log_prob(state, action)`, a density on the scale of plans.
        horizon: the number H of steps.
        action_size: the number A of actuators.
        num_samples: the number K of particles.

    Returns:
        The belief.

    Raises:
        ValueError: for a proposal that is neither, or a parameter outside its range.
    """
    shape = (integer("num_samples", num_samples, 2), integer("horizon", horizon), integer("action_size", action_size))
    mean = jnp.zeros(shape[1:])
    if isinstance(proposal, Sequential):
        mean = proposal.mode()
        if mean.shape != shape[1:]:
            raise ValueError(f"proposal must be over plans of shape [H, A] = {shape[1:]}, got {mean.shape}")
    elif isinstance(proposal, Belief | type) or not isinstance(proposal, Policy):
        told = proposal.__name__ if isinstance(proposal, type) else type(proposal).__name__
        raise ValueError(
            "proposal must be a belief whose plans can be drawn step by step, or a policy with sample(key, state) "
            f"and log_prob(state, action), got {told}"
        )
    return Particles(
        check_part("proposal", proposal),
        jnp.broadcast_to(mean, shape),
        jnp.full(shape[0], -math.log(shape[0]), float),
        jnp.zeros(()),
    )
