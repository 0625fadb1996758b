"""Maximum likelihood for an ensemble of networks: a pass over the transitions, and which parameters are kept."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from ..pytrees import strongly_typed
from .data import Data
from .model import LearnedModel
from .scaling import Scaling

_BOUND_WEIGHT = 0.01  # of the bounds of the variances in the loss (Chua et al., 2018, appendix A.1)
_FIRST_BOUNDS = (-10.0, 0.5)  # of the logarithms of variances, on the scale of targets


class Search(NamedTuple):
    """Where a fit is.

    Attributes:
        params: of all networks.
        optimizer_state: likewise.
        best: parameters after their best epoch so far.
        best_loss: on the transitions held out, [E].
    """

    params: Any
    optimizer_state: Any
    best: Any
    best_loss: Float[Array, " E"]


@jax.jit
def first_params(model: LearnedModel, key: Any) -> Any:
    """The parameters with which networks begin.

    Args:
        model: whose networks.
        key: of what is random.
    """
    low, high = _FIRST_BOUNDS
    size = model.observation_size + model.learns_reward

    def first(key: Any) -> Any:
        params = model.network.init(key, jnp.zeros_like(model.scaling.input_mean))
        return {
            "network": params,
            "min_log_var": jnp.full(size, low, float),
            "max_log_var": jnp.full(size, high, float),
        }

    return jax.vmap(first)(jax.random.split(key, model.num_members))


@functools.partial(jax.jit, static_argnames="optimizer")
def begin(model: LearnedModel, params: Any, data: Data, rates: Any, optimizer: Any) -> Search:
    """Where a fit begins; for arguments, see `one_pass`."""
    params = strongly_typed(params)
    state = strongly_typed(jax.vmap(_optimizer(rates, optimizer).init)(params))  # else the next pass is compiled anew
    return Search(params, state, params, _held_out_loss(model, params, data))


@functools.partial(jax.jit, static_argnames=("optimizer", "batch_size"))
def one_pass(
    model: LearnedModel,
    search: Search,
    data: Data,
    key: Any,
    num_steps: Any,
    rates: Any,
    optimizer: Any,
    batch_size: int,
) -> tuple[Search, Float[Array, " E"], Float[Array, " E"]]:
    """One pass over the transitions, in batches that are drawn with replacement.

    Args:
        model: without parameters.
        search: where the fit is.
        data: to fit to.
        key: of the batches.
        num_steps: of the optimiser.
        rates: learning rate and weight decay.
        optimizer: of optax, in the place of AdamW; None for that.
        batch_size: of each step.

    Returns:
        Where the fit is then; the loss of each network in this pass, and that on the transitions held out.
    """
    update = _optimizer(rates, optimizer).update

    def objective(params: Any, numbers: Int[Array, " B"]) -> tuple[Array, Array]:
        loss = _losses(model, params, data, numbers).mean()
        bounds = params["max_log_var"].sum() - params["min_log_var"].sum()
        return loss + _BOUND_WEIGHT * bounds / len(params["max_log_var"]), loss

    def learn(params: Any, state: Any, chosen: Any, key: Any) -> tuple[Any, Any, Array]:
        numbers = chosen[jax.random.randint(key, (batch_size,), 0, data.num_chosen)]
        gradient, loss = jax.grad(objective, has_aux=True)(params, numbers)
        updates, state = update(gradient, state, params)
        return optax.apply_updates(params, updates), state, loss

    def step(i: Any, carry: tuple[Any, Any, Array]) -> tuple[Any, Any, Array]:
        params, state, total = carry
        keys = jax.random.split(jax.random.fold_in(key, i), model.num_members)
        params, state, loss = jax.vmap(learn)(params, state, data.chosen, keys)
        return params, state, total + loss

    begun = (search.params, search.optimizer_state, jnp.zeros(model.num_members))
    params, state, total = jax.lax.fori_loop(0, num_steps, step, begun)
    held_out = _held_out_loss(model, params, data)
    better = held_out < search.best_loss

    def kept(new: Array, old: Array) -> Array:
        return jnp.where(better.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    best = jax.tree.map(kept, params, search.best)
    best_loss = jnp.where(better, held_out, search.best_loss)
    return Search(params, state, best, best_loss), total / num_steps, held_out


def _optimizer(rates: Any, optimizer: optax.GradientTransformation | None) -> optax.GradientTransformation:
    return optax.adamw(rates[0], weight_decay=rates[1]) if optimizer is None else optimizer


def _losses(model: LearnedModel, params: Any, data: Data, numbers: Int[Array, " B"]) -> Float[Array, " B"]:
    """Negative log-likelihoods of one network, up to a constant, nats per number."""
    scaling: Scaling = model.scaling

    def loss(inputs: Array, target: Array, goes_on: Array) -> Array:
        said = model.outputs(params, inputs)
        apart = (target - scaling.target_mean) / scaling.target_std - said.mean
        # −log N(y; μ, σ²) (Chua et al., 2018, Eq. 1)
        total = 0.5 * (apart**2 * jnp.exp(-said.log_var) + said.log_var).sum()
        if said.logit is not None:
            total = total + optax.sigmoid_binary_cross_entropy(said.logit, goes_on)
        return total / len(target)

    return jax.vmap(loss)(data.inputs[numbers], data.targets[numbers], data.goes_on[numbers])


def _held_out_loss(model: LearnedModel, params: Any, data: Data) -> Float[Array, " E"]:
    everything = jnp.arange(len(data.held_out))
    of_each = jax.lax.map(lambda params: _losses(model, params, data, everything), params)
    return jnp.where(data.held_out > 0, of_each, 0.0).sum(-1) / data.held_out.sum()
