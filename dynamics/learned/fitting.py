"""Fit an ensemble of networks to transitions: maximum likelihood, stopped early on transitions held out."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from ..base import check_model
from ..checks import boolean, callback, integer, number, real
from .data import LEAST_CAPACITY, Data, least_scale, matched, prepared, present, split
from .likelihood import begin, first_params, one_pass
from .model import LearnedModel
from .scaling import scaling_of
from .transitions import Transitions

_IMPROVEMENT = 0.01  # nats per number: what counts as better on the transitions held out
# what patience is unless given: so many steps of the optimiser, or epochs where these are more
_STEPS, _EPOCHS = 1000, 5


class FitProgress(NamedTuple):
    """Where a fit is, for who watches.

    Attributes:
        epoch: how many are over.
        max_epochs: how many there may be.
        loss: of the networks on the transitions held out, their mean, nats per number.
        best: the least of the epochs so far.
    """

    epoch: int
    max_epochs: int
    loss: float
    best: float


@dataclasses.dataclass(frozen=True)
class FitReport:
    """What came of a fit.

    Attributes:
        loss: negative log-likelihood of each network in each epoch, on the transitions that it is fitted to, up to a
            constant, nats per number, [epochs, E].
        holdout_loss: the same on those held out, [epochs, E].
        best_epoch: after which each network is kept, [E]; 0 for as it was before.
        error: root mean square of the errors of the mean of the networks on the transitions held out, in the units
            of observations, [n].
        spread: root mean square of the standard deviations that they expect there, of both kinds together, [n]; well
            calibrated is a spread as great as the error.
        reward_error: the same of rewards; None where they are not learnt.
        num_transitions: how many there were, those held out included.
        num_held_out: how many were held out.
        stopped_early: whether it ended before `max_epochs`, because nothing got better.
        seconds: how long it took, compilation included.
    """

    loss: np.ndarray
    holdout_loss: np.ndarray
    best_epoch: np.ndarray
    error: np.ndarray
    spread: np.ndarray
    reward_error: float | None
    num_transitions: int
    num_held_out: int
    stopped_early: bool
    seconds: float


def fit(
    model: LearnedModel,
    dataset: Transitions,
    key: PRNGKeyArray,
    *,
    max_epochs: int = 200,
    patience: int | None = None,
    batch_size: int = 64,
    learning_rate: Any = 1e-3,
    weight_decay: Any = 1e-5,
    optimizer: optax.GradientTransformation | None = None,
    holdout_fraction: float = 0.1,
    bootstrap: bool = True,
    warm_start: bool = True,
    progress: Callable[[FitProgress], None] | None = None,
) -> tuple[LearnedModel, FitReport]:
    """Fit a model to transitions.

    Each network maximises the likelihood of a bootstrap of its own (Chua et al., 2018, Eq. 1), until none of them has
    got better on the transitions held out for some epochs; of each the best epoch is kept. Of a dataset that has
    grown the same transitions are held out as before. It compiles what it needs itself; a program serves until there
    are twice as many transitions.

    Args:
        model: as `dynamics.learned` made it, or fitted before.
        dataset: of its environment; `transitions` makes it of arrays.
        key: of first parameters, bootstraps and batches.
        max_epochs: the greatest number of passes over the transitions.
        patience: how many epochs without a better one end it; None for as many as make 1,000 steps of the optimiser,
            five at least: of few transitions an epoch is a few steps.
        batch_size: how many transitions a step of the optimiser sees.
        learning_rate: of AdamW, > 0.
        weight_decay: of AdamW, >= 0.
        optimizer: of optax, in the place of AdamW; keep the object, for another one is compiled anew.
        holdout_fraction: the share of the transitions that only decides when to stop, in (0, 1).
        bootstrap: whether each network draws its transitions with replacement, else all have the same.
        warm_start: whether a model that has been fitted goes on from its parameters.
        progress: called after each epoch.

    Returns:
        The fitted model, and what came of it.

    Raises:
        ValueError: for a parameter outside its range, if the dataset does not fit the model or has fewer than ten
            transitions, or if the losses diverge.
    """
    began = time.perf_counter()
    if not isinstance(check_model("model", model), LearnedModel):
        raise ValueError(f"model must be a learned model (dynamics.learned), got {type(model).__name__}")
    max_epochs, batch_size = integer("max_epochs", max_epochs), integer("batch_size", batch_size)
    fraction = number("holdout_fraction", holdout_fraction, above=0.0, below=1.0)
    boolean("warm_start", warm_start)
    callback("progress", progress)
    rates = (real("learning_rate", learning_rate, above=0.0), real("weight_decay", weight_decay, minimum=0.0))
    dataset = matched(model, dataset)
    num_held_out = len(split(dataset.size, fraction)[0])
    init_key, data_key, epoch_key = jax.random.split(key, 3)
    data = prepared(model, dataset, data_key, fraction, boolean("bootstrap", bootstrap))
    there, least = present(data, dataset.size), least_scale(model, dataset)
    scaling = scaling_of(data.inputs, data.targets, there, least, data.goes_on)
    model = dataclasses.replace(model, scaling=scaling)
    params = model.params if warm_start and model.params is not None else first_params(model, init_key)
    model = dataclasses.replace(model, params=None)
    search = begin(model, params, data, rates, optimizer)
    epoch_steps = -(-(dataset.size - num_held_out) // batch_size)
    patience = max(_EPOCHS, -(-_STEPS // epoch_steps)) if patience is None else integer("patience", patience)
    num_steps = jnp.asarray(epoch_steps)
    losses, held_out_losses = [], []
    best_epoch, best_loss = np.zeros(model.num_members, int), np.asarray(search.best_loss)
    told = best_loss.copy()  # what counts as the best so far
    last_better, epoch = 0, 0
    for epoch in range(1, max_epochs + 1):
        key = jax.random.fold_in(epoch_key, epoch)
        search, loss, held_out = one_pass(model, search, data, key, num_steps, rates, optimizer, batch_size)
        losses.append(np.asarray(loss))
        held_out_losses.append(np.asarray(held_out))
        if not np.isfinite(held_out_losses[-1]).all():
            raise ValueError(
                f"learning_rate must be smaller: losses are not finite after epoch {epoch}, got {learning_rate!r}"
            )
        best_epoch = np.where(held_out_losses[-1] < best_loss, epoch, best_epoch)
        best_loss = np.minimum(best_loss, held_out_losses[-1])
        if (better := held_out_losses[-1] < told - _IMPROVEMENT).any():
            told, last_better = np.where(better, held_out_losses[-1], told), epoch
        if progress is not None:
            progress(FitProgress(epoch, max_epochs, float(held_out_losses[-1].mean()), float(best_loss.mean())))
        if epoch - last_better >= patience:
            break
    model = dataclasses.replace(model, params=search.best)
    error, spread = (np.asarray(values) for values in _errors(model, data))
    size = model.observation_size
    return model, FitReport(
        loss=np.stack(losses),
        holdout_loss=np.stack(held_out_losses),
        best_epoch=best_epoch,
        error=error[:size],
        spread=spread[:size],
        reward_error=float(error[size]) if model.learns_reward else None,
        num_transitions=dataset.size,
        num_held_out=num_held_out,
        stopped_early=epoch - last_better >= patience,
        seconds=time.perf_counter() - began,
    )


@jax.jit
def _errors(model: LearnedModel, data: Data) -> tuple[Float[Array, " T"], Float[Array, " T"]]:
    """Root mean squares of errors and of expected standard deviations, in the units of targets, of those held out."""

    def of_one(inputs: Array, target: Array) -> tuple[Array, Array]:
        said = jax.vmap(lambda params: model.outputs(params, inputs))(model.params)
        unit = model.scaling.target_std
        apart = target - model.scaling.target_mean - unit * said.mean.mean(0)
        return apart**2, unit**2 * (said.mean.var(0) + jnp.exp(said.log_var).mean(0))

    squares = jax.lax.map(lambda row: of_one(*row), (data.inputs, data.targets), batch_size=LEAST_CAPACITY)
    weights = data.held_out / data.held_out.sum()
    error, spread = (jnp.sqrt(jnp.where(weights[:, None] > 0, s, 0.0).T @ weights) for s in squares)
    return error, spread
