"""The equations of MPO and V-MPO: actions are weighed within a bounded divergence, then a policy is fitted to them.

The first half, the E-step, is not parametric: a distribution over candidates. The second, the M-step, is maximum
likelihood in small steps. N counts candidates of a state, K the parts of a step.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_DECADES = 6.0 * math.log(10.0)  # of the temperature, to either side of the spread of Q
_LARGEST = math.log(1e3)  # multiplier, or the inverse of the least
_HALVINGS = 24  # of those, down to 2e-6 of the temperature


def action_weights(
    q_values: Float[Array, "N *b"], log_base: Float[Array, "N *b"], temperature: Float[Array, ""]
) -> Float[Array, "N *b"]:
    """The E-step of MPO (Abdolmaleki et al., 2018).

    Args:
        q_values: Q(s, a) of candidates, [N, *b].
        log_base: logarithms of the weights with which they stand for the old policy, [N, *b]: −log N of its samples,
            log π of all of its choices.
        temperature: η > 0, in the units of Q.

    Returns:
        w, [N, *b], which sum to 1 over the candidates.
    """
    return jax.nn.softmax(log_base + q_values / temperature, axis=0)  # w ∝ π_old(a|s) exp(Q/η)


def temperature_dual(
    q_values: Float[Array, "N *b"], log_base: Float[Array, "N *b"], temperature: Float[Array, ""], epsilon: Any
) -> Float[Array, ""]:
    """What η minimises so that the weights' divergence is ε (Abdolmaleki et al., 2018).

    Args:
        q_values: Q(s, a) of candidates, [N, *b].
        log_base: as of `action_weights`, [N, *b].
        temperature: η > 0, in the units of Q.
        epsilon: ε > 0, nats, below log N.

    Returns:
        In the units of Q. At its least, E_s KL(w ‖ π_old) = ε.
    """
    # g(η) = η ε + η E_s log Σ_a π_old(a|s) exp(Q(s, a)/η)
    return temperature * (epsilon + jax.nn.logsumexp(log_base + q_values / temperature, axis=0).mean())


def temperature_at(q_values: Float[Array, "N *b"], log_base: Float[Array, "N *b"], epsilon: Any) -> Float[Array, ""]:
    """The η at which the dual is least: E_s KL(w ‖ π_old) = ε, which falls as η grows, by bisection of its logarithm.

    (Abdolmaleki et al., 2018, minimise the dual for each batch; Song et al., 2020, follow it by gradients.)

    Args:
        q_values: Q(s, a) of candidates, [N, *b].
        log_base: as of `action_weights`, [N, *b]; −∞ for those that do not count.
        epsilon: ε > 0, nats, below log N.

    Returns:
        η, in the units of Q, without derivatives, within the spread of Q times 1e±6; where all are equal, any.
    """
    q_values, log_base = jax.lax.stop_gradient((q_values, log_base))
    counts = log_base > -jnp.inf
    spread = jnp.where(counts, q_values, -jnp.inf).max(0) - jnp.where(counts, q_values, jnp.inf).min(0)
    middle = jnp.log(jnp.maximum(spread.mean(), 1e-20))

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        between = 0.5 * (low + high)
        colder = divergence(action_weights(q_values, log_base, jnp.exp(between)), log_base) < epsilon
        return jnp.where(colder, low, between), jnp.where(colder, between, high)

    ends = jax.lax.fori_loop(0, _HALVINGS, halve, (middle - _DECADES, middle + _DECADES))
    return jnp.exp(0.5 * (ends[0] + ends[1]))


def divergence(weights: Float[Array, "N *b"], log_base: Float[Array, "N *b"]) -> Float[Array, ""]:
    """How far weights are from what they weigh.

    Args:
        weights: w, [N, *b], which sum to 1 over the candidates.
        log_base: as of `action_weights`, [N, *b].

    Returns:
        E_s KL(w ‖ π_old), nats.
    """
    own = jax.scipy.special.xlogy(weights, weights)
    return (own - jnp.where(weights > 0, weights * log_base, 0.0)).sum(0).mean()


def weighted_likelihood(parts: Any, raw: Any, weights: Float[Array, "N *b"]) -> Float[Array, ""]:
    """The fit of the M-step of MPO, each part of the step by itself (Abdolmaleki et al., 2018).

    Args:
        parts: distributions of b states, of which each takes one part of the step from the old ones.
        raw: candidates, or what they are made of, [N, *b, ...].
        weights: w, [N, *b], which sum to 1 over the candidates.

    Returns:
        E_s Σ w log π, summed over the parts.
    """
    # E_s Σ_j w_j [log N(a_j; μ_θ, σ_old) + log N(a_j; μ_old, σ_θ)]
    weights, raw = jax.lax.stop_gradient((weights, raw))
    return sum(((weights * jax.vmap(part.log_prob)(raw)).sum(0).mean() for part in parts), jnp.zeros(()))


def divergences(old: Any, parts: Any) -> Float[Array, " K"]:
    """How far the parts of a step go.

    Args:
        old: distributions of b states that the step sets out from.
        parts: those after each part of the step.

    Returns:
        E_s KL(π_old ‖ π_θ) of each, nats, [K].
    """
    return jnp.stack([jax.lax.stop_gradient(old).kl(part).mean() for part in parts])


def bounded_loss(
    likelihood: Float[Array, ""], kls: Float[Array, " K"], log_multipliers: Float[Array, " K"]
) -> Float[Array, ""]:
    """The M-step within bounded divergences (MPO; V-MPO: Song et al., 2020).

    Args:
        likelihood: to maximise, of the new policy.
        kls: of the parts of the step, nats, [K].
        log_multipliers: log α, [K].

    Returns:
        To minimise over the policy.
    """
    # −L + Σ_k α_k KL_k; −Σ_k α_k ε_k has no derivative in the policy
    return (jax.lax.stop_gradient(jnp.exp(log_multipliers)) * kls).sum() - likelihood


def ascended(
    log_multipliers: Float[Array, " K"], kls: Float[Array, " K"], epsilons: Float[Array, " K"], rate: Any
) -> Float[Array, " K"]:
    """Multipliers a step nearer to those that hold the bounds.

    The gradient of α (KL − ε) in log α is taken relative to α ε and clipped: one step too far must not raise α, and
    by that the next gradient, without end.

    Args:
        log_multipliers: log α, [K].
        kls: of the parts of the step, nats, [K].
        epsilons: the bounds ε, nats, [K].
        rate: the greatest change of log α.

    Returns:
        log α, [K], with α between 1e-3 and 1e3.
    """
    # log α ← log α + rate (KL − ε)/ε
    moved = log_multipliers + rate * jnp.clip(kls / epsilons - 1.0, -1.0, 1.0)
    return jnp.clip(moved, -_LARGEST, _LARGEST)


def top_half(advantages: Float[Array, "..."]) -> Bool[Array, "..."]:
    """Which advantages are among the greater half, exactly half of them (Song et al., 2020).

    Args:
        advantages: of any shape; of an odd number of them the half is rounded up.

    Returns:
        Of the same shape.
    """
    flat = advantages.ravel()
    chosen = jax.lax.top_k(flat, (flat.size + 1) // 2)[1]
    return jnp.zeros(flat.shape, bool).at[chosen].set(True).reshape(advantages.shape)


def half_base(advantages: Float[Array, " N"]) -> Float[Array, " N"]:
    """The better half as candidates of equal weights: the `log_base` of V-MPO, for the functions above.

    With it `action_weights` are its ψ ∝ exp(A/η) (Song et al., 2020), and `temperature_dual` is its loss
    η ε + η log mean exp(A/η), the mean over the better half.

    Args:
        advantages: A, [N].

    Returns:
        −log of their number, −∞ of the others, [N].
    """
    chosen = top_half(advantages)
    return jnp.where(chosen, -jnp.log(chosen.sum()), -jnp.inf)
