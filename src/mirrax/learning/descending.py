"""Fit a plan network to states: stochastic gradient descent, stopped early on states held out."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PRNGKeyArray

from mirrax.dynamics.checks import boolean, integer, number, real
from mirrax.dynamics.learned.data import split
from mirrax.dynamics.learned.fitting import FitProgress
from mirrax.planners.policies import PlanNetwork

_BLOCK = 64  # states at once, of those held out
_FEWEST = 10  # states to learn from
_ADAM = optax.chain(optax.clip_by_global_norm(10.0), optax.scale_by_adam())


@dataclasses.dataclass(frozen=True)
class AmortisedReport:
    """What came of fitting a plan network.

    Attributes:
        loss: of the states that it is fitted to, in each epoch, the mean over its steps, [epochs]. Of `distil` −log q
            up to a constant, nats per number of a plan; of `amortise` minus the evidence bound, nats per plan.
        holdout_loss: of those held out, after each epoch, [epochs].
        first_loss: of those held out, before.
        best_epoch: after which the network is kept; 0 for as it was before. Of `distil` that of the least
            `holdout_loss`; of `amortise`, whose losses are noisy, the last one that cannot be told from it.
        num_states: how many there were, those held out included.
        num_held_out: how many were held out.
        stopped_early: whether it ended before `max_epochs`, because nothing got better.
        seconds: how long it took, compilation included.
    """

    loss: np.ndarray
    holdout_loss: np.ndarray
    first_loss: float
    best_epoch: int
    num_states: int
    num_held_out: int
    stopped_early: bool
    seconds: float


@dataclasses.dataclass(frozen=True)
class Descent:
    """How to descend; the attributes are options of `distil` and `amortise`."""

    max_epochs: int
    patience: int
    batch_size: int
    learning_rate: Any
    holdout_fraction: float
    warm_start: bool

    def checked(self) -> "Descent":
        """The same, or a `ValueError` for an option outside its range."""
        for name in ("max_epochs", "patience", "batch_size"):
            integer(name, getattr(self, name))
        rate = real("learning_rate", self.learning_rate, above=0.0)
        number("holdout_fraction", self.holdout_fraction, above=0.0, below=1.0)
        boolean("warm_start", self.warm_start)
        return dataclasses.replace(self, learning_rate=rate)


# (network, data of one state, key, what all states share) -> loss of that state
Loss = Callable[[PlanNetwork, Any, PRNGKeyArray, Any], Array]


def observations_of(network: Any, states: Any) -> Array:
    """What the network observes of states, [N, n], or a `ValueError` unless they fit it and are finite."""
    if not isinstance(network, PlanNetwork):
        raise ValueError(f"network must be a planners.policies.plan_network, got {type(network).__name__}")
    network.check_bound()
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(states)}
    if len(sizes) != 1 or () in sizes:
        raise ValueError(f"states must have one leading axis N in all their leaves, got {sorted(sizes)}")
    ((size,),) = sizes
    if size < _FEWEST:
        raise ValueError(f"states must be at least {_FEWEST}, got {size}")
    observations = jax.vmap(network.observe)(states)
    if observations.shape[1:] != network.center.shape:
        raise ValueError(
            f"states must give observations of {network.center.shape[0]} numbers, those that the network "
            f"is bound to, got {observations.shape[1:]}"
        )
    finite(states=observations)
    return observations


def finite(**parts: Any) -> None:
    """Raise a `ValueError` for an array, [N, ...], that is not finite, and say where."""
    for name, part in parts.items():
        values = np.asarray(part)
        wrong = ~np.isfinite(values.reshape(len(values), -1)).all(-1)
        if wrong.any():
            raise ValueError(f"{name} must be finite, got NaN or infinity in {wrong.sum()}, first {wrong.argmax()}")


def descend(
    network: PlanNetwork,
    loss: Loss,
    observations: Array,
    data: Any,
    shared: Any,
    key: PRNGKeyArray,
    how: Descent,
    progress: Callable[[FitProgress], None] | None,
    *,
    noisy: bool = False,
) -> tuple[PlanNetwork, AmortisedReport]:
    """Descend the mean loss over states by Adam, its rate along half a cosine; the best epoch is kept.

    The states held out are the same ones whenever there are more, so that a network that goes on has never seen them.

    Losses that rest on samples are least where the network suits the noise of the states held out, not where it has
    converged: there the slope under that noise is not 0, so that the gain is of first order, and what is lost of
    second. So of the epochs that cannot be told from the best one the last is kept, at the lowest rate: those whose
    losses, state by state under the same noise, are not greater by more than two standard errors (cf. the rule of one
    standard error, Breiman et al., 1984).

    Args:
        network: bound; begins anew, and with its inputs standardised, unless the start is warm.
        loss: of a state; a function of a module's, as it is static.
        observations: of the states, [N, n].
        data: of each state, a pytree with a leading axis N.
        shared: what all states share.
        key: of batches and of the noise of losses.
        how: to descend.
        progress: called after each epoch.
        noisy: whether losses rest on samples.

    Returns:
        The network, and what came of it.

    Raises:
        ValueError: if losses diverge.
    """
    began, size = time.perf_counter(), len(observations)
    held_out, rest = split(size, how.holdout_fraction)
    first_key, holdout_key, epoch_key = jax.random.split(key, 3)
    if not how.warm_start:
        assert network.network is not None  # see `observations_of`
        spread = observations.std(0)
        network = dataclasses.replace(
            network,
            center=observations.mean(0),
            spread=jnp.where(spread > 1e-6, spread, 1.0),
            params=network.network.init(first_key, observations[0]),
        )
    tested, seen = (jax.tree.map(lambda leaf: leaf[rows], data) for rows in (held_out, rest))  # noqa: B023
    batch_size = min(how.batch_size, len(rest))
    params, moments = network.params, _ADAM.init(network.params)
    least = np.asarray(_held_out(loss, network, tested, shared, holdout_key))
    first = least_loss = float(least.mean())
    kept, kept_epoch, least_epoch, epoch, losses, holdout_losses = params, 0, 0, 0, [], []
    for epoch in range(1, how.max_epochs + 1):
        rate = how.learning_rate * 0.5 * (1.0 + math.cos(math.pi * (epoch - 1) / how.max_epochs))
        now = jax.random.fold_in(epoch_key, epoch)
        params, moments, own = _one_pass(loss, network, params, moments, seen, shared, now, rate, batch_size)
        own_losses = np.asarray(
            _held_out(loss, dataclasses.replace(network, params=params), tested, shared, holdout_key)
        )
        now_loss = float(own_losses.mean())
        if not math.isfinite(now_loss):
            raise ValueError(
                f"learning_rate must be smaller, or returns finite: losses are not after epoch {epoch}, got "
                f"{float(how.learning_rate):g}"
            )
        losses.append(float(own))
        holdout_losses.append(now_loss)
        if now_loss < least_loss or not math.isfinite(least_loss):
            least, least_loss, least_epoch = own_losses, now_loss, epoch
        worse = own_losses - least
        if epoch == least_epoch or (noisy and worse.mean() <= 2.0 * worse.std() / math.sqrt(len(worse))):
            kept, kept_epoch = params, epoch
        if progress is not None:
            progress(FitProgress(epoch, how.max_epochs, now_loss, least_loss))
        if epoch - least_epoch >= how.patience:
            break
    return dataclasses.replace(network, params=kept), AmortisedReport(
        loss=np.array(losses),
        holdout_loss=np.array(holdout_losses),
        first_loss=first,
        best_epoch=kept_epoch,
        num_states=size,
        num_held_out=len(held_out),
        stopped_early=epoch < how.max_epochs,
        seconds=time.perf_counter() - began,
    )


@functools.partial(jax.jit, static_argnames=("loss", "batch_size"))
def _one_pass(
    loss: Loss,
    network: PlanNetwork,
    params: Any,
    moments: Any,
    data: Any,
    shared: Any,
    key: PRNGKeyArray,
    rate: Array,
    batch_size: int,
) -> tuple[Any, Any, Array]:
    """One epoch: (parameters, moments of Adam, mean loss)."""
    size = len(jax.tree.leaves(data)[0])
    number = size // batch_size
    order_key, noise_key = jax.random.split(key)
    rows = jax.random.permutation(order_key, size)[: number * batch_size].reshape(number, batch_size)

    def step(carry: tuple[Any, Any], now: tuple[Array, Array]) -> tuple[tuple[Any, Any], Array]:
        (params, moments), (rows, key) = carry, now
        batch = jax.tree.map(lambda leaf: leaf[rows], data)

        def mean(params: Any) -> Array:
            own = dataclasses.replace(network, params=params)
            keys = jax.random.split(key, batch_size)
            return jax.vmap(lambda one, key: loss(own, one, key, shared))(batch, keys).mean()

        value, slope = jax.value_and_grad(mean)(params)
        updates, moments = _ADAM.update(slope, moments)
        params = jax.tree.map(lambda value, update: value - rate * update, params, updates)
        return (params, moments), value

    keys = jax.random.split(noise_key, number)
    (params, moments), losses = jax.lax.scan(step, (params, moments), (rows, keys))
    return params, moments, losses.mean()


@functools.partial(jax.jit, static_argnames="loss")
def _held_out(loss: Loss, network: PlanNetwork, data: Any, shared: Any, key: PRNGKeyArray) -> Array:
    """The loss of each state, always under the same noise."""
    keys = jax.random.split(key, len(jax.tree.leaves(data)[0]))
    return jax.lax.map(lambda row: loss(network, row[0], row[1], shared), (data, keys), batch_size=_BLOCK)
