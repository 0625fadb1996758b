"""Exact inference where states and actions are few: messages backwards and forwards in time, and value iteration."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...dynamics.checks import boolean, distributions, integer
from ...dynamics.constraints import constraint_names
from ...dynamics.pytrees import pytree, static
from ...dynamics.wrapper import Wrapper
from ..options import checked

_FIELDS = ("transitions", "rewards", "initial", "final", "terminal", "discount")


@pytree
class Messages:
    """The posterior over trajectories of a tabular model, or the structured one nearest to it.

    Values are in log units, rewards divided by the temperature β; multiply them by β for units of reward.

    Attributes:
        values: Vₜ(s), the log-evidence of what is ahead at each state, [T, S].
        q_values: Qₜ(s, a), [T, S, A].
        policy: p(aₜ|sₜ, O), [T, S, A].
        state_marginals: p(sₜ|O), [T + 1, S]. In the direct form with γ < 1, the probability of being in that state
            and of having survived until then, which sums to less than 1.
        log_evidence: log p(O), a scalar; in the structured form the greatest ELBO.
        final_values: V at the horizon, [S].
        temperature: β, a scalar.
        structured: which form it is.
    """

    values: Float[Array, "T S"]
    q_values: Float[Array, "T S A"]
    policy: Float[Array, "T S A"]
    state_marginals: Float[Array, "T+1 S"]
    log_evidence: Float[Array, ""]
    final_values: Float[Array, " S"]
    temperature: Float[Array, ""]
    structured: bool = static()

    def dynamics(self, mdp: Any, step: Any) -> Float[Array, "S A S"]:
        """The transitions that the posterior believes in: this is where the direct form is an optimist.

        Args:
            mdp: the model that the messages are of.
            step: t, from 0 to T − 1; it may be traced.

        Returns:
            p(s'|s, a, O) of step t, [S, A, S], given survival where γ < 1; in the structured form the true ones.

        Raises:
            ValueError: if `mdp` is no tabular model, or `step` none of the steps.
        """
        mdp = _check_tabular(mdp)
        if not isinstance(step, jax.core.Tracer) and not 0 <= integer("step", step, 0) < len(self.values):
            raise ValueError(f"step must be one of the {len(self.values)} steps, got {step!r}")
        if self.structured:
            return mdp.transitions
        following = jnp.concatenate([self.values, self.final_values[None]])[step + 1]
        ahead = mdp.rewards / self.temperature + following
        # p(s'|s, a, O) ∝ P exp(r/β) exp(Vₜ₊₁(s'))
        return _weigh(mdp.transitions, ahead, axis=-1)[1]


class _Backup(NamedTuple):
    """One step backwards, in log units: V [S], Q [S, A] and the policy [S, A]."""

    values: Float[Array, " S"]
    q_values: Float[Array, "S A"]
    policy: Float[Array, "S A"]


def message_passing(
    mdp: Any,
    *,
    horizon: int,
    temperature: Any,
    structured: bool = False,
    prior: Any = None,
) -> Messages:
    """Infer states and actions given optimality, p(O|τ) = exp(R(τ)/β), exactly.

    Direct: the posterior itself, which conditions the dynamics on success too:

        Qₜ(s, a) = log Σₛ' p(s'|s, a) exp(r(s, a, s')/β) [γ exp Vₜ₊₁(s') + (1 − γ)],   p(O) = Σₛ p₀(s) exp V₀(s).

    Structured: the best q(τ) = p₀(s₀) Π q(aₜ|sₜ) p(sₜ₊₁|sₜ, aₜ), which keeps the true dynamics:

        Qₜ(s, a) = Σₛ' p(s'|s, a) [r(s, a, s')/β + γ Vₜ₊₁(s')],   ELBO = Σₛ p₀(s) V₀(s) <= log p(O).

    Both: Vₜ(s) = log Σₐ p(a|s) exp Qₜ(s, a), p(a|s, O) = p(a|s) exp(Qₜ(s, a) − Vₜ(s)), and V at the horizon is the
    final value over β. The two agree where the dynamics are deterministic and γ is 1.

    In the direct form the discount γ is the probability to survive a step; one that did not is paid 0 from then on,
    exp 0 = 1. (γ log E exp V would be the evidence of no process: it raises a probability to a power.) In the
    structured form it discounts rewards and divergences from the prior alike.

    Args:
        mdp: a model of `dynamics.tabular`, with S states and A actions.
        horizon: the number T of steps.
        temperature: β > 0, in units of reward.
        structured: infer the actions only, by the best structured posterior, rather than the dynamics too.
        prior: p(a|s), [A], [S, A] or [T, S, A], rows sum to 1; uniform unless given. A probability of 0 forbids.

    Returns:
        Messages, policy, marginals and evidence; they are differentiable in the model, the temperature and the prior.

    Raises:
        ValueError: if `mdp` is no tabular model, or a parameter lies outside its range.

    Source: Levine (2018), Reinforcement learning and control as probabilistic inference, arXiv 1805.00909, sections 2
    and 3. He leaves out the uniform prior, so that his log p(O) is greater by T log A; policies are the same.
    """
    mdp, horizon = _check_tabular(mdp), checked("horizon", horizon)
    temperature, structured = checked("temperature", temperature, required=True), boolean("structured", structured)
    prior = _check_prior(mdp, prior, horizon)
    final_values = mdp.final / temperature

    def backward(following: Array, prior: Array) -> tuple[Array, _Backup]:
        backup = _backup(mdp, prior, temperature, structured, following)
        return backup.values, backup

    def forward(marginal: Array, at: tuple[Array, Array]) -> tuple[Array, Array]:
        policy, following = at
        kernel = mdp.transitions if structured else _action_values(mdp, temperature, structured, following)[1]
        marginal = jnp.einsum("s,sa,sax->x", marginal, policy, kernel)
        return marginal, marginal

    with jax.default_matmul_precision("highest"):  # a yardstick: accelerators would round matrix products
        first, backups = jax.lax.scan(backward, final_values, prior, reverse=True)
        if structured:
            log_evidence, start = mdp.initial @ first, mdp.initial
        else:
            log_evidence, start = _weigh(mdp.initial, first, axis=0)  # p(s₀|O) = p₀ exp(V₀)/p(O)
        following = jnp.concatenate([backups.values[1:], final_values[None]])
        # given O the states are a Markov chain too: rolled forwards, it is fₜ exp(Vₜ)/p(O) of the forward messages fₜ
        _, marginals = jax.lax.scan(forward, start, (backups.policy, following))
    return Messages(
        *backups,
        state_marginals=jnp.concatenate([start[None], marginals]),
        log_evidence=log_evidence,
        final_values=final_values,
        temperature=temperature,
        structured=structured,
    )


def _backup(mdp: Any, prior: Array, temperature: Any, structured: bool, following: Array) -> _Backup:
    """V, Q and policy before a step, from V after it, `following` [S]; without a temperature, the hard ones."""
    q_values, _ = _action_values(mdp, temperature, structured, following)
    if temperature is not None:
        values, policy = _weigh(prior, q_values, axis=-1)  # V = log Σ p exp(Q), π = p exp(Q − V)
        return _Backup(values, q_values, policy)
    allowed = jnp.where(prior > 0, q_values, -jnp.inf)
    rounding = 8.0 * jnp.finfo(q_values.dtype).eps * jnp.abs(q_values).max(-1, keepdims=True)
    greedy = (allowed >= allowed.max(-1, keepdims=True) - rounding).astype(q_values.dtype)
    policy = greedy / greedy.sum(-1, keepdims=True)
    return _Backup((policy * q_values).sum(-1), q_values, policy)  # V = max Q


def _action_values(mdp: Any, temperature: Any, structured: bool, following: Array) -> tuple[Array, Array]:
    """Q [S, A], and its derivative in `following`, [S, A, S]: γ P, or, if direct, p(s' and survival|s, a, O)."""
    rewards = mdp.rewards if temperature is None else mdp.rewards / temperature
    if structured:
        # Q = Σ P (r/β + γ V)
        q_values = (mdp.transitions * (rewards + mdp.discount * following)).sum(-1)
        return q_values, mdp.discount * mdp.transitions
    # Q = log Σ P exp(r/β) [γ exp(V) + (1 − γ) exp(0)]
    survival = jnp.stack([mdp.discount, 1.0 - mdp.discount])[:, None]
    ahead, (survives, _) = _weigh(survival, jnp.stack([following, jnp.zeros_like(following)]), axis=0)
    q_values, tilted = _weigh(mdp.transitions, rewards + ahead, axis=-1)
    return q_values, tilted * survives


def _weigh(weights: Array, exponents: Array, axis: int) -> tuple[Array, Array]:
    """The logarithm of Σ w exp(x) over `axis`, −∞ where no weight is positive, and each term's share of the sum.

    Unlike a sum over log w + x, it has the derivative in a weight that is 0, and no NaN in any.
    """
    greatest = jax.lax.stop_gradient(jnp.where(weights > 0, exponents, -jnp.inf).max(axis, keepdims=True))
    greatest = jnp.where(greatest == -jnp.inf, 0.0, greatest)
    shifted = exponents - greatest
    # cut what has no weight and would overflow: 0 · ∞ is NaN
    most = 0.5 * math.log(jnp.finfo(shifted.dtype).max)
    cut = jnp.where(weights > 0, shifted, jnp.minimum(shifted, most))
    terms = weights * jnp.exp(cut)
    total = terms.sum(axis, keepdims=True)
    none = total == 0.0
    total = jnp.where(none, 1.0, total)
    # log(1 + x) of a small x: where it is hot all exponents are small, and 1 + x has lost their digits
    excess = weights.sum(axis, keepdims=True) - 1.0  # that of a distribution is rounding
    rounding = jnp.abs(excess) <= 2.0 * weights.shape[axis] * jnp.finfo(total.dtype).eps
    excess = jnp.where(rounding, excess - jax.lax.stop_gradient(excess), excess)
    near = (total > 0.5) & ~none
    change = jnp.where(near, (weights * jnp.expm1(jnp.where(near, cut, 0.0))).sum(axis, keepdims=True) + excess, 0.0)
    logarithm = jnp.where(near, jnp.log1p(change), jnp.log(jnp.where(near, 1.0, total)))
    return jnp.where(none, -jnp.inf, logarithm + greatest).squeeze(axis), terms / total


def _check_tabular(mdp: Any) -> Any:
    """Return `mdp`, or raise a `ValueError` unless it has the tables of a tabular model."""
    missing = [name for name in _FIELDS if not hasattr(mdp, name)]
    kind = type(mdp).__name__
    if names := constraint_names(mdp):
        raise ValueError(
            f"mdp must be a model without constraints, which exact inference does not keep, got {kind} with "
            f"{', '.join(names)}: take a planner that samples, or forbid actions by a prior of 0"
        )
    if missing and isinstance(mdp, Wrapper):
        raise ValueError(
            f"mdp must be a model of dynamics.tabular as it is, for what wrappers change is in none of its tables, "
            f"got {kind} around {type(mdp.model).__name__}"
        )
    if missing:
        raise ValueError(f"mdp must be a model of dynamics.tabular, got {kind} without {', '.join(missing)}")
    if jnp.ndim(mdp.transitions) != 3:
        shape = jnp.shape(mdp.transitions)
        raise ValueError(f"mdp must be one model (vmap over several), got transitions of shape {shape}")
    return mdp


def _check_prior(mdp: Any, prior: Any, horizon: int | None = None) -> Float[Array, "... S A"]:
    """Return p(a|s) as [S, A], or for a horizon as [T, S, A], or raise a `ValueError`; traced values pass."""
    num_states, num_actions = mdp.transitions.shape[:2]
    shape = (num_states, num_actions) if horizon is None else (horizon, num_states, num_actions)
    if prior is None:
        return jnp.full(shape, 1.0 / num_actions)
    rows = distributions("prior", prior)
    allowed = [shape[first:] for first in reversed(range(len(shape)))]
    if rows.shape not in allowed:
        raise ValueError(f"prior must have one of the shapes {', '.join(map(str, allowed))}, got {rows.shape}")
    return jnp.broadcast_to(rows, shape)
