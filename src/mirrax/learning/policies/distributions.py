"""Distributions of one action: a normal one squashed by tanh, and one of a few choices.

Learning works with what an action is made of, which is the number before the squashing, or the choice itself: from an
action near the end of its range it could not be told.
"""

import math
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray

from mirrax.dynamics.pytrees import pytree

_NODES = 32  # of the quadrature; for stds up to 1 moments are exact to 1e-5


class Distribution(Protocol):
    """A distribution of actions, or a batch of them with leading axes *b. Below, u is what an action is made of."""

    def sample(self, key: PRNGKeyArray) -> Num[Array, "..."]:
        """Draw u."""
        ...

    def action(self, raw: Num[Array, "..."]) -> Num[Array, "..."]:
        """The action that u makes, on the scale of plans."""
        ...

    def log_prob(self, raw: Num[Array, "..."]) -> Float[Array, "..."]:
        """Log of the density of the action that u makes, on the scale of plans."""
        ...

    def candidates(self, key: PRNGKeyArray, num: int) -> tuple[Num[Array, "..."], Float[Array, "..."]]:
        """Values of u along a new first axis, and the logarithms of their weights, with which they stand for it."""
        ...

    def kl(self, other: Any) -> Float[Array, "..."]:
        """KL(self ‖ other), nats."""
        ...

    def parts(self, old: Any) -> tuple[Any, ...]:
        """The steps from `old` to this distribution whose divergences are bounded apart from each other."""
        ...


@pytree
class TanhNormal:
    """An action a = tanh u, where u ~ N(mean, diag std²).

    Attributes:
        mean: of u, [*b, A].
        std: of u, [*b, A], > 0.
    """

    mean: Float[Array, "*b A"]
    std: Float[Array, "*b A"]

    def sample(self, key: PRNGKeyArray) -> Float[Array, "*b A"]:
        """Draw u."""
        return self.mean + self.std * jax.random.normal(key, self.mean.shape)

    def action(self, raw: Float[Array, "*b A"]) -> Float[Array, "*b A"]:
        """Tanh u."""
        return jnp.tanh(raw)

    def log_prob(self, raw: Float[Array, "*b A"]) -> Float[Array, "*b"]:
        """Log of the density of a = tanh u with respect to a."""
        z = (raw - self.mean) / self.std
        normal = -(0.5 * z**2 + jnp.log(self.std) + 0.5 * math.log(2.0 * math.pi))
        return (normal - log_slope(raw)).sum(-1)  # log N(u) − Σ log da/du

    def candidates(self, key: PRNGKeyArray, num: int) -> tuple[Float[Array, "K *b A"], Float[Array, "K *b"]]:
        """Draws of u, of equal weights."""
        noise = jax.random.normal(key, (num, *self.mean.shape))
        return self.mean + self.std * noise, jnp.full((num, *self.mean.shape[:-1]), -math.log(num))

    def kl(self, other: "TanhNormal") -> Float[Array, "*b"]:
        """KL(self ‖ other), nats; it is that of u, for both are squashed alike."""
        # ½ Σ [σ²/τ² + (m − n)²/τ² − 1 − log σ²/τ²]
        ratio, apart = self.std / other.std, (self.mean - other.mean) / other.std
        return 0.5 * (ratio**2 + apart**2 - 1.0 - 2.0 * jnp.log(ratio)).sum(-1)

    def parts(self, old: "TanhNormal") -> tuple["TanhNormal", ...]:
        """The step of the mean alone, and that of the standard deviation alone."""
        return TanhNormal(self.mean, old.std), TanhNormal(old.mean, self.std)

    def moments(self) -> tuple[Float[Array, "*b A"], Float[Array, "*b A"]]:
        """Mean and standard deviation of a, by Gauss-Hermite quadrature."""
        nodes, weights = np.polynomial.hermite_e.hermegauss(_NODES)
        shares = jnp.asarray(weights / weights.sum(), float)
        actions = jnp.tanh(self.mean[..., None] + self.std[..., None] * jnp.asarray(nodes, float))
        mean = actions @ shares
        return mean, jnp.sqrt(((actions - mean[..., None]) ** 2) @ shares)


@pytree
class Choices:
    """One of C choices, with probabilities p = softmax(logits).

    Attributes:
        logits: [*b, C].
    """

    logits: Float[Array, "*b C"]

    @property
    def log_probs(self) -> Float[Array, "*b C"]:
        """Log p of all choices."""
        return jax.nn.log_softmax(self.logits)

    def sample(self, key: PRNGKeyArray) -> Int[Array, "*b"]:
        """Draw a choice."""
        return jax.random.categorical(key, self.logits).astype(jnp.int32)

    def action(self, raw: Int[Array, "*b"]) -> Int[Array, "*b"]:
        """The choice itself."""
        return raw

    def log_prob(self, raw: Int[Array, "*b"]) -> Float[Array, "*b"]:
        """Log p of a choice."""
        return jnp.take_along_axis(self.log_probs, raw[..., None], -1)[..., 0]

    def candidates(self, key: PRNGKeyArray, num: int) -> tuple[Int[Array, "C *b"], Float[Array, "C *b"]]:
        """All choices, each of its probability, whatever `num` is."""
        count, batch = self.logits.shape[-1], self.logits.shape[:-1]
        every = jnp.arange(count, dtype=jnp.int32).reshape(-1, *[1] * len(batch))
        return jnp.broadcast_to(every, (count, *batch)), jnp.moveaxis(self.log_probs, -1, 0)

    def kl(self, other: "Choices") -> Float[Array, "*b"]:
        """KL(self ‖ other), nats."""
        own, others = self.log_probs, other.log_probs
        return (jnp.exp(own) * (own - others)).sum(-1)  # Σ p (log p − log q)

    def parts(self, old: "Choices") -> tuple["Choices", ...]:
        """The whole step."""
        return (self,)


def log_slope(raw: Float[Array, "*b A"]) -> Float[Array, "*b A"]:
    """Log d tanh(u)/du = log(1 − tanh² u), exact where tanh is 1 in rounding.

    Args:
        raw: u, of any shape.

    Returns:
        Of the same shape.
    """
    return 2.0 * (math.log(2.0) - raw - jax.nn.softplus(-2.0 * raw))


def unsquashed(action: Float[Array, "*b A"]) -> Float[Array, "*b A"]:
    """The u with tanh u = a; of ±1, to which tanh rounds, that of the number before.

    Args:
        action: a, in [-1, 1], of any shape.

    Returns:
        Of the same shape.
    """
    most = 1.0 - float(jnp.finfo(action.dtype).epsneg)
    return jnp.arctanh(jnp.clip(action, -most, most))
