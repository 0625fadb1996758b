"""All plans of discrete actions, each with its own probability: exact inference where they are few."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace
from .categorical import num_actions
from .protocol import Proposal
from .warm_start import Shift, Shifting

_GREATEST = 2**16


@pytree
class Enumeration:
    """q(a) as a table over all C^H plans. Make one with `enumeration`.

    It proposes every plan once, whatever their probabilities, so that nothing is left to chance: an iteration is the
    mirror-descent step itself, q⁺ ∝ q^(1−κ) (p W)^κ, and the evidence is the sum over all plans.

    Attributes:
        log_probs: [C^H], in the order of counting with the first action as the leading digit.
        horizon: the number H of steps.
        num_actions: the number C of actions.
    """

    log_probs: Float[Array, " N"]
    horizon: int = static()
    num_actions: int = static()

    def propose(self, key: PRNGKeyArray, num_samples: int) -> Proposal:
        """All plans, in order, whatever `num_samples`."""
        correction = self.log_probs + jnp.log(len(self.log_probs))  # log q − log (1/N)
        return Proposal(self._plans(), self, correction)

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Int[Array, "K H"]:
        """Draw plans [K, H]."""
        return self._plans()[jax.random.categorical(key, self.log_probs, shape=(num_samples,))]

    def log_prob(self, plans: Int[Array, "K H"]) -> Float[Array, " K"]:
        """Log q of each plan."""
        return self.log_probs[(plans * self._places()).sum(-1)]

    def fit(self, plans: Int[Array, "K H"], weights: Float[Array, " K"]) -> "Enumeration":
        """The weights, which are probabilities of all plans."""
        return dataclasses.replace(self, log_probs=jnp.log(jnp.maximum(weights, jnp.finfo(weights.dtype).tiny)))

    def mode(self) -> Int[Array, " H"]:
        """The most probable plan."""
        return self._plans()[jnp.argmax(self.log_probs)]

    def random_mode(self, key: PRNGKeyArray) -> Int[Array, " H"]:
        """A plan, each as often as it is probable."""
        return self.sample(key, 1)[0]

    def shift(self, initial: "Enumeration", how: Shifting) -> "Enumeration":
        """The marginal of q without its first actions; new last actions are as `initial` has them.

        Between two whole numbers of steps it is a mixture of both.
        """

        def log_probs_after(number: int) -> Float[Array, " N"]:
            kept = self.num_actions ** (self.horizon - min(number, self.horizon))
            rest = jax.nn.logsumexp(self.log_probs.reshape(-1, kept), axis=0)
            last = jax.nn.logsumexp(initial.log_probs.reshape(kept, -1), axis=0)
            return (rest[:, None] + last).reshape(-1)

        def after(number: Any) -> Float[Array, " N"]:
            if isinstance(number, int):
                return log_probs_after(number)
            tables = [functools.partial(log_probs_after, n) for n in range(self.horizon + 1)]
            return jax.lax.switch(number, tables)

        if not isinstance(how, Shift) or how.fraction is None:
            return dataclasses.replace(initial, log_probs=after(how.num_new))
        probs = how.between(lambda number: jnp.exp(after(number)))
        return dataclasses.replace(initial, log_probs=jnp.log(jnp.maximum(probs, jnp.finfo(probs.dtype).tiny)))

    def entropy(self) -> Float[Array, ""]:
        """−E log q, nats."""
        return -(jnp.exp(self.log_probs) * self.log_probs).sum()

    def kl(self, other: "Enumeration") -> Float[Array, ""]:
        """KL(self ‖ other), nats."""
        return (jnp.exp(self.log_probs) * (self.log_probs - other.log_probs)).sum()

    def _plans(self) -> Int[Array, "N H"]:
        """All plans."""
        return jnp.arange(len(self.log_probs), dtype=jnp.int32)[:, None] // self._places() % self.num_actions

    def _places(self) -> Int[Array, " H"]:
        return self.num_actions ** jnp.arange(self.horizon, dtype=jnp.int32)[::-1]


@pytree
class EnumerationFamily:
    """Tables over all plans without a shape. Make one with `enumeration`."""

    def bind(self, horizon: int, space: ActionSpace) -> Enumeration:
        """The uniform belief over all plans of `horizon` steps.

        Raises:
            ValueError: if there are more than 65 536.
        """
        number = num_actions("an enumeration", space)
        num_plans = number**horizon
        if num_plans > _GREATEST:
            raise ValueError(
                f"enumeration needs at most {_GREATEST} plans, got {number} actions over {horizon} steps, {num_plans}"
            )
        return Enumeration(jnp.full(num_plans, -math.log(num_plans), float), horizon, number)


def enumeration() -> EnumerationFamily:
    """Make the family of tables over all plans of discrete actions, uniform at first.

    Returns:
        The family, which evaluates all C^H plans in each iteration, whatever the planner's `num_samples`.
    """
    return EnumerationFamily()
