"""Several ways to go: a mixture of Gaussians."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray
from scipy.special import ndtri

from ...dynamics.checks import boolean, integer
from ...dynamics.pytrees import pytree, static, traceable
from ...dynamics.spaces import ActionSpace
from ..options import checked
from .gaussian import GaussianFamily, gaussian
from .locked import dimension, divisor, log_scale, where_free
from .moments import average, bias_correction, deviation, floored
from .noise import white_noise
from .protocol import Plan, Plans, Proposal
from .warm_start import Shifting

_DEAD, _LEAST = 1e-3, 1e-2  # of 1/M: below the first a component is revived, below the second no weight falls
_WIDE = 0.1  # the share of plans that are proposed with the initial std around the components


@pytree
class Mixture:
    """q(a) = Σ_m π_m N(a; mean_m, std_m²). Make one with `mixture`.

    Attributes:
        means: [M, H, A].
        stds: [M, H, A]; where `start_std` is 0 they are, and a number stays at its mean.
        log_weights: log π, [M].
        std_min: the floor below which no std falls, a scalar.
        starts: the means with which it was made, [M, H, A]: as long as `means` are these, nothing was learnt.
        start_std: the std with which it was made, [H, A].
        num_draws: how many plans per component estimate entropy and divergence.
        unbiased: whether a fit makes up for what a small effective sample takes from the variances.
    """

    means: Float[Array, "M H A"]
    stds: Float[Array, "M H A"]
    log_weights: Float[Array, " M"]
    std_min: Float[Array, ""]
    starts: Float[Array, "M H A"]
    start_std: Float[Array, "H A"]
    num_draws: int = static()
    unbiased: bool = static()

    def propose(self, key: PRNGKeyArray, num_samples: int) -> Proposal:
        """Plans of q, and some with the initial std around its components, each of these as often.

        They bound the weights beside a component that has grown narrow, and keep light ones in sight (defensive
        importance sampling, Hesterberg, 1995). What has learnt nothing yet is turned about its centre first, so that
        where components start is not the same for every key.
        """
        if len(self.means) == 1:
            return Proposal(self.sample(key, num_samples), self, None)
        turn_key, sample_key = jax.random.split(key)
        fresh = (self.means == self.starts).all()
        turned = starting_means(turn_key, self.starts.mean(0), self.start_std, len(self.means))
        belief = dataclasses.replace(self, means=jnp.where(fresh, turned, self.means))
        each = jnp.full_like(self.log_weights, math.log(_WIDE / len(self.means)))
        drawn = dataclasses.replace(
            belief,
            means=jnp.concatenate([belief.means, belief.means]),
            starts=jnp.concatenate([belief.starts, belief.starts]),
            stds=jnp.concatenate([belief.stds, jnp.broadcast_to(self.start_std, self.stds.shape)]),
            log_weights=jnp.concatenate([math.log1p(-_WIDE) + belief.log_weights, each]),
        )
        plans = drawn.sample(sample_key, num_samples)
        return Proposal(plans, belief, belief.log_prob(plans) - drawn.log_prob(plans), traceable(drawn.log_prob))

    def sample(self, key: PRNGKeyArray, num_samples: int) -> Plans:
        """Draw plans [K, H, A]: first a component, then a plan of it."""
        return self.from_noise(self.noise(key, num_samples))

    def noise(self, key: PRNGKeyArray, num_samples: int) -> tuple[Int[Array, "K H"], Plans]:
        """A component for each plan, the same at all steps, and white noise, [K, H, A].

        Each plan is of a component as often as that weighs, but the plans together are nearer to these shares than
        independent ones would be.
        """
        component_key, noise_key = jax.random.split(key)
        component = _evenly(component_key, self.log_weights, num_samples)
        steps = self.means.shape[1]
        white = white_noise(noise_key, num_samples, self.means[0])
        return jnp.broadcast_to(component[:, None], (num_samples, steps)), white

    def from_noise(self, noise: tuple[Int[Array, "K H"], Plans]) -> Plans:
        """The plans that noise drives, of the components that are chosen at the first step."""
        component, white = noise[0][:, 0], noise[1]
        return self.means[component] + self.stds[component] * white

    def log_prob(self, plans: Plans) -> Float[Array, " K"]:
        """Log q(a) of each plan: of the mixture, not of the component it was drawn from."""
        return jax.nn.logsumexp(self._log_joint(plans), axis=0)

    def step_log_probs(self, plans: Plans) -> Float[Array, "K H"]:
        """Log q(a_t | a_<t) of each plan, where earlier steps are evidence of the component."""

        def component(log_weight: Float[Array, ""], mean: Plan, std: Plan) -> Float[Array, "K H"]:
            unit = (std != 0).sum(-1) * jnp.log(2.0 * jnp.pi)
            steps = -0.5 * ((((plans - mean) / divisor(std)) ** 2).sum(-1) + unit) - log_scale(std).sum(-1)
            return log_weight + jnp.cumsum(steps, axis=1)

        joint = jax.vmap(component)(self.log_weights, self.means, self.stds)
        until = jax.nn.logsumexp(joint, axis=0)  # log q(a_≤t)
        return jnp.diff(until, axis=1, prepend=jax.nn.logsumexp(self.log_weights))

    def fit(self, plans: Plans, weights: Float[Array, " K"]) -> "Mixture":
        """One step of expectation maximisation, in logarithms (Okada and Taniguchi, 2019, Eqs. 9 and 10~).

        The weighted log-likelihood never falls (with `unbiased` it may: variances are then more than the best), under
        the floors of weights and stds too, as long as no component dies: one that nothing supports any more starts
        anew around one of the best plans, with the spread of all.
        """
        log_joint = self._log_joint(plans)
        log_share = log_joint - jax.nn.logsumexp(log_joint, axis=0)  # log η_m(a_k)
        share = weights * jnp.exp(log_share)  # ω_mk
        total = share.sum(1)  # N_m, Σ N_m = 1
        own = share / jnp.maximum(total, 1e-30)[:, None]
        means = jax.vmap(average, (0, None))(own, plans)
        variances = jax.vmap(lambda w, mean: average(w, (plans - mean) ** 2))(own, means)
        if self.unbiased:
            variances *= bias_correction(own.T)[:, None, None]
        dead = (total < _DEAD / len(total))[:, None, None]
        spread = average(weights, (plans - average(weights, plans)) ** 2)
        best = jax.lax.top_k(weights, min(len(total), len(weights)))[1]
        own_best = jnp.minimum(jnp.cumsum(dead.ravel()) - 1, len(best) - 1)  # the same one would keep them alike
        means = where_free(self.stds, jnp.where(dead, plans[best[own_best]], means), self.means)
        stds = jnp.maximum(deviation(jnp.where(dead, spread, variances)), self.std_min)
        stds = where_free(self.stds, stds, self.stds)
        return dataclasses.replace(self, means=means, stds=stds, log_weights=floored(total, _LEAST))

    def mode(self) -> Plan:
        """The mean of the heaviest component."""
        return self.means[jnp.argmax(self.log_weights)]

    def map_centers(self, function: Callable[[Float[Array, "*M H A"]], Float[Array, "*M H A"]]) -> "Mixture":
        """The same with other means."""
        return dataclasses.replace(self, means=where_free(self.stds, function(self.means), self.means))

    @property
    def locks(self) -> Bool[Array, "H A"]:
        """Where the stds are 0."""
        return self.stds[0] == 0

    def spread(self) -> Float[Array, " A"]:
        """The std with which its components were made, averaged over the steps."""
        return self.start_std.mean(0)

    @property
    def learns_spread(self) -> bool:
        """Fits change the stds."""
        return True

    def random_mode(self, key: PRNGKeyArray) -> Plan:
        """The mean of a component, each as often as it weighs."""
        return self.means[jax.random.categorical(key, self.log_weights)]

    def modes(self) -> tuple[Plans, Float[Array, " M"]]:
        """The means of the components, and their weights."""
        return self.means, jnp.exp(self.log_weights)

    def shift(self, initial: "Mixture", how: Shifting) -> "Mixture":
        """Each component later; weights stay."""
        # the initial belief is one that all components share: where they stood at first means nothing now
        mean = jnp.einsum("m,mha->ha", jnp.exp(initial.log_weights), initial.means)
        means = where_free(initial.stds, how.plans(self.means, mean), initial.means)
        stds = deviation(how.variances(self.stds**2, initial.stds[0] ** 2))
        stds = where_free(initial.stds, stds, initial.stds)
        return dataclasses.replace(initial, means=means, stds=stds, log_weights=self.log_weights)

    def entropy(self) -> Float[Array, ""]:
        """−E log q, nats, estimated with the same draws each time."""
        return self._expect(lambda plans: -self.log_prob(plans))

    def kl(self, other: "Mixture") -> Float[Array, ""]:
        """KL(self ‖ other), nats, estimated with the same draws each time."""
        return self._expect(lambda plans: self.log_prob(plans) - other.log_prob(plans))

    def _log_joint(self, plans: Plans) -> Float[Array, "M K"]:
        """Log π_m N(a_k; mean_m, std_m²)."""

        def component(mean: Plan, std: Plan) -> Float[Array, " K"]:
            return -0.5 * (((plans - mean) / divisor(std)) ** 2).sum((-2, -1)) - log_scale(std).sum()

        size = dimension(self.stds[0])
        return (
            self.log_weights[:, None] + jax.vmap(component)(self.means, self.stds) - 0.5 * size * jnp.log(2 * jnp.pi)
        )

    def _expect(self, function: Any) -> Float[Array, ""]:
        """E_q f, as many draws from each component."""
        shape = (self.num_draws, *self.means.shape)
        noise = jax.random.normal(jax.random.key(0), (self.num_draws * self.means.size,)).reshape(shape)
        plans = (self.means + self.stds * noise).reshape(-1, *self.means.shape[1:])
        return (function(plans).reshape(self.num_draws, -1) * jnp.exp(self.log_weights)).sum(1).mean()


@pytree
class MixtureFamily:
    """Mixtures without a shape. Make one with `mixture`, whose arguments the attributes are."""

    gaussian: GaussianFamily
    num_components: int = static()
    num_draws: int = static()
    unbiased: bool = static()

    def bind(self, horizon: int, space: ActionSpace) -> Mixture:
        """The belief over plans of `horizon` steps."""
        start, number = self.gaussian.bind(horizon, space), self.num_components
        means = starting_means(jax.random.key(0), start.mean, start.std, number)
        return Mixture(
            means=means,
            stds=jnp.broadcast_to(start.std, means.shape),
            log_weights=jnp.full(number, -math.log(number), float),
            std_min=start.std_min,
            starts=jnp.array(means),
            start_std=start.std,
            num_draws=self.num_draws,
            unbiased=self.unbiased,
        )


def mixture(
    *,
    num_components: int = 5,
    mean: Any = 0.0,
    std: Any = 0.5,
    std_min: Any = 0.05,
    num_draws: int = 64,
    unbiased: bool = False,
) -> MixtureFamily:
    """Make the family of mixtures, which can keep several ways to go.

    Components that start alike stay alike, and all go the way to which the first of them happens to lean. So they
    start in pairs on either side of `mean`, at smooth plans whose distance from it is set by `std`, in directions at
    right angles; these are turned at random when plans are first proposed. (An odd one starts in the middle.)

    Args:
        num_components: the number M of components.
        mean: around which components start, scalar, [A] or [H, A]; 1 is the end of the actuators' range.
        std: of components and their starts, scalar, [A] or [H, A], > 0 (0 locks some actuators), in the same unit.
        std_min: the floor of a learnt std, > 0.
        num_draws: how many plans per component estimate entropy and divergence, which have no closed form.
        unbiased: whether fits make up for what a small effective sample takes from the variances.

    Returns:
        The family.

    Raises:
        ValueError: for a parameter outside its range.
    """
    return MixtureFamily(
        gaussian=gaussian(mean=mean, std=std, std_min=std_min),
        num_components=checked("num_components", num_components),
        num_draws=integer("num_draws", num_draws),
        unbiased=boolean("unbiased", unbiased),
    )


def starting_means(key: PRNGKeyArray, mean: Plan, std: Plan, num_components: int) -> Float[Array, "M H A"]:
    """Pairs of smooth plans on either side of the mean, and the mean itself if their number is odd.

    Their directions are orthonormal combinations, drawn at random, of the slowest cosines in time of each actuator,
    the slower the larger. Where there are more pairs than directions, they lie at several distances.
    """
    pairs, (horizon, action_size) = num_components // 2, mean.shape
    middle = [mean[None]] if num_components % 2 else []
    if pairs == 0:
        return middle[0]
    num_waves = min(-(-pairs // action_size), horizon)
    wave = np.arange(num_waves)[:, None]
    waves = np.cos(np.pi * wave * (np.arange(horizon) + 0.5) / horizon) / (1 + wave)
    num_directions = min(pairs, num_waves * action_size)
    directions: list[Array] = []
    for direction in jax.random.normal(key, (num_directions, num_waves * action_size)):
        for other in directions:  # Gram and Schmidt: LAPACK's threads would wait for each other
            direction = direction - (direction @ other) * other
        directions.append(direction / jnp.sqrt((direction**2).sum()))
    turned = jnp.stack(directions).reshape(num_directions, num_waves, action_size)
    away = math.sqrt(num_waves * action_size) * jnp.einsum("pna,nh->pha", turned, waves, precision="highest")
    num_shells = -(-pairs // num_directions)
    radii = ndtri(0.5 + (np.arange(num_shells) + 0.5) / (2 * num_shells))  # of a normal number, evenly probable
    radii = radii / np.sqrt((radii**2).mean())
    away = (radii[:, None, None, None] * away).reshape(-1, horizon, action_size)[:pairs] * std
    return jnp.concatenate([*middle, mean + away, mean - away]).astype(mean.dtype)


def _evenly(key: PRNGKeyArray, log_weights: Float[Array, " M"], num_samples: int) -> Int[Array, " K"]:
    """Components, each drawn with the probability of its weight, and together as even as possible."""
    golden = np.arange(num_samples) * (math.sqrt(5.0) - 1.0) / 2.0 % 1.0  # so is every run of consecutive ones
    place = (jax.random.uniform(key) + golden.astype(log_weights.dtype)) % 1.0
    cumulated = jnp.cumsum(jax.nn.softmax(log_weights))
    return jnp.minimum(jnp.searchsorted(cumulated, place, side="right"), len(log_weights) - 1)
