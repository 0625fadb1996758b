"""Slopes of plans: derivatives of what they are worth, through the model."""

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Bool, Float, Key

from ..dynamics.base import Model, State, integer, pytree, real, static
from .base import Plans, check_per_plan
from .priors import FixedPrior, FlatPrior, PolicyPrior, check_prior
from .risk import Risk, as_risk
from .rollout import Scores, check_sharding, score


class Slopes(NamedTuple):
    """What plans are worth, and where that rises.

    Attributes:
        returns: as the rollout gave them, [K], reward units.
        worth: R + λ log p, [K]; −∞ where that is no number.
        gradients: of the worth, [K, H, A]; 0 where they are not valid.
        valid: whose worth and gradient are numbers, [K].
    """

    returns: Float[Array, " K"]
    worth: Float[Array, " K"]
    gradients: Plans
    valid: Bool[Array, " K"]


@pytree
class Target:
    """What plans are worth, R + λ log p: λ times the log of the posterior's density, up to a constant.

    Attributes:
        temperature: λ, in reward units; None to climb the return alone.
        prior: p, or None.
        risk: what a plan's returns in several scenarios are worth together; None for their mean.
        num_scenarios: in how many scenarios a plan is tried; None for as many as the model wants.
        chunk_size: how many rollouts to do at once; None chooses for the backend.
        sharding: how to spread plans over devices; None for one device.
    """

    temperature: Float[Array, ""] | None
    prior: FixedPrior | FlatPrior | PolicyPrior | None
    risk: Risk | None
    num_scenarios: int | None = static()
    chunk_size: int | None = static()
    sharding: NamedSharding | None = static()

    def worth(self, model: Model, key: Key[Array, ""], state: State, plans: Plans) -> Float[Array, " K"]:
        """What plans are worth under the scenarios of a key; −∞ where that is no number."""
        _, worth = self._worth(model, key, state, plans, differentiable=False)
        return jnp.where(jnp.isfinite(worth), worth, -jnp.inf)

    def slopes(self, model: Model, key: Key[Array, ""], state: State, plans: Plans) -> Slopes:
        """What plans are worth under the scenarios of a key, and its gradients, by reverse mode.

        Raises:
            ValueError: if the model cannot be differentiated so.
        """

        def total(plans: Plans) -> tuple[Float[Array, ""], tuple[Array, Array]]:
            returns, worth = self._worth(model, key, state, plans, differentiable=True)
            finite = jnp.isfinite(worth)
            return jnp.where(finite, worth, 0.0).sum(), (returns, jnp.where(finite, worth, -jnp.inf))

        with reverse_mode(model):  # plans do not meet: the gradient of the sum is that of each
            gradients, (returns, worth) = jax.grad(total, has_aux=True)(plans)
        valid = (worth > -jnp.inf) & jnp.isfinite((gradients**2).sum((1, 2)))  # of which no norm overflows
        return Slopes(returns, worth, jnp.where(valid[:, None, None], gradients, 0.0), valid)

    def _worth(
        self, model: Model, key: Key[Array, ""], state: State, plans: Plans, *, differentiable: bool
    ) -> tuple[Float[Array, " K"], Float[Array, " K"]]:
        scores = score(
            model,
            key,
            state,
            plans,
            num_scenarios=self.num_scenarios,
            risk=self.risk,
            policy=getattr(self.prior, "policy", None),
            differentiable=differentiable,
            chunk_size=self.chunk_size,
            sharding=self.sharding,
        )
        log_prior = self._log_prior(plans, scores)
        if self.temperature is None or log_prior is None:
            return scores.returns, scores.returns
        return scores.returns, scores.returns + self.temperature * log_prior

    def _log_prior(self, plans: Plans, scores: Scores) -> Float[Array, " K"] | None:
        if isinstance(self.prior, PolicyPrior):
            return scores.log_prob
        if isinstance(self.prior, FixedPrior):
            return check_per_plan("log_prob of the prior", self.prior.distribution.log_prob(plans), len(plans))
        return None


@contextlib.contextmanager
def reverse_mode(model: Model) -> Iterator[None]:
    """Where a model is differentiated in reverse mode: a `ValueError` says clearly that it cannot be."""
    try:
        yield
    except ValueError as error:
        if "everse-mode" not in str(error):
            raise
        raise ValueError(
            f"model must be differentiable in reverse mode, which a solver that iterates until it converges "
            f"is not: fix the number of its iterations, or use planners.ilqr, which goes forward, or what needs no "
            f"derivatives, gradient='score' of stein or iterative_policy; got {type(model).__name__}"
        ) from error


def target(
    temperature: Any,
    prior: Any,
    *,
    shape: tuple[int, int],
    risk: Any,
    num_scenarios: int | None,
    chunk_size: int | None,
    sharding: NamedSharding | None,
) -> Target:
    """Make what plans climb, over plans of shape [H, A]; see `planners.gradient` for the other arguments.

    Raises:
        ValueError: for a parameter outside its range, or a prior without a temperature.
    """
    if prior is not None and temperature is None:
        raise ValueError("prior needs a temperature, which says how much it counts, got None")
    checked = None if prior is None else check_prior(prior, shape)
    if not isinstance(checked, FixedPrior | FlatPrior | PolicyPrior | None):
        raise ValueError(f"prior must have a density of its own, log_prob(plans), got {type(checked).__name__}")
    return Target(
        temperature=None if temperature is None else real("temperature", temperature, above=0.0),
        prior=checked,
        risk=None if risk is None else as_risk(risk),
        num_scenarios=None if num_scenarios is None else integer("num_scenarios", num_scenarios),
        chunk_size=None if chunk_size is None else integer("rollout_chunk_size", chunk_size),
        sharding=check_sharding(sharding),
    )
