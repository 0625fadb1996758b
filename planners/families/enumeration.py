"""All plans of discrete actions, each with its own probability: exact inference where they are few."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from ...dynamics.base import integer, pytree, static
from ..base import Plan, Plans, Proposal
from ..warm_start import Shifting
from .categorical import action_table, nearest

_GREATEST = 2**16


@pytree
class Enumeration:
    """q(a) as a table over all C^H plans. Make one with `enumeration`.

    It proposes every plan once, whatever their probabilities, so that nothing is left to chance: an iteration is the
    mirror-descent step itself, q⁺ ∝ q^(1−κ) (p W)^κ, and the evidence is the sum over all plans.

    Attributes:
        actions: the list to choose from, [C, A].
        log_probs: [C^H], in the order of counting with the first action as the leading digit.
        horizon: the number H of steps.
    """

    actions: Float[Array, "C A"]
    log_probs: Float[Array, " N"]
    horizon: int = static()

    def propose(self, key: PRNGKeyArray, num_samples: int) -> Proposal:
        """All plans, in order; `num_samples` must be their number."""
        if num_samples != len(self.log_probs):
            raise ValueError(f"num_samples must be the number {len(self.log_probs)} of all plans, got {num_samples}")
        correction = self.log_probs + jnp.log(len(self.log_probs))  # log q − log (1/N)
        return Proposal(self.actions[self._digits()], self, correction)

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A]."""
        return self.actions[self._digits()[jax.random.categorical(key, self.log_probs, shape=(num_samples,))]]

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q of each plan, whose actions are taken for the nearest ones on the list."""
        place = len(self.actions) ** jnp.arange(self.horizon)[::-1]
        return self.log_probs[(nearest(self.actions, plans) * place).sum(-1)]

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "Enumeration":
        """The weights, which are probabilities of all plans."""
        return dataclasses.replace(self, log_probs=jnp.log(jnp.maximum(weights, jnp.finfo(weights.dtype).tiny)))

    def mode(self) -> Plan:
        """The most probable plan."""
        return self.actions[self._digits()[jnp.argmax(self.log_probs)]]

    def random_mode(self, key: PRNGKeyArray) -> Plan:
        """A plan, each as often as it is probable."""
        return self.sample(key, 1)[0]

    def shift(self, initial: "Enumeration", how: Shifting) -> "Enumeration":
        """What is left of q when its first action is marginalised out; the new last action is as `initial` has it."""
        num_actions = len(self.actions)
        rest = jax.nn.logsumexp(self.log_probs.reshape(num_actions, -1), axis=0)
        last = jax.nn.logsumexp(initial.log_probs.reshape(-1, num_actions), axis=0)
        return dataclasses.replace(initial, log_probs=(rest[:, None] + last).reshape(-1))

    def entropy(self) -> Float[Array, ""]:
        """−E log q, nats."""
        return -(jnp.exp(self.log_probs) * self.log_probs).sum()

    def kl(self, other: "Enumeration") -> Float[Array, ""]:
        """KL(self ‖ other), nats."""
        return (jnp.exp(self.log_probs) * (self.log_probs - other.log_probs)).sum()

    def _digits(self) -> Any:
        """Which action each plan takes at each step, [C^H, H]."""
        num_actions = len(self.actions)
        return jnp.arange(len(self.log_probs))[:, None] // num_actions ** jnp.arange(self.horizon)[::-1] % num_actions


def enumeration(horizon: int, actions: Any) -> Enumeration:
    """Make a belief over all plans of discrete actions, uniform at first; plan with `num_samples` = C^H.

    Args:
        horizon: the number H of steps.
        actions: the list to choose from, [C, A]; 1 is the end of the actuators' range.

    Returns:
        The belief.

    Raises:
        ValueError: for a parameter outside its range, or more than 65 536 plans.
    """
    table, horizon = action_table(actions), integer("horizon", horizon)
    num_plans = len(table) ** horizon
    if num_plans > _GREATEST:
        raise ValueError(
            f"enumeration needs at most {_GREATEST} plans, got {len(table)} actions over {horizon} steps, {num_plans}"
        )
    return Enumeration(table, jnp.full(num_plans, -math.log(num_plans), float), horizon)
