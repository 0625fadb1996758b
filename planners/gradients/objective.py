"""The objective of plans, R + λ log p, and its derivatives through the model."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ...dynamics.base import Model, State
from ...dynamics.pytrees import pytree
from ...dynamics.spaces import ActionSpace
from ..beliefs.protocol import Plans
from ..checks import check_per_plan
from ..options import checked
from ..rollouts.rollout import Scores
from ..rollouts.settings import RolloutSettings, rollout_settings
from ..sampling.priors import FixedPrior, FlatPrior, PolicyPrior, as_prior, bind_prior, policy_of, rebind_prior
from ..sampling.scales import better_spread


class Slopes(NamedTuple):
    """The objective of plans, and its gradients.

    Attributes:
        returns: as the rollout gave them, [K], reward units.
        objective: R + λ log p, [K]; −∞ where that is no number.
        gradients: of the objective, [K, H, A]; 0 where they are not valid.
        valid: whose objective and gradient are numbers, [K].
    """

    returns: Float[Array, " K"]
    objective: Float[Array, " K"]
    gradients: Plans
    valid: Bool[Array, " K"]

    @property
    def num_invalid_gradients(self) -> Int[Array, ""]:
        """How many have an objective, but no gradient."""
        return ((self.objective > -jnp.inf) & ~self.valid).sum()


def flat(returns: Float[Array, " K"], plans: Float[Array, "S H A"]) -> Float[Array, ""]:
    """1 where the returns of plans that differ are all the same, else 0: slopes do not rest on their differences.

    Args:
        returns: of the plans, or of others that were drawn around them.
        plans: that move.
    """
    differ = (plans != plans[0]).any() if len(plans) == len(returns) else jnp.array(True)
    return ((returns.max() == returns.min()) & differ).astype(returns.dtype)


@pytree
class Target:
    """R + λ log p of plans: λ times the log of the posterior's density, up to a constant.

    Attributes:
        temperature: λ, in reward units; None to climb the return alone, or until it is `measured`.
        prior: p, or None.
        rollouts: how plans are rolled out.
        relative: λ in spreads of returns, a scalar; None where it is given in reward units, or not at all.
        unit: that spread, once it is `measured`, in which gradients are taken; None for reward units.
    """

    temperature: Float[Array, ""] | None
    prior: Any
    rollouts: RolloutSettings
    relative: Float[Array, ""] | None = None
    unit: Float[Array, ""] | None = None

    def measured(self, model: Model, key: Key[Array, ""], state: State, plans: Plans) -> "Target":
        """The same with a temperature in reward units, from the spread of the better of these plans' returns."""
        if self.relative is None:
            return self
        returns = self.rollouts.score(model, key, state, plans).returns
        unit = jax.lax.stop_gradient(better_spread(returns, jnp.isfinite(returns)))
        return dataclasses.replace(self, temperature=self.relative * unit, unit=unit)

    def bound(self, belief: Any, space: ActionSpace) -> "Target":
        """The same for the plans of a belief, without what it locks.

        Raises:
            ValueError: if the prior is over others.
        """
        bound = bind_prior(self.prior, belief, space)
        return dataclasses.replace(self, prior=rebind_prior(self.prior, bound, belief, space))

    def evaluate(self, model: Model, key: Key[Array, ""], state: State, plans: Plans) -> Float[Array, " K"]:
        """The objective of plans under the scenarios of a key; −∞ where it is no number."""
        _, objective = self._evaluate(model, key, state, plans, differentiable=False)
        return jnp.where(jnp.isfinite(objective), objective, -jnp.inf)

    def slopes(self, model: Model, key: Key[Array, ""], state: State, plans: Plans) -> Slopes:
        """The objective of plans under the scenarios of a key, and its gradients, by reverse mode.

        Raises:
            ValueError: if the model cannot be differentiated so.
        """

        def total(plans: Plans) -> tuple[Float[Array, ""], tuple[Array, Array]]:
            returns, objective = self._evaluate(model, key, state, plans, differentiable=True)
            finite = jnp.isfinite(objective)
            return jnp.where(finite, objective, 0.0).sum(), (returns, jnp.where(finite, objective, -jnp.inf))

        with reverse_mode(model):  # plans do not meet: the gradient of the sum is that of each
            gradients, (returns, objective) = jax.grad(total, has_aux=True)(plans)
        valid = (objective > -jnp.inf) & jnp.isfinite((gradients**2).sum((1, 2)))  # of which no norm overflows
        return Slopes(returns, objective, jnp.where(valid[:, None, None], gradients, 0.0), valid)

    def _evaluate(
        self, model: Model, key: Key[Array, ""], state: State, plans: Plans, *, differentiable: bool
    ) -> tuple[Float[Array, " K"], Float[Array, " K"]]:
        policy = policy_of(self.prior)
        scores = self.rollouts.score(model, key, state, plans, policy=policy, differentiable=differentiable)
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
    """Around reverse-mode differentiation of a model: a clear `ValueError` if that is impossible."""
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


def target(temperature: Any, prior: Any, *, relative: float | None = None, **rollouts: Any) -> Target:
    """Make what plans climb; see `planners.gradient` for the arguments.

    Args:
        temperature: λ, in reward units.
        prior: p.
        relative: the temperature in spreads of returns, where it is not given; None for none.
        **rollouts: see `rollout_settings`.

    Raises:
        ValueError: for a parameter outside its range, or a prior without a temperature.
    """
    if prior is not None and temperature is None and relative is None:
        raise ValueError("prior needs a temperature, which weighs it, got None")
    known = None if prior is None else as_prior(prior)
    if not isinstance(known, FixedPrior | FlatPrior | PolicyPrior | None):
        raise ValueError(f"prior must have a density of its own, log_prob(plans), got {type(known).__name__}")
    return Target(
        temperature=checked("temperature", temperature),
        prior=known,
        rollouts=rollout_settings(**rollouts),
        relative=None if temperature is not None or relative is None else jnp.asarray(relative, float),
    )
