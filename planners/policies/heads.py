"""Heads of plan networks: which distribution over plans the outputs of a network are the parameters of."""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from ...dynamics.checks import check_unused, choice, integer
from ..beliefs.full import FullGaussian
from ..beliefs.gaussian import Gaussian
from ..beliefs.mixture import Mixture, starting_means
from ..beliefs.protocol import Plan
from ..beliefs.triangular import triangular_inverse

HEADS = ("gaussian", "mixture", "autoregressive")
_LOG_STD = (-10.0, 4.0)  # relative to the scale: beyond, exponentials do harm
_LOGIT = 10.0  # so that no component of a mixture dies while it learns


@runtime_checkable
class Head(Protocol):
    """Which distribution the outputs of a network are the parameters of; where all are 0, one around the plan 0."""

    @property
    def by_moments(self) -> bool:
        """Whether the likelihood of plans depends on mean and standard deviation of each of their numbers alone."""
        ...

    def size(self, horizon: int, action_size: int) -> int:
        """The number of outputs."""
        ...

    def belief(self, outputs: Float[Array, " n"], scale: Plan, std_min: Float[Array, ""]) -> Any:
        """The distribution over plans [H, A], with density, mode and samples.

        Args:
            outputs: of the network.
            scale: the standard deviation where they are 0, [H, A].
            std_min: below which no standard deviation falls.
        """
        ...

    def pairs(self, key: PRNGKeyArray, belief: Any, num: int) -> tuple[Float[Array, "R S H A"], Float[Array, " S"]]:
        """R times S plans, from pairs of noise ε and −ε, whose weighted mean over S, and mean over R, is that over q.

        Args:
            key: of the noise.
            belief: what `belief` gave.
            num: how many plans there are at least, even.

        Returns:
            The plans, and the weights of the S of them in each of the R, which sum to 1.
        """
        ...

    def entropy(
        self, belief: Any, plans: Float[Array, "R S H A"], weights: Float[Array, " S"]
    ) -> Float[Array, ""] | None:
        """−E log q, nats; None where it has no closed form."""
        ...


class _OneGaussian:
    """What heads of one Gaussian have in common."""

    def pairs(self, key: PRNGKeyArray, belief: Any, num: int) -> tuple[Float[Array, "R S H A"], Float[Array, " S"]]:
        """R = num/2 pairs."""
        half = belief.noise(key, num // 2)
        both = [belief.from_noise(half), belief.from_noise(-half)]
        return jnp.stack(both, axis=1), jnp.full(2, 0.5)

    def entropy(
        self, belief: Any, plans: Float[Array, "R S H A"], weights: Float[Array, " S"]
    ) -> Float[Array, ""] | None:
        """In closed form."""
        return belief.entropy()


@dataclasses.dataclass(frozen=True)
class GaussianHead(_OneGaussian):
    """N(m, diag σ²): independent over steps and actuators."""

    @property
    def by_moments(self) -> bool:
        """Yes."""
        return True

    def size(self, horizon: int, action_size: int) -> int:
        """Means and log standard deviations."""
        return 2 * horizon * action_size

    def belief(self, outputs: Float[Array, " n"], scale: Plan, std_min: Float[Array, ""]) -> Gaussian:
        """A Gaussian of `planners.beliefs`."""
        mean, log_std = outputs.reshape(2, *scale.shape)
        std = _std(log_std, scale, std_min)
        return Gaussian(mean, std, std_min, None, None, learn_std=True, unbiased=False, about_old_mean=False)


@dataclasses.dataclass(frozen=True)
class AutoregressiveHead(_OneGaussian):
    """a_i = m_i + Σ_{j<i} C_ij (a_j − m_j) + σ_i ε_i: each number of a plan follows from those before it.

    These are of the same step, too. Means of autoregressive factors are affine in what was done before, so that whole
    plans are Gaussian, with the covariance L Lᵀ, L = (I − C)⁻¹ diag σ: any there is, where `order` leaves none out.

    Attributes:
        order: on how many steps before each depends; None for all.
    """

    order: int | None

    @property
    def by_moments(self) -> bool:
        """No: by the covariance."""
        return False

    def size(self, horizon: int, action_size: int) -> int:
        """Means, log standard deviations, and C where it is not 0."""
        return 2 * horizon * action_size + len(self._before(horizon, action_size)[0])

    def belief(self, outputs: Float[Array, " n"], scale: Plan, std_min: Float[Array, ""]) -> FullGaussian:
        """A full Gaussian of `planners.beliefs`."""
        size = scale.size
        mean, std = outputs[:size].reshape(scale.shape), _std(outputs[size : 2 * size], scale.reshape(-1), std_min)
        rows, columns = self._before(*scale.shape)
        units = scale.reshape(-1)
        follows = jnp.zeros((size, size)).at[rows, columns].set(outputs[2 * size :])  # C
        follows *= units[:, None] / units
        tril = triangular_inverse(jnp.eye(size) - follows) * std  # L = (I − C)⁻¹ diag σ
        return FullGaussian(mean, tril, std_min, None)

    def _before(self, horizon: int, action_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Rows and columns of C that are not 0."""
        rows, columns = np.tril_indices(horizon * action_size, -1)
        if self.order is None:
            return rows, columns
        near = rows // action_size - columns // action_size <= self.order
        return rows[near], columns[near]


@dataclasses.dataclass(frozen=True)
class MixtureHead:
    """Σ_m π_m N(μ_m, diag σ_m²), π, μ and σ of the state: several ways to go.

    Attributes:
        num_components: M.
    """

    num_components: int

    @property
    def by_moments(self) -> bool:
        """No: by the plans themselves."""
        return False

    def size(self, horizon: int, action_size: int) -> int:
        """Log weights, and for each component means and log standard deviations."""
        return self.num_components * (1 + 2 * horizon * action_size)

    def belief(self, outputs: Float[Array, " n"], scale: Plan, std_min: Float[Array, ""]) -> Mixture:
        """A mixture of `planners.beliefs`, whose components begin apart: equal ones would stay equal."""
        number = self.num_components
        logits, rest = outputs[:number], outputs[number:]
        away, log_std = rest.reshape(2, number, *scale.shape)
        with jax.ensure_compile_time_eval():
            apart = starting_means(jax.random.key(0), jnp.zeros(scale.shape), jnp.ones(scale.shape), number)
        starts = apart * scale
        return Mixture(
            means=starts + away,
            stds=_std(log_std, scale, std_min),
            log_weights=jax.nn.log_softmax(jnp.clip(logits, -_LOGIT, _LOGIT)),
            std_min=std_min,
            starts=starts,
            start_std=scale,
            num_draws=64,
            unbiased=False,
        )

    def pairs(
        self, key: PRNGKeyArray, belief: Mixture, num: int
    ) -> tuple[Float[Array, "R S H A"], Float[Array, " S"]]:
        """R times a pair of each component, weighed by that, so that the mean over components is exact."""
        each = -(-num // (2 * self.num_components))
        noise = jax.random.normal(key, (each, *belief.means.shape), belief.means.dtype)
        both = jnp.concatenate([belief.means + belief.stds * noise, belief.means - belief.stds * noise], axis=1)
        return both, 0.5 * jnp.tile(jnp.exp(belief.log_weights), 2)

    def entropy(
        self, belief: Mixture, plans: Float[Array, "R S H A"], weights: Float[Array, " S"]
    ) -> Float[Array, ""] | None:
        """It has no closed form."""
        return None


def head_of(head: Any, num_components: Any = None, order: Any = None) -> Head:
    """The head of a user's options.

    Args:
        head: one of `HEADS`.
        num_components: of a mixture; None for 4.
        order: of an autoregressive head; None for all steps.

    Returns:
        The head.

    Raises:
        ValueError: for another word, a number outside its range, or one that means nothing to this head.
    """
    choice("head", head, HEADS)
    if head != "mixture":
        check_unused(f"the head {head!r} has no components", num_components=num_components)
    if head != "autoregressive":
        check_unused(f"the head {head!r} does not depend on earlier steps", order=order)
    if head == "mixture":
        return MixtureHead(4 if num_components is None else integer("num_components", num_components))
    if head == "autoregressive":
        return AutoregressiveHead(None if order is None else integer("order", order))
    return GaussianHead()


def _std(log_std: Float[Array, "..."], scale: Float[Array, "..."], std_min: Float[Array, ""]) -> Float[Array, "..."]:
    return jnp.maximum(scale * jnp.exp(jnp.clip(log_std, *_LOG_STD)), std_min)
