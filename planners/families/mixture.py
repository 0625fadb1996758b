"""Several ways to go: a mixture of Gaussians."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from ...dynamics.base import integer, pytree, static
from ..base import Plan, Plans
from ..noise import white_noise
from ..warm_start import Shift
from .gaussian import gaussian
from .moments import average, bias_correction, deviation

_DEAD, _LEAST = 1e-3, 1e-2  # of 1/M: below the first a component is revived, below the second no weight falls


@pytree
class Mixture:
    """q(a) = Σ_m π_m N(a; mean_m, std_m²). Make one with `mixture`.

    Attributes:
        means: [M, H, A].
        stds: [M, H, A].
        log_weights: log π, [M].
        std_min: the floor below which no std falls, a scalar.
        num_draws: how many plans per component estimate entropy and divergence.
    """

    means: Float[Array, "M H A"]
    stds: Float[Array, "M H A"]
    log_weights: Float[Array, " M"]
    std_min: Float[Array, ""]
    num_draws: int = static()

    def sample(self, key: Key[Array, ""], num_samples: int) -> Plans:
        """Draw plans [K, H, A]: first a component, then a plan of it."""
        return self.from_noise(self.noise(key, num_samples))

    def noise(self, key: Key[Array, ""], num_samples: int) -> tuple[Int[Array, "K H"], Plans]:
        """A component for each plan, the same at all steps, and white noise, [K, H, A]."""
        component_key, noise_key = jax.random.split(key)
        component = jax.random.categorical(component_key, self.log_weights, shape=(num_samples,))
        steps = self.means.shape[1]
        return jnp.broadcast_to(component[:, None], (num_samples, steps)), white_noise(
            noise_key, num_samples, self.means[0]
        )

    def from_noise(self, noise: tuple[Int[Array, "K H"], Plans]) -> Plans:
        """The plans that noise drives, of the components that are chosen at the first step."""
        component, white = noise[0][:, 0], noise[1]
        return self.means[component] + self.stds[component] * white

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan: of the mixture, not of the component it was drawn from."""
        return jax.nn.logsumexp(self._log_joint(plans), axis=0)

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """Log q(a_t | a_<t) of each plan, under which the steps before tell of the component."""

        def component(log_weight: Float[Array, ""], mean: Plan, std: Plan) -> Float[Array, "K H"]:
            steps = -0.5 * (((plans - mean) / std) ** 2 + jnp.log(2.0 * jnp.pi)).sum(-1) - jnp.log(std).sum(-1)
            return log_weight + jnp.cumsum(steps, axis=1)

        joint = jax.vmap(component)(self.log_weights, self.means, self.stds)
        until = jax.nn.logsumexp(joint, axis=0)  # log q(a_≤t)
        return jnp.diff(until, axis=1, prepend=jax.nn.logsumexp(self.log_weights))

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "Mixture":
        """One step of expectation maximisation, in logarithms (Okada and Taniguchi, 2019, Eqs. 9 and 10~).

        The weighted log-likelihood never falls. A component that nothing supports any more starts anew around one
        of the best plans, with the spread of all.
        """
        log_joint = self._log_joint(plans)
        log_share = log_joint - jax.nn.logsumexp(log_joint, axis=0)  # log η_m(a_k)
        share = weights * jnp.exp(log_share)  # ω_mk
        total = share.sum(1)  # N_m, Σ N_m = 1
        own = share / jnp.maximum(total, 1e-30)[:, None]
        means = jax.vmap(average, (0, None))(own, plans)
        variances = jax.vmap(lambda w, mean: average(w, (plans - mean) ** 2))(own, means)
        variances *= bias_correction(own.T)[:, None, None]
        dead = (total < _DEAD / len(total))[:, None, None]
        spread = average(weights, (plans - average(weights, plans)) ** 2)
        best = jax.lax.top_k(weights, min(len(total), len(weights)))[1]
        own_best = jnp.minimum(jnp.cumsum(dead.ravel()) - 1, len(best) - 1)  # the same one would keep them alike
        means = jnp.where(dead, plans[best[own_best]], means)
        stds = jnp.maximum(deviation(jnp.where(dead, spread, variances)), self.std_min)
        return dataclasses.replace(self, means=means, stds=stds, log_weights=_floored(total))

    def mode(self) -> Plan:
        """The mean of the heaviest component."""
        return self.means[jnp.argmax(self.log_weights)]

    def map_centers(self, function: Callable[[Float[Array, "*M H A"]], Float[Array, "*M H A"]]) -> "Mixture":
        """The same with other means."""
        return dataclasses.replace(self, means=function(self.means))

    def random_mode(self, key: Key[Array, ""]) -> Plan:
        """The mean of a component, each as often as it weighs."""
        return self.means[jax.random.categorical(key, self.log_weights)]

    def shift(self, initial: "Mixture", how: Shift) -> "Mixture":
        """Each component one step later; weights stay."""
        # the initial belief is one that all components share: where they stood at first means nothing now
        mean = jnp.einsum("m,mha->ha", jnp.exp(initial.log_weights), initial.means)
        means, variances = how.plans(self.means, mean), how.variances(self.stds**2, initial.stds[0] ** 2)
        return dataclasses.replace(initial, means=means, stds=jnp.sqrt(variances), log_weights=self.log_weights)

    def entropy(self) -> Float[Array, ""]:
        """−E log q, nats, estimated with the same draws each time."""
        return self._expect(lambda plans: -self.log_prob(plans))

    def kl(self, other: "Mixture") -> Float[Array, ""]:
        """KL(self ‖ other), nats, estimated with the same draws each time."""
        return self._expect(lambda plans: self.log_prob(plans) - other.log_prob(plans))

    def _log_joint(self, plans: Plans) -> Float[Array, "M K"]:
        """Log π_m N(a_k; mean_m, std_m²)."""

        def component(mean: Plan, std: Plan) -> Float[Array, " K"]:
            return -0.5 * (((plans - mean) / std) ** 2).sum((-2, -1)) - jnp.log(std).sum()

        size = self.means[0].size
        return (
            self.log_weights[:, None] + jax.vmap(component)(self.means, self.stds) - 0.5 * size * jnp.log(2 * jnp.pi)
        )

    def _expect(self, function: Any) -> Float[Array, ""]:
        """E_q f, as many draws from each component."""
        shape = (self.num_draws, *self.means.shape)
        noise = jax.random.normal(jax.random.key(0), (self.num_draws * self.means.size,)).reshape(shape)
        plans = (self.means + self.stds * noise).reshape(-1, *self.means.shape[1:])
        return (function(plans).reshape(self.num_draws, -1) * jnp.exp(self.log_weights)).sum(1).mean()


def mixture(
    horizon: int,
    action_size: int,
    *,
    num_components: int = 5,
    mean: Any = 0.0,
    std: Any = 0.5,
    std_min: Any = 0.05,
    num_draws: int = 64,
) -> Mixture:
    """Make a belief that can keep several ways to go.

    Components start at smooth plans around `mean` that are as far from it as `std` says, for components that start
    alike stay alike.

    Args:
        horizon: the number H of steps.
        action_size: the number A of actuators.
        num_components: the number M of components.
        mean: around which components start, scalar, [A] or [H, A]; 1 is the end of the actuators' range.
        std: of the components, and of their starts, scalar, [A] or [H, A], > 0, in the same unit.
        std_min: the floor of a learnt std, > 0.
        num_draws: how many plans per component estimate entropy and divergence, which have no closed form.

    Returns:
        The belief.

    Raises:
        ValueError: for a parameter outside its range or of another shape.
    """
    num_components = integer("num_components", num_components)
    start = gaussian(horizon, action_size, mean=mean, std=std, std_min=std_min, noise_exponent=2.0)
    means = start.sample(jax.random.key(0), num_components) if num_components > 1 else start.mean[None]
    return Mixture(
        means=means,
        stds=jnp.broadcast_to(start.std, means.shape),
        log_weights=jnp.full(num_components, -math.log(num_components), float),
        std_min=start.std_min,
        num_draws=integer("num_draws", num_draws),
    )


def _floored(weights: Float[Array, " M"]) -> Float[Array, " M"]:
    """The logarithms of weights, none of them below the floor."""
    floored = jnp.maximum(weights, _LEAST / len(weights))
    return jnp.log(floored / floored.sum())
