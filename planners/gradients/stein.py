"""Stein variational gradient descent: particles climb the posterior, kept apart by a kernel."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from ...dynamics.base import Model, State
from ...dynamics.checks import real
from ...dynamics.pytrees import pytree, static
from ...dynamics.spaces import ActionSpace, action_space
from ..beliefs.locked import divisor
from ..beliefs.protocol import Plans
from ..sampling.weights import log_normalize
from .ascent import Climb
from .objective import Target, flat
from .points import Points


@pytree
class SteinAscent:
    """Stein variational gradient descent: φ(a) = mean_j [k(a_j, a) ∇ log p̃(a_j) + ∇_{a_j} k(a_j, a)].

    (Liu & Wang, 2016, Eq. 8.) The first term pulls all plans to where the posterior p̃ = p exp(R/λ) is, the second
    keeps them apart.

    Attributes:
        target: λ times log p̃.
        bandwidth: h of k(a, b) = exp(−|a − b|²/h); None for the median of the squared distances over log(K + 1).
        std: σ of the smoothing of score-function gradients, scalar, [A] or [H, A]; None for pathwise ones.
        locks: which numbers of a plan do not move, [H, A]; None until it is `prepared`.
        num_perturbations: how many perturbed plans estimate a score-function gradient.
        kernel: "plans" compares whole plans, "steps" each step by itself.
    """

    target: Target
    bandwidth: Float[Array, ""] | None
    std: Float[Array, "..."] | None
    locks: Bool[Array, "H A"] | None
    num_perturbations: int = static()
    kernel: str = static()

    def check(self, belief: Any, space: ActionSpace) -> None:
        """Raise a `ValueError` if the prior is over other plans, or perturbations are of others."""
        self.target.bound(belief, space)
        if self.std is not None:
            real("perturbation", self.std, shape=belief.mode().shape)

    def prepared(self, model: Model, state: State, belief: Points) -> "SteinAscent":
        """The same where the shape of plans is known."""
        shape = belief.spread.shape
        std = None if self.std is None else real("perturbation", self.std, shape=shape)
        if std is not None:
            std = jnp.where(belief.locks, 0.0, std)
        target = self.target.bound(belief, action_space(model))
        return dataclasses.replace(self, target=target, std=std, locks=belief.locks)

    def aimed(self, target: Target) -> "SteinAscent":
        """The same with another target."""
        return dataclasses.replace(self, target=target)

    @property
    def keeps_best(self) -> bool:
        """They do not: the positions of the plans depend on each other."""
        return False

    @property
    def refusal(self) -> str:
        """The result depends on the number of steps."""
        return "stein has no derivatives: its particles have not converged when it ends"

    def parameters(self, key: Key[Array, ""], belief: Points) -> Plans:
        """The plans, all but the first moved by noise."""
        return belief.scattered(key)

    def climb(
        self, model: Model, noise: Key[Array, ""], key: Key[Array, ""], state: State, parameters: Plans
    ) -> Climb:
        """The direction φ of each plan, in nats; plans without a gradient follow those of the others."""
        pull = self._pull(model, noise, key, state, parameters)
        if self.kernel == "plans":
            phi = self._direction(_flat(parameters), _flat(pull.gradients), pull.valid).reshape(parameters.shape)
        else:
            phi = jax.vmap(self._direction, (1, 1, None), 1)(parameters, pull.gradients, pull.valid)
        assert self.locks is not None  # it is prepared
        phi = jnp.where(self.locks, 0.0, phi)
        valid = jnp.broadcast_to(pull.valid.any(), len(parameters))
        return Climb(
            pull.objective,
            phi,
            valid,
            pull.returns,
            (~pull.valid).sum(),
            None,
            pull.num_invalid_gradients,
            rounding=flat(pull.returns, parameters),
        )

    def evaluate(self, model: Model, noise: Key[Array, ""], state: State, parameters: Plans) -> Float[Array, " K"]:
        """The objective of each plan."""
        return self.target.evaluate(model, noise, state, parameters)

    def bounded(self, parameters: Plans) -> Plans:
        """Plans may go where they like: a prior holds them."""
        return parameters

    def believe(self, belief: Points, parameters: Plans, objective: Float[Array, " K"]) -> Points:
        """The belief at these plans."""
        return belief.moved(parameters, objective)

    def _pull(self, model: Model, noise: Key[Array, ""], key: Key[Array, ""], state: State, plans: Plans) -> "_Pull":
        """∇ log p̃ of each plan."""
        temperature = jnp.asarray(self.target.temperature)
        if self.std is None:
            slopes = self.target.slopes(model, noise, state, plans)
            return _Pull(
                slopes.returns,
                slopes.objective,
                slopes.gradients / temperature,
                slopes.valid,
                slopes.num_invalid_gradients,
            )
        # ∇ log E[p̃(a + σε)] = Σ_m w_m ε_m/σ, w ∝ p̃(a + σε_m) (Lambert et al., 2020)
        shape = (len(plans), self.num_perturbations, *plans.shape[1:])
        epsilon = jax.random.normal(key, shape, plans.dtype)
        tried = (plans[:, None] + self.std * epsilon).reshape(-1, *plans.shape[1:])
        objective = self.target.evaluate(model, noise, state, tried).reshape(shape[:2])
        log_weights, _, degenerate = jax.vmap(log_normalize)(objective / temperature)
        gradients = jnp.einsum("km,kmha->kha", jnp.exp(log_weights), epsilon, precision="highest") / divisor(self.std)
        gradients = jnp.where(degenerate[:, None, None], 0.0, gradients)
        return _Pull(objective.reshape(-1), objective.max(1), gradients, ~degenerate, None)

    def _direction(
        self, points: Float[Array, "K d"], gradients: Float[Array, "K d"], valid: Bool[Array, " K"]
    ) -> Float[Array, "K d"]:
        apart = points[:, None] - points  # [j, i, d]: a_j − a_i
        squares = (apart**2).sum(-1)
        bandwidth = self.bandwidth
        if bandwidth is None:
            others = ~jnp.eye(len(points), dtype=bool)
            median = jnp.nanmedian(jnp.where(others, squares, jnp.nan)) if len(points) > 1 else jnp.ones(())
            bandwidth = jnp.maximum(median, 1e-12) / math.log(len(points) + 1)
        kernel = jnp.where(valid[:, None], jnp.exp(-squares / bandwidth), 0.0)
        pulled = jnp.einsum("ji,jd->id", kernel, gradients, precision="highest")
        pushed = -2.0 / bandwidth * jnp.einsum("ji,jid->id", kernel, apart, precision="highest")
        return (pulled + pushed) / jnp.maximum(valid.sum(), 1)


class _Pull(NamedTuple):
    """Of each plan: its returns, its objective, ∇ log p̃, and whether that is a number; and how many are none."""

    returns: Float[Array, "..."]
    objective: Float[Array, " K"]
    gradients: Plans
    valid: Bool[Array, " K"]
    num_invalid_gradients: Int[Array, ""] | None


def _flat(plans: Plans) -> Float[Array, "K d"]:
    return plans.reshape(len(plans), -1)
