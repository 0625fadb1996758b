"""Train a plan network by its evidence bound, through a model's returns, without a planner."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from mirrax.dynamics.base import Model, State, check_model
from mirrax.dynamics.checks import callback, choice, integer, real
from mirrax.dynamics.learned.fitting import FitProgress
from mirrax.dynamics.spaces import action_space
from mirrax.learning.descending import AmortisedReport, Descent, descend, observations_of
from mirrax.planners.beliefs import gaussian
from mirrax.planners.policies import PlanNetwork
from mirrax.planners.rollouts.settings import RolloutSettings, rollout_settings
from mirrax.planners.sampling.priors import FlatPrior, as_prior, bind_prior

GRADIENTS = ("pathwise", "score")


class _Shared(NamedTuple):
    """What the bounds of all states share; the prior is None where it is flat."""

    model: Model
    temperature: Array
    prior: Any
    rollouts: RolloutSettings
    noise: Array


def amortise(
    network: PlanNetwork,
    model: Model,
    states: State,
    key: PRNGKeyArray,
    *,
    temperature: Any,
    prior: Any = None,
    gradient: str = "pathwise",
    num_samples: int = 16,
    num_scenarios: int | None = None,
    max_epochs: int = 200,
    patience: int = 50,
    batch_size: int = 32,
    learning_rate: Any = 3e-3,
    holdout_fraction: float = 0.1,
    warm_start: bool = False,
    progress: Callable[[FitProgress], None] | None = None,
) -> tuple[PlanNetwork, AmortisedReport]:
    """Amortise the posterior: max over φ of E_s E_{q_φ(a|s)}[R(a)/λ + log p(a) − log q_φ(a|s)].

    Millidge et al. (2020), amortised plans. Noise comes in pairs ε, −ε, so that pathwise gradients of the mean are
    exact where returns are quadratic. The entropy of a Gaussian is known; of a mixture all components are drawn from,
    weighed by what they weigh. It is the reverse divergence: a Gaussian takes one of several ways to go, where
    `distil` would stand between them.

    Args:
        network: q_φ, bound to the model.
        model: to imagine with.
        states: to average over, with a leading axis N; those that the controller will meet.
        key: of first parameters, batches and noise.
        temperature: λ, reward units, > 0.
        prior: p, a family, an object with `log_prob`, or "flat"; None for N(0, std²) of the network's own std.
        gradient: "pathwise", through derivatives of the returns, or "score", of log q alone with the mean of the
            other plans as a baseline, for models that have none.
        num_samples: plans per state and step, even, at least 2; of a mixture two of each component at least.
        num_scenarios: in how many scenarios each is tried; None for the model's number.
        max_epochs: the greatest number of passes over the states.
        patience: how many epochs without a better one end it.
        batch_size: how many states a step of the optimiser sees.
        learning_rate: of Adam, at first; it falls along half a cosine. > 0.
        holdout_fraction: the share of the states that only decides when to stop, in (0, 1).
        warm_start: see `distil`.
        progress: called after each epoch.

    Returns:
        The network, and what came of it.

    Raises:
        ValueError: for a parameter outside its range, states that do not fit, or losses that diverge.
    """
    callback("progress", progress)
    how = Descent(max_epochs, patience, batch_size, learning_rate, holdout_fraction, warm_start).checked()
    choice("gradient", gradient, GRADIENTS)
    check_model("model", model)
    if integer("num_samples", num_samples, 2) % 2:
        raise ValueError(f"num_samples must be even, as noise comes in pairs, got {num_samples}")
    observations, space = observations_of(network, states), action_space(model)
    network = network.init(model, jax.tree.map(lambda leaf: leaf[0], states))
    wanted = as_prior(gaussian(std=network.scale) if prior is None else prior)
    start = network.belief_of(observations[0])
    if isinstance(wanted, FlatPrior):
        wanted = None
    else:
        bound = bind_prior(wanted, start, space)
        wanted = wanted if bound is None else bound
        if not hasattr(wanted, "distribution"):
            raise ValueError(f"prior must be over plans, by itself, got {type(wanted).__name__}")
    noise_key, fit_key = jax.random.split(key)
    rollouts = rollout_settings(num_scenarios=num_scenarios)
    shared = _Shared(model, real("temperature", temperature, above=0.0), wanted, rollouts, noise_key)
    # the number of plans as a shape, so that the function is the same for every one
    pairs = jnp.zeros((len(observations), num_samples // 2, 0))
    losses = {"pathwise": _pathwise, "score": _score}
    data = (observations, states, pairs)
    return descend(network, losses[gradient], observations, data, shared, fit_key, how, progress, noisy=True)


def _drawn(network: PlanNetwork, data: Any, key: PRNGKeyArray) -> tuple[Any, Array, Array, Array]:
    """(belief, plans from pairs of noise [R, S, H, A], weights [S], key of the model's noise)."""
    observation, _, pairs = data
    belief = network.belief_of(observation)
    noise_key, model_key = jax.random.split(key)
    return belief, *network.head.pairs(noise_key, belief, 2 * len(pairs)), model_key


def _utility(data: Any, plans: Array, key: PRNGKeyArray, shared: _Shared) -> Array:
    """R/λ + log p, [R, S]."""
    flat = plans.reshape(-1, *plans.shape[2:])
    returns = shared.rollouts.score(shared.model, key, data[1], flat, differentiable=True).returns
    log_prior = 0.0 if shared.prior is None else shared.prior.distribution.log_prob(flat)
    return (returns / shared.temperature + log_prior).reshape(plans.shape[:2])


def _pathwise(network: PlanNetwork, data: Any, key: PRNGKeyArray, shared: _Shared) -> Array:
    """Minus the bound of a state, whose gradient goes through the returns."""
    belief, plans, weights, model_key = _drawn(network, data, key)
    value = (_utility(data, plans, model_key, shared) * weights).sum(-1).mean()
    if (entropy := network.head.entropy(belief, plans, weights)) is None:
        log_q = belief.log_prob(plans.reshape(-1, *plans.shape[2:])).reshape(plans.shape[:2])
        entropy = -(log_q * weights).sum(-1).mean()
    return -(value + entropy)


def _score(network: PlanNetwork, data: Any, key: PRNGKeyArray, shared: _Shared) -> Array:
    """The same, whose gradient is E[∇ log q (U − baseline)], the baseline being the mean of the other R − 1."""
    belief, plans, weights, model_key = jax.lax.stop_gradient(_drawn(network, data, key))
    utility = _utility(data, plans, model_key, shared)
    belief = network.belief_of(data[0])
    log_q = belief.log_prob(plans.reshape(-1, *plans.shape[2:])).reshape(plans.shape[:2])
    entropy = network.head.entropy(belief, plans, weights)
    if entropy is None:
        utility = utility - log_q  # E ∇ log q is 0
    utility = jax.lax.stop_gradient(utility)
    means = (utility * weights).sum(-1)
    others = (means.sum() - means) / jnp.maximum(len(means) - 1, 1)
    surrogate = (log_q * (utility - others[:, None]) * weights).sum(-1).mean()
    value = means.mean() + surrogate - jax.lax.stop_gradient(surrogate)
    return -(value if entropy is None else value + entropy)
