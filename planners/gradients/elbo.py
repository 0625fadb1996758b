"""Gradient ascent of a Gaussian posterior on its own evidence bound."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from ...dynamics.base import Model, State
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace, action_space
from ..beliefs.full import FullGaussian
from ..beliefs.gaussian import Gaussian
from ..beliefs.locked import locked_tril, log_scale
from .ascent import Climb
from .objective import Target, flat


@pytree
class ElboAscent:
    """A Gaussian climbs ELBO(q) = E_q[R/λ + log p − log q] along plans a = μ + L ε (Kingma & Welling, 2014).

    Attributes:
        target: λ times log of what the posterior is proportional to.
        belief: whose family it is; None until it is `prepared`.
        num_samples: the number K of plans that estimate the gradient.
        antithetic: whether noise comes in pairs ε, −ε, which makes the gradient of the mean exact where returns are
            quadratic.
        stick: whether log q is differentiated along plans only, and not by its own parameters, whose part is zero on
            average: no variance is left where q is the posterior (Roeder et al., 2017).
    """

    target: Target
    belief: Gaussian | FullGaussian | None
    num_samples: int = static()
    antithetic: bool = static()
    stick: bool = static()

    def check(self, belief: Any, space: ActionSpace) -> None:
        """Raise a `ValueError` if the prior is over other plans."""
        self.target.bound(belief, space)

    def prepared(self, model: Model, state: State, belief: Gaussian | FullGaussian) -> "ElboAscent":
        """The same for beliefs like this."""
        target = self.target.bound(belief, action_space(model))
        return dataclasses.replace(self, target=target, belief=belief)

    def aimed(self, target: Target) -> "ElboAscent":
        """The same with another target."""
        return dataclasses.replace(self, target=target)

    @property
    def keeps_best(self) -> bool:
        """The objective is an estimate, by which parameters cannot be compared."""
        return False

    @property
    def refusal(self) -> str:
        """Noisy steps converge to no one belief."""
        return "elbo_gradient has no derivatives: it ends where noisy steps have led"

    def parameters(self, key: Key[Array, ""], belief: Gaussian | FullGaussian) -> tuple[Array, Array]:
        """The mean, and L with the logarithm of its diagonal, each with a leading axis of length 1."""
        if isinstance(belief, Gaussian):
            return belief.mean[None], log_scale(belief.std)[None]
        tril = belief.scale_tril
        return belief.mean[None], (jnp.tril(tril, -1) + jnp.diag(log_scale(jnp.diagonal(tril))))[None]

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
        # the mean as well: a belief around a plan that diverges is useless
        slopes = self.target.slopes(model, noise, state, jnp.concatenate([plans, belief.mean[None]]))
        lost, fine = slopes.num_invalid_gradients, slopes.objective[-1] > -jnp.inf
        slopes = jax.tree.map(lambda leaf: leaf[:-1], slopes)
        uphill = slopes.gradients
        if self.stick:  # d/da (R + λ log p − λ log q) for a fixed q
            uphill -= temperature * jax.grad(lambda plans: belief.log_prob(plans).sum())(plans)
        counted = jnp.maximum(slopes.valid.sum(), 1)
        uphill = jnp.where(slopes.valid[:, None, None], uphill, 0.0) / counted
        (gradients,) = pull_back(uphill)
        if not self.stick:  # the entropy is known
            surprise = jax.grad(lambda parameters: self._of(parameters).entropy())(parameters)
            gradients = jax.tree.map(lambda pathwise, own: pathwise + temperature * own, gradients, surprise)
        bound = slopes.objective - temperature * belief.log_prob(plans)
        # that of q restricted to plans which are valid, log(their share) included
        share = counted / len(plans)
        bound = jnp.where(slopes.valid, bound, 0.0).sum() / counted + temperature * jnp.log(share)
        valid = (fine & slopes.valid.any())[None]
        objective = jnp.where(valid, bound, -jnp.inf)
        invalid = (~slopes.valid).sum()
        if (unit := self.target.unit) is not None:
            gradients = jax.tree.map(lambda leaf: leaf / unit, gradients)
        return Climb(
            objective,
            gradients,
            valid,
            slopes.returns,
            invalid,
            objective[0] / temperature,
            lost,
            rounding=flat(slopes.returns, plans),
        )

    def evaluate(
        self, model: Model, noise: Key[Array, ""], state: State, parameters: tuple[Array, Array]
    ) -> Float[Array, "1"]:
        """The objective of the mean: −∞ where that diverges."""
        return self.target.evaluate(model, noise, state, parameters[0])

    def bounded(self, parameters: tuple[Array, Array]) -> tuple[Array, Array]:
        """No standard deviation, and no entry on L's diagonal, below the floor."""
        mean, scale = parameters
        assert self.belief is not None  # it is prepared
        floor = jnp.log(self.belief.std_min)
        if isinstance(self.belief, Gaussian):
            return mean, jnp.maximum(scale, floor)
        diagonal = jnp.eye(scale.shape[-1], dtype=bool)
        return mean, jnp.where(diagonal, jnp.maximum(scale, floor), jnp.tril(scale, -1))

    def believe(self, belief: Any, parameters: tuple[Array, Array], objective: Float[Array, "1"]) -> Any:
        """The Gaussian that has these parameters."""
        return self._of(parameters)

    def _of(self, parameters: tuple[Array, Array]) -> Any:
        assert self.belief is not None  # it is prepared
        mean, scale = parameters[0][0], parameters[1][0]
        mean = jnp.where(self.belief.locks, self.belief.mean, mean)
        if isinstance(self.belief, Gaussian):
            return dataclasses.replace(self.belief, mean=mean, std=jnp.where(self.belief.locks, 0.0, jnp.exp(scale)))
        tril = jnp.tril(scale, -1) + jnp.diag(jnp.exp(jnp.diagonal(scale)))
        tril = locked_tril(tril, jnp.diagonal(self.belief.scale_tril))
        return dataclasses.replace(self.belief, mean=mean, scale_tril=tril)
