"""Distil a planner into a plan network: maximum likelihood of its weighted plans."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax.dynamics.base import State
from mirrax.dynamics.checks import boolean, callback, number
from mirrax.dynamics.learned.fitting import FitProgress
from mirrax.learning.descending import AmortisedReport, Descent, descend, finite, observations_of
from mirrax.planners import Episode
from mirrax.planners.policies import PlanNetwork


class PlanTargets(NamedTuple):
    """What a planner has found in N states: the moments of its weighted plans, or of its Gaussian beliefs.

    They are all that the likelihood of a Gaussian with independent steps depends on; other heads of plan networks
    need the plans.

    Attributes:
        states: the model's pytree, with a leading axis N.
        mean: Σ w a, [N, H, A].
        std: (Σ w (a − mean)²)^½, >= 0, [N, H, A].
        samples: plans a, [N, K, H, A]; None where they were not kept.
        weights: w, each state's sum to 1, [N, K]; None likewise.
    """

    states: State
    mean: Float[Array, "N H A"]
    std: Float[Array, "N H A"]
    samples: Float[Array, "N K H A"] | None = None
    weights: Float[Array, "N K"] | None = None

    def joined(self, *others: "PlanTargets") -> "PlanTargets":
        """These and others, of the same kind of plans, one after the other."""
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), self, *others)


def plan_targets(
    states: State, samples: Any, weights: Any, *, limit: float | None = None, keep_plans: bool = False
) -> PlanTargets:
    """Make targets of weighted plans.

    Args:
        states: with a leading axis N.
        samples: plans a, [N, K, H, A].
        weights: w of each plan, >= 0, not all 0, [N, K].
        limit: to which plans are clipped, in either direction, as the model does (1 for actuators that have a range:
            what they make of noise is then no part of a target); None for plans as they are.
        keep_plans: whether to keep the plans beside their moments, for a head of mixtures or an autoregressive one.

    Returns:
        The moments, and the plans if they are to be kept.

    Raises:
        ValueError: if shapes do not fit, a number is not finite, or weights are negative or all 0.
    """
    if jnp.ndim(samples) != 4 or jnp.shape(weights) != jnp.shape(samples)[:2]:
        raise ValueError(
            f"samples must be [N, K, H, A], of continuous actions, and weights [N, K], got {jnp.shape(samples)} and "
            f"{jnp.shape(weights)}"
        )
    _check_states(states, len(samples))
    finite(samples=samples, weights=weights)
    totals = np.asarray(weights).sum(-1)
    if (np.asarray(weights) < 0).any() or (totals <= 0).any():
        raise ValueError("weights must be >= 0, and not all of a state's 0")
    if limit is not None:
        samples = jnp.clip(samples, -number("limit", limit, above=0.0), limit)
    shares = jnp.asarray(weights / totals[:, None])
    mean, std = _moments(samples, shares)
    if not boolean("keep_plans", keep_plans):
        return PlanTargets(states, mean, std)
    return PlanTargets(states, mean, std, jnp.asarray(samples), shares)


@jax.jit
def _moments(samples: Array, weights: Array) -> tuple[Array, Array]:
    def of_one(row: tuple[Array, Array]) -> tuple[Array, Array]:
        mean = jnp.einsum("k,kha->ha", row[1], row[0], precision="highest")
        return mean, jnp.sqrt(jnp.einsum("k,kha->ha", row[1], (row[0] - mean) ** 2, precision="highest"))

    return jax.lax.map(of_one, (samples, weights), batch_size=64)


def episode_targets(happened: Episode, *, limit: float | None = None, keep_plans: bool = False) -> PlanTargets:
    """The weighted plans of all steps of an episode, or of several, up to their ends.

    Args:
        happened: what `planners.episode` returned, or a batch of that, with axes in front of time; its planner must
            keep the plans, `keep=("weights", "samples")`. Steps that `amortised` has not planned are left out, and
            those whose plans are not finite or have no weight.
        limit: see `plan_targets`.
        keep_plans: see `plan_targets`.

    Returns:
        The targets.

    Raises:
        ValueError: if it has no plans, none of them can be used, or actions are discrete.
    """
    samples, weights = happened.infos.samples, happened.infos.weights
    if samples is None or weights is None:
        raise ValueError('happened must be by a planner that keeps its plans: give it keep=("weights", "samples")')
    used = np.cumprod(np.asarray(happened.discounts) > 0, -1).astype(bool)
    used = np.concatenate([np.ones_like(used[..., :1]), used[..., :-1]], -1)  # the action before an end counts
    if (planned := happened.infos.planned) is not None:
        used &= np.asarray(planned[..., -1])
    weights = weights[..., -1, :]
    if jnp.ndim(samples) != used.ndim + 3:
        raise ValueError(f"happened must have plans [K, H, A] of continuous actions, got {jnp.shape(samples)}")
    used &= np.isfinite(np.asarray(samples)).all((-3, -2, -1)) & np.isfinite(np.asarray(weights)).all(-1)
    used &= np.asarray(weights).sum(-1) > 0
    if not used.any():
        raise ValueError("happened must have plans that are finite and have weight, got none")
    rows = np.nonzero(used.reshape(-1))[0]
    flat: Any = jax.tree.map(
        lambda leaf: leaf.reshape(-1, *leaf.shape[used.ndim :])[rows], (happened.states, samples, weights)
    )
    return plan_targets(*flat, limit=limit, keep_plans=keep_plans)


def distil(
    network: PlanNetwork,
    targets: PlanTargets,
    key: PRNGKeyArray,
    *,
    max_epochs: int = 200,
    patience: int = 20,
    batch_size: int = 64,
    learning_rate: Any = 3e-3,
    holdout_fraction: float = 0.1,
    warm_start: bool = False,
    progress: Callable[[FitProgress], None] | None = None,
) -> tuple[PlanNetwork, AmortisedReport]:
    """Distil a planner: min over φ of −E_s Σ_k w_k log q_φ(a_k|s), the forward divergence from its posteriors.

    It compiles what it needs itself; the network's parameters are leaves, so that compiled planners go on with them.

    Args:
        network: q_φ, bound; of any head.
        targets: of a planner, for other heads than a Gaussian one with their plans; see `episode_targets`,
            `plan_targets` and `PlanTargets`.
        key: of first parameters and batches.
        max_epochs: the greatest number of passes over the states.
        patience: how many epochs without a better one end it.
        batch_size: how many states a step of the optimiser sees.
        learning_rate: of Adam, at first; it falls along half a cosine. > 0.
        holdout_fraction: the share of the states that only decides when to stop, in (0, 1).
        warm_start: whether it goes on from the network's parameters, and with its scaling of observations; else it
            begins anew.
        progress: called after each epoch.

    Returns:
        The network, and what came of it.

    Raises:
        ValueError: for a parameter outside its range, targets that are not finite, of another horizon or other
            actions, states that do not fit, or losses that diverge.
    """
    callback("progress", progress)
    how = Descent(max_epochs, patience, batch_size, learning_rate, holdout_fraction, warm_start).checked()
    if not isinstance(targets, PlanTargets):
        raise ValueError(
            f"targets must be of learning.plan_targets or learning.episode_targets, got {type(targets).__name__}"
        )
    observations = observations_of(network, targets.states)
    shape = (len(observations), *network.scale.shape)
    for name in ("mean", "std"):
        if jnp.shape(getattr(targets, name)) != shape:
            raise ValueError(
                f"targets must be {shape}, N states, horizon and actions of the network, got {name} of "
                f"{jnp.shape(getattr(targets, name))}"
            )
    finite(mean=targets.mean, std=targets.std)
    if (np.asarray(targets.std) < 0).any():
        raise ValueError("targets must have std >= 0")
    if network.head.by_moments:
        data = (observations, jnp.asarray(targets.mean), jnp.asarray(targets.std))
        return descend(network, _surprise, observations, data, None, key, how, progress)
    samples, weights = targets.samples, targets.weights
    if samples is None or weights is None:
        raise ValueError(
            f"targets must have plans for a {type(network.head).__name__}: make them with keep_plans=True, got None"
        )
    if jnp.shape(samples) != (*jnp.shape(weights), *shape[1:]) or len(weights) != len(observations):
        raise ValueError(f"targets must have samples [N, K, H, A] and weights [N, K], got {jnp.shape(samples)}")
    finite(samples=samples, weights=weights)
    plans = (observations, jnp.asarray(samples), jnp.asarray(weights))
    return descend(network, _surprise_of_plans, observations, plans, None, key, how, progress)


def _surprise(network: PlanNetwork, data: tuple[Array, Array, Array], key: PRNGKeyArray, shared: None) -> Array:
    """−Σ_k w_k log q(a_k), per number, without ½ log 2π."""
    observation, mean, std = data
    said = network.belief_of(observation)
    return (jnp.log(said.std) + 0.5 * ((mean - said.mean) ** 2 + std**2) / said.std**2).mean()


def _surprise_of_plans(
    network: PlanNetwork, data: tuple[Array, Array, Array], key: PRNGKeyArray, shared: None
) -> Array:
    """The same by the plans themselves, whatever the head."""
    observation, plans, weights = data
    log_prob = network.belief_of(observation).log_prob(plans)
    return -(weights * log_prob).sum() / plans[0].size - 0.5 * jnp.log(2.0 * jnp.pi)


def _check_states(states: Any, size: int) -> None:
    if any(jnp.shape(leaf)[:1] != (size,) for leaf in jax.tree.leaves(states)):
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(states)]
        raise ValueError(f"states must have a leading axis of {size}, as plans have, got {shapes}")
