"""The evidence bound of a Gaussian posterior, climbed by gradients through the model."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding
from jaxtyping import Array, Float, Key

from ..dynamics.base import Model, State, boolean, integer, pytree, static
from .ascent import Climb, GradientPlanner
from .families import FullGaussian, Gaussian, full_gaussian, gaussian
from .optimizers import optimizer as make_optimizer
from .pathwise import Target, target
from .warm_start import optional_shift


@pytree
class ElboAscent:
    """A Gaussian climbs ELBO(q) = E_q[R/λ + log p − log q] along plans a = μ + L ε (Kingma & Welling, 2014).

    Attributes:
        target: λ times log of what the posterior is proportional to.
        belief: whose family it is.
        num_samples: the number K of plans that estimate the gradient.
        antithetic: whether noise comes in pairs ε, −ε, which makes the gradient of the mean exact where returns are
            quadratic.
        stick: whether log q is differentiated along plans only, and not by its own parameters, whose part is zero on
            average: no variance is left where q is the posterior (Roeder et al., 2017).
    """

    target: Target
    belief: Gaussian | FullGaussian
    num_samples: int = static()
    antithetic: bool = static()
    stick: bool = static()

    def parameters(self, key: Key[Array, ""], belief: Gaussian | FullGaussian) -> tuple[Array, Array]:
        """The mean, and L with the logarithm of its diagonal, each with a leading axis of length 1."""
        if isinstance(belief, Gaussian):
            return belief.mean[None], jnp.log(belief.std)[None]
        tril = belief.scale_tril
        return belief.mean[None], (jnp.tril(tril, -1) + jnp.diag(jnp.log(jnp.diagonal(tril))))[None]

    def climb(
        self, model: Model, noise: Key[Array, ""], key: Key[Array, ""], state: State, parameters: tuple[Array, Array]
    ) -> Climb:
        """An estimate of λ ELBO, and of its slope."""
        temperature, belief = jnp.asarray(self.target.temperature), self._of(parameters)
        if self.antithetic:
            half = belief.noise(key, self.num_samples // 2)
            epsilon = jnp.concatenate([half, -half])
        else:
            epsilon = belief.noise(key, self.num_samples)
        plans, pull_back = jax.vjp(lambda parameters: self._of(parameters).from_noise(epsilon), parameters)
        slopes = self.target.slopes(model, noise, state, plans)
        uphill = slopes.gradients
        if self.stick:  # d/da (R + λ log p − λ log q) for a fixed q
            uphill -= temperature * jax.grad(lambda plans: belief.log_prob(plans).sum())(plans)
        counted = jnp.maximum(slopes.valid.sum(), 1)
        uphill = jnp.where(slopes.valid[:, None, None], uphill, 0.0) / counted
        (gradients,) = pull_back(uphill)
        if not self.stick:  # the entropy is known
            surprise = jax.grad(lambda parameters: self._of(parameters).entropy())(parameters)
            gradients = jax.tree.map(lambda pathwise, own: pathwise + temperature * own, gradients, surprise)
        bound = slopes.worth - temperature * belief.log_prob(plans)
        bound = jnp.where(slopes.valid, bound, 0.0).sum() / counted
        valid = slopes.valid.any()[None]
        worth = jnp.where(valid, bound, -jnp.inf)
        return Climb(worth, gradients, valid, slopes.returns, (~slopes.valid).sum(), worth[0] / temperature)

    def worth(self, model: Model, noise: Key[Array, ""], state: State, parameters: Any) -> None:
        """Estimates do not tell which parameters were best."""
        return None

    def bounded(self, parameters: tuple[Array, Array]) -> tuple[Array, Array]:
        """No standard deviation, and no entry on L's diagonal, below the floor."""
        mean, scale = parameters
        floor = jnp.log(self.belief.std_min)
        if isinstance(self.belief, Gaussian):
            return mean, jnp.maximum(scale, floor)
        diagonal = jnp.eye(scale.shape[-1], dtype=bool)
        return mean, jnp.where(diagonal, jnp.maximum(scale, floor), jnp.tril(scale, -1))

    def believe(self, belief: Any, parameters: tuple[Array, Array], worth: Float[Array, "1"]) -> Any:
        """The Gaussian that has these parameters."""
        return self._of(parameters)

    def _of(self, parameters: tuple[Array, Array]) -> Any:
        mean, scale = parameters[0][0], parameters[1][0]
        if isinstance(self.belief, Gaussian):
            return dataclasses.replace(self.belief, mean=mean, std=jnp.exp(scale))
        tril = jnp.tril(scale, -1) + jnp.diag(jnp.exp(jnp.diagonal(scale)))
        return dataclasses.replace(self.belief, mean=mean, scale_tril=tril)


def elbo_gradient(
    horizon: int,
    action_size: int,
    *,
    num_samples: int = 32,
    num_iterations: int = 100,
    mean: Any = 0.0,
    std: Any = 0.5,
    std_min: Any = 0.001,
    covariance: str = "diagonal",
    temperature: Any = 1.0,
    prior: Any = None,
    antithetic: bool = True,
    stick: bool = True,
    optimizer: Any = "adam",
    learning_rate: Any = 0.05,
    max_norm: Any = None,
    num_scenarios: int | None = None,
    risk: Any = None,
    execute: str = "mode",
    warm_start: bool = True,
    tail: str = "hold",
    inflation: Any = None,
    rollout_chunk_size: int | None = None,
    sharding: NamedSharding | None = None,
) -> GradientPlanner:
    """Variational inference by pathwise gradients: a Gaussian posterior over plans climbs its own evidence bound.

    What `vi_mpc` finds by weighing plans this finds by differentiating them, on the same model and in the same
    family: with a full covariance the posterior where that is Gaussian; with a diagonal one the variances 1/Λᵢᵢ of
    its precision Λ, the greatest bound, where `vi_mpc` at κ = 1 ends at marginal variances.

    Args:
        horizon: the number H of steps.
        action_size: the number A of actuators.
        num_samples: the number K of plans per step, at least 2; even if antithetic.
        num_iterations: the number I of steps.
        mean: of the belief at the start, scalar, [A] or [H, A]; 1 is the end of the actuators' range.
        std: of the belief at the start, scalar, [A] or [H, A].
        std_min: the floor of the learnt std (of a full covariance, that of each action given those before), > 0.
        covariance: "diagonal" or "full".
        temperature: λ of the posterior, in reward units.
        prior: p: an object with `log_prob(plans [K, H, A]) -> [K]`, a pytree, or `planners.policy_prior`; None for a
            flat one.
        antithetic: whether noise comes in pairs ε, −ε, which makes the gradient of the mean exact where returns are
            quadratic.
        stick: whether log q is differentiated along plans only: the gradient then has no variance where the belief is
            the posterior (Roeder et al., 2017, "sticking the landing").
        optimizer: the name of one in optax, or what makes one of a learning rate; see `planners.optimizer`.
        learning_rate: of the optimiser, > 0.
        max_norm: the norm to which a longer gradient is shortened; None for no limit.
        num_scenarios: in how many scenarios a plan is tried; None (the default) for as many as the model wants.
        risk: what a plan's returns in several scenarios are worth together; None for their mean.
        execute: "mode" executes the mean, "sample" a sample of the belief.
        warm_start: whether planning at the next time step starts from this one's belief, shifted.
        tail: the action that a warm start appends: "hold" repeats the last, "zero", or "initial".
        inflation: the factor >= 1 by which a warm start widens the variances that it carries on; None starts from the
            initial ones again.
        rollout_chunk_size: how many rollouts to do at once; None chooses for the backend.
        sharding: how to spread plans over devices, by a mesh axis named first in its spec; None for one device.

    Returns:
        The planner.

    Raises:
        ValueError: for a parameter outside its range.
    """
    makers: dict[str, Callable[..., Any]] = {"diagonal": gaussian, "full": full_gaussian}
    if covariance not in makers:
        raise ValueError(f"covariance must be one of {', '.join(makers)}, got {covariance!r}")
    number, antithetic = integer("num_samples", num_samples, 2), boolean("antithetic", antithetic)
    if antithetic and number % 2:
        raise ValueError(f"num_samples must be even where noise comes in pairs, got {num_samples!r}")
    if temperature is None:
        raise ValueError("temperature must be a number: the evidence bound is that of a posterior, got None")
    if execute not in ("mode", "sample"):
        raise ValueError(f"execute must be one of mode, sample, got {execute!r}")
    climbed = target(
        temperature,
        prior,
        risk=risk,
        num_scenarios=num_scenarios,
        chunk_size=rollout_chunk_size,
        sharding=sharding,
    )
    belief = makers[covariance](horizon, action_size, mean=mean, std=std, std_min=std_min)
    return GradientPlanner(
        belief=belief,
        objective=ElboAscent(climbed, belief, number, antithetic, boolean("stick", stick)),
        optimizer=make_optimizer(optimizer, learning_rate=learning_rate, max_norm=max_norm),
        temperature=climbed.temperature,
        warm_start=optional_shift(horizon, warm_start, tail, inflation),
        num_iterations=integer("num_iterations", num_iterations),
        execute=execute,
    )
