"""Values of what a planner does: learnt from its episodes, they are what lies beyond its horizon in the next ones."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax.dynamics.base import Model, check_model
from mirrax.dynamics.checks import callback, integer, number, real
from mirrax.dynamics.perceptron import layer_sizes
from mirrax.learning.planned_experience import Segment, blank_segment, planners_begun, planners_driven
from mirrax.learning.policies.algorithm import check_discount, with_params
from mirrax.learning.policies.networks import bound_observe, check_observe, observed_size
from mirrax.learning.policies.records import UpdateRecord
from mirrax.learning.policies.returns import lambda_returns
from mirrax.learning.policies.values import AmortisedValue, ValueFit, beyond, first_fit, fitted
from mirrax.learning.resuming import planned_settings, restored, write
from mirrax.learning.store import opened
from mirrax.planners.api import check_planner
from mirrax.planners.checks import check_key, explained, name_of
from mirrax.planners.rollouts.placement import sharding_of


class ValueTraining(NamedTuple):
    """What came of learning a value.

    Attributes:
        value: state -> its value under the planner, discounted, in units of reward; a pytree.
        records: of the rounds, in their order; their numbers are `value_loss`, of the last gradient steps in squared
            units of a value, and `value_error`, the root mean square of what came less what the value had foretold,
            in units of reward.
    """

    value: AmortisedValue
    records: tuple[UpdateRecord, ...]

    @property
    def returns(self) -> np.ndarray:
        """The mean sum of rewards of the episodes that were over in each round, NaN for none, [rounds]."""
        return np.array([record.earned for record in self.records])

    def beyond(self, model: Model) -> Model:
        """A model that has the value beyond the horizon, and is discounted as the value is."""
        return beyond(model, self.value)


def learn_value(
    env: Model,
    planner: Any,
    key: PRNGKeyArray,
    *,
    num_rounds: int = 20,
    num_envs: int = 4,
    num_steps: int = 128,
    episode_steps: int = 1000,
    discount: Any = 0.99,
    trace: Any = 0.95,
    hidden: Any = (64, 64),
    num_members: int = 5,
    observe: Callable[..., Any] | None = None,
    learning_rate: Any = 1e-3,
    num_sweeps: int = 4,
    num_gradient_steps: int = 64,
    batch_size: int = 256,
    replay_size: int = 50_000,
    max_seconds: Any = None,
    out: Path | str | None = None,
    resume: bool = False,
    save_every: int = 10,
    about: Mapping[str, Any] | None = None,
    progress: Callable[[UpdateRecord], None] | None = None,
) -> ValueTraining:
    """Learn what lies beyond a planner's horizon from the planner's own episodes (POLO: Lowrey et al., 2019).

    A round drives several copies of the environment by planning with the value there is, at first 0, and regresses
    the value on the λ-returns of what came of it: V ← E[Σ γ^t r_t] under the planner with that value. A planner that
    falls learns that states from which it falls are worth little, looks ahead to them, and keeps away. It compiles a
    round itself, once for the same kinds of arguments. Numbers depend on the key and the number of the round alone: a
    training that goes on is the one that was not ended.

    Args:
        env: the environment, in which it is planned and acted.
        planner: how to plan, with any horizon; one that is spread over devices cannot be driven in copies.
        key: of everything random.
        num_rounds: how many, at most.
        num_envs: how many copies of the environment there are.
        num_steps: of each copy in a round.
        episode_steps: after how many steps the time of an episode is up; the state reached then has its value still.
        discount: γ in [0, 1), of the value and of plans: Σ_{t<H} γ^t r_t + γ^H V(s_H); times the environment's own.
        trace: λ in [0, 1]; 1 for whole returns, 0 for one step and the value after it.
        hidden: the sizes of the hidden layers of each network of the value.
        num_members: how many networks there are, whose mean the value is: a planner looks for what one overrates.
        observe: state -> observation [n]; None for `state.obs` where there is one, else the coordinates of the state.
        learning_rate: of Adam, > 0.
        num_sweeps: how often in a round the λ-returns are computed anew.
        num_gradient_steps: after each of these.
        batch_size: how many states a gradient step sees.
        replay_size: of how many latest transitions these are drawn.
        max_seconds: of wall-clock time, compilation included, after which no round begins; None for no limit.
        out: the folder to write to: a line of metrics per round, now and then a checkpoint, and the value that has
            been learnt by then, for `learning.load`; None writes nothing.
        resume: whether to go on with the training in `out`.
        save_every: after how many rounds there is a checkpoint; there is one after the last.
        about: what else to say in `train.json`, JSON.
        progress: called after each round.

    Returns:
        The value, and how it went.

    Raises:
        ImportError: with `out`, without the package orbax-checkpoint.
        ValueError: for a parameter outside its range, if planner and environment do not fit, if what is earned is not
            finite, or if what is in `out` is damaged, or of another training.
        OSError: if `out` cannot be written; what was written before stays whole.
    """
    began = time.perf_counter()
    check_model("env", env)
    check_planner(planner)
    if sharding_of(planner) is not None:
        raise ValueError("planner must not be spread over devices (sharding) where several copies of it plan")
    num_rounds, num_envs = integer("num_rounds", num_rounds), integer("num_envs", num_envs)
    members = integer("num_members", num_members)
    num_steps, limit = integer("num_steps", num_steps), jnp.asarray(integer("episode_steps", episode_steps))
    num_sweeps, batch_size = integer("num_sweeps", num_sweeps), integer("batch_size", batch_size)
    num_gradient_steps = integer("num_gradient_steps", num_gradient_steps)
    replay_size = integer("replay_size", replay_size, num_envs * num_steps)
    discount, trace = check_discount(discount), real("trace", trace, minimum=0.0, maximum=1.0)
    if not discount < 1:
        raise ValueError(f"discount must be below 1: a value of endless time has no end, got {discount}")
    rate = real("learning_rate", learning_rate, above=0.0)
    most = np.inf if max_seconds is None else number("max_seconds", max_seconds, minimum=0.0)
    save_every = integer("save_every", save_every)
    callback("progress", progress)
    value_key, env_key, rounds_key = jax.random.split(check_key(key), 3)
    state = env.init(jax.random.clone(env_key))  # environments begin with this key, too
    seen = bound_observe(check_observe(observe), env)
    size = observed_size(seen, state)
    fit = first_fit(value_key, seen, size, layer_sizes(hidden), discount, normalized=True, num_members=members)
    draw_key = jax.random.clone(value_key)
    seed = int(jax.random.randint(draw_key, (), 0, np.iinfo(np.int32).max))
    segments: list[Segment] = []
    most_segments = replay_size // (num_envs * num_steps)
    numbers: dict[str, Any] = {"num_envs": num_envs, "num_steps": num_steps, "episode_steps": int(limit)}
    numbers |= {"num_sweeps": num_sweeps, "num_gradient_steps": num_gradient_steps, "batch_size": batch_size}
    numbers |= {"replay_size": replay_size, "discount": discount, "trace": trace, "learning_rate": rate}
    store = opened(out, resume, about, lambda: planned_settings(env, planner, check_key(key), fit.value, numbers))
    records: list[UpdateRecord] = []
    with explained(f"raised while {name_of(planner)} drove {type(env).__name__}", env, state):
        imagined = beyond(env, fit.value)
        drivers = planners_begun(env, imagined, planner, env_key, limit, num_envs)
        if store is not None and resume:
            segment = blank_segment(env, imagined, planner, seen, drivers, limit, num_steps)
            start = fit, drivers
            found, records = restored(
                store, lambda count: (start, [segment] * min(count, most_segments)), seen, num_rounds, "num_rounds"
            )
            (fit, drivers), segments = found[0], jax.device_get(found[1])
            imagined = beyond(env, fit.value)
            began -= records[-1].seconds if records else 0.0
        for round_number in range(len(records), num_rounds):
            if records and records[-1].seconds >= most:
                break
            draws = np.random.default_rng((seed, round_number))
            drive_key = jax.random.fold_in(rounds_key, round_number)
            drivers, segment = planners_driven(env, imagined, planner, seen, drivers, drive_key, limit, num_steps)
            segment = jax.device_get(segment)
            if not (np.isfinite(segment.rewards).all() and np.isfinite(segment.next_observations).all()):
                raise ValueError(f"env must give finite rewards and observations, got others in round {round_number}")
            segments = [*segments, segment][-most_segments:]
            error = _error(fit.value, segment, discount, trace)
            states = np.concatenate([one.observations.reshape(-1, size) for one in segments])
            fit, losses = _with_scale(fit, states), jnp.zeros(1)
            for _ in range(num_sweeps):
                targets = np.concatenate([np.ravel(_targets(fit.value, one, discount, trace)) for one in segments])
                chosen = draws.integers(len(targets), size=(num_gradient_steps, batch_size))
                fit, losses = _regressed(fit, jnp.asarray(states[chosen]), jnp.asarray(targets[chosen]), rate)
            imagined = beyond(env, fit.value)
            record = _record(round_number, segments[-1], losses, error, time.perf_counter() - began)
            records.append(record)
            if not np.isfinite(record.numbers["value_loss"]):
                raise ValueError(f"learning_rate must be smaller: the value is not finite, got {learning_rate!r}")
            if store is not None:
                due = record.seconds >= most or len(records) % save_every == 0 or len(records) == num_rounds
                if due:
                    write(store, ((fit, drivers), segments), ValueTraining(fit.value, tuple(records)))
                store.complete(record._asdict(), synced=due)
            if progress is not None:
                progress(record)
    return ValueTraining(fit.value, tuple(records))


def _with_scale(fit: ValueFit, seen: np.ndarray) -> ValueFit:
    """With observations normalised to all that were seen, [states, n]."""
    std = seen.std(0)
    least = 1e-3 * np.maximum(np.abs(seen).max(0), 1e-3)  # what stays the same is not blown up
    params = fit.value.params._replace(mean=jnp.asarray(seen.mean(0)), std=jnp.asarray(np.maximum(std, least)))
    return fit._replace(value=with_params(fit.value, params))


@jax.jit
def _targets(value: AmortisedValue, segment: Segment, discount: Any, trace: Any) -> Float[Array, "T N"]:
    following = value.of(segment.next_observations)
    return lambda_returns(segment.rewards, discount * segment.discounts, segment.lasts, following, trace)


@jax.jit
def _error(value: AmortisedValue, segment: Segment, discount: Any, trace: Any) -> Float[Array, ""]:
    """The root mean square of what came less what the value had foretold."""
    apart = _targets(value, segment, discount, trace) - value.of(segment.observations)
    return jnp.sqrt(jnp.mean(apart**2))


@jax.jit
def _regressed(fit: ValueFit, seen: Array, targets: Array, rate: Any) -> tuple[ValueFit, Float[Array, " G"]]:
    return jax.lax.scan(lambda fit, batch: fitted(fit, *batch, rate, 1), fit, (seen, targets))


def _record(number: int, segment: Segment, losses: Any, error: Any, seconds: float) -> UpdateRecord:
    over = segment.lasts & segment.whole
    there = bool(over.any())
    return UpdateRecord(
        number=number,
        num_steps=(number + 1) * segment.rewards.size,
        earned=float(segment.earned[over].mean()) if there else float("nan"),
        num_episodes=int(over.sum()),
        num_ended=int((over & (segment.discounts == 0)).sum()),
        episode_length=float(segment.ages[over].mean()) if there else float("nan"),
        numbers={"value_loss": float(losses.mean()), "value_error": float(error)},
        seconds=seconds,
    )
