"""Sequential Monte Carlo as an evaluator of the loop: plans that are resampled on the way."""

import dataclasses
import functools
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key

from ...dynamics.base import Model, State
from ...dynamics.pytrees import pytree
from ...dynamics.spaces import ActionSpace, action_space
from ..beliefs.protocol import Sequential
from ..rollouts.settings import RolloutSettings
from ..sampling.evaluation import Evaluation
from ..sampling.incumbent import Incumbent
from ..sampling.priors import Prior, ShrunkPrior, bind_prior, rebind_prior
from ..sampling.regrets import regrets
from .belief import Particles, check_sequential
from .filter import run_filter
from .resampling import Resampler
from .tempering import Tempering
from .weights import diagnose, kept, reweigh


@pytree
class ParticleFilter:
    """Plans that survive resampling at the temperature reached, weighed on to the next one.

    Attributes:
        likelihood: exp(R/λ) at temperatures that are reached from iteration to iteration.
        prior: p; None for the proposal itself.
        resampler: when and how to resample, and the look-ahead.
        rollouts: how plans are rolled out.
    """

    likelihood: Tempering
    prior: Any
    resampler: Resampler
    rollouts: RolloutSettings

    def bind(self, belief: Any, space: ActionSpace, num_samples: int | tuple[int, ...]) -> Prior | None:
        """See `Evaluator`."""
        if not isinstance(belief, Particles):
            check_sequential(belief)
        if isinstance(belief, Particles) and len(belief.plans) != num_samples:
            raise ValueError(f"num_samples must be the number of particles {len(belief.plans)}, got {num_samples}")
        if isinstance(self.prior, ShrunkPrior) and not isinstance(_proposal(belief), Sequential):
            raise ValueError("a prior around the present mean needs a proposal that has one, got a policy")
        return bind_prior(self.prior, belief, space)

    def start(self, belief: Any) -> Float[Array, ""]:
        """1/λ at which the first iteration resamples."""
        return self.likelihood.start(belief.inverse_temperature if isinstance(belief, Particles) else None)

    def __call__(
        self,
        model: Model,
        keys: Key[Array, "2"],
        state: State,
        search: Incumbent,
        memory: Float[Array, ""],
        *,
        num_samples: int,
        last: Bool[Array, ""],
    ) -> Evaluation:
        """See `Evaluator`; what is remembered is 1/λ."""
        before, inverse = search.belief, memory
        prior = rebind_prior(self.prior, search.initial.prior, before, action_space(model))
        weighted = run_filter(
            model,
            keys,
            state,
            _proposal(before),
            (num_samples, len(before.mode())),
            resampler=self.resampler,
            inverse_temperature=inverse,
            prior=prior,
            multiplier=search.multiplier,
            num_scenarios=self.rollouts.num_scenarios,
            common_noise=self.rollouts.common_noise,
            risk=self.rollouts.risk,
            chunk_size=self.rollouts.chunk_size,
            sharding=self.rollouts.sharding,
        )
        weighted, multiplier = kept(weighted, search.multiplier)
        valid = weighted.log_weights > -jnp.inf
        returns = jnp.where(valid, weighted.returns, -jnp.inf)
        reached = self.likelihood.cool(inverse, weighted.log_weights, weighted.returns, weighted.log_evidence, last)
        reached = jnp.where(valid.any(), reached, inverse)
        reweighted = reweigh(weighted, inverse, reached)
        weights = jnp.exp(reweighted.normalized.log_weights)
        dead = reweighted.normalized.degenerate
        compared = regrets(weighted.returns, valid)
        # equal returns carry no information: do not drift with the noise of the samples
        uninformative = dead if self.prior is not None else dead | compared.all_equal
        belief, degenerate = before, uninformative
        if isinstance(before, Particles):  # whose plans are new in any case
            belief = dataclasses.replace(before, inverse_temperature=reached, informative=~uninformative)
            degenerate = dead
        return Evaluation(
            belief=belief,
            plans=weighted.plans,
            weights=weights,
            returns=returns,
            residual=None,
            relative=returns,
            degenerate=degenerate,
            memory=reached,
            diagnose=functools.partial(diagnose, weighted, reweighted, weights, uninformative, compared),
            violation=weighted.violation,
            shown=weights,
            multiplier=multiplier,
        )


def _proposal(belief: Any) -> Any:
    return belief.proposal if isinstance(belief, Particles) else belief


def check_resampled(sizes: int | tuple[int, ...], **given: bool) -> None:
    """Raise a `ValueError` for options that have no meaning where plans are resampled during the rollout."""
    if not isinstance(sizes, int):
        raise ValueError(f"num_samples must be one number where plans are resampled, got {sizes}")
    for name, value in given.items():
        if value:
            raise ValueError(f"{name} has no meaning where plans are resampled")
