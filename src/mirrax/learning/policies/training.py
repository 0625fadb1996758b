"""The loop in which an amortised policy is learnt: drive, learn from it, drive again."""

import functools
import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from mirrax.dynamics.base import Model, check_model
from mirrax.dynamics.checks import boolean, callback, integer, real
from mirrax.dynamics.pytrees import strongly_typed
from mirrax.dynamics.spaces import action_space
from mirrax.learning.policies.algorithm import Setting
from mirrax.learning.policies.categorical import CategoricalPolicy
from mirrax.learning.policies.energy import EnergyPolicy
from mirrax.learning.policies.experience import Actors, begun, drive, first_states
from mirrax.learning.policies.gaussian import TanhGaussianPolicy
from mirrax.learning.policies.networks import check_observe
from mirrax.learning.policies.records import PolicyTraining, UpdateRecord
from mirrax.learning.resuming import restored, settings_of, write
from mirrax.learning.store import opened
from mirrax.planners.checks import check_key, check_part, explained


def learn_policy(
    env: Model,
    algorithm: Any,
    key: PRNGKeyArray,
    *,
    num_updates: int = 100,
    num_envs: int = 16,
    num_steps: int = 32,
    episode_steps: int = 200,
    policy: TanhGaussianPolicy | CategoricalPolicy | EnergyPolicy | None = None,
    observe: Callable[..., Any] | None = None,
    max_seconds: float | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    save_every: int = 100,
    about: Mapping[str, Any] | None = None,
    progress: Callable[[UpdateRecord], None] | None = None,
) -> PolicyTraining:
    """Learn an amortised policy: one distribution over actions for all states.

    An update drives several copies of the environment by the present policy, and lets the algorithm learn from it.
    Episodes begin anew when they are over; the first ones are cut at different steps, and not counted. Where the
    environment ends one, what would follow is worth nothing; where its time is up, that is worth what the value says.
    It compiles an update itself, once for the same kinds of arguments. Numbers depend on the key and the number of
    the update alone, so that a training that goes on is the one that was not ended.

    Args:
        env: the environment.
        algorithm: `policy_gradient()`, `soft_q_learning()`, `mpo()`, `v_mpo()`, `ppo()` or `sac()`.
        key: of everything random; the same one gives the same policy.
        num_updates: how many, at most.
        num_envs: how many copies of the environment there are.
        num_steps: of each copy in an update.
        episode_steps: after how many steps the time of an episode is up.
        policy: where to begin, perhaps of another training: `categorical(...)` for discrete actions, else
            `tanh_gaussian(...)`, or `energy_based(...)` for `soft_q_learning`; None for the one with its defaults.
        observe: state -> observation [n], where `policy` is None; None for `state.obs` where there is one, else the
            coordinates of the state.
        max_seconds: of wall-clock time, compilation included, after which no update begins; None for no limit.
        out: the folder to write to: a line of metrics per update, now and then a checkpoint, and what has been learnt
            by then, for `learning.load`; None writes nothing.
        resume: whether to go on with the training in `out`.
        save_every: after how many updates there is a checkpoint; there is one after the last.
        about: what else to say in `train.json`, JSON.
        progress: called after each update.

    Returns:
        The policy, its value, and how it went.

    Raises:
        ImportError: with `out`, without the package orbax-checkpoint.
        ValueError: for a parameter outside its range, if environment, policy and algorithm do not fit, if what is
            learnt or earned is not finite, or if what is in `out` is damaged, or of another training.
        OSError: if `out` cannot be written; what was written before stays whole.
    """
    began = time.perf_counter()
    check_model("env", env)
    if not all(callable(getattr(algorithm, part, None)) for part in ("first_policy", "begin", "learn", "value")):
        raise ValueError(f"algorithm must be one, such as learning.mpo(), got {algorithm!r}")
    num_updates, num_envs = integer("num_updates", num_updates), integer("num_envs", num_envs)
    num_steps, limit = integer("num_steps", num_steps), integer("episode_steps", episode_steps)
    limit_seconds = math.inf if max_seconds is None else float(real("max_seconds", max_seconds, minimum=0.0))
    save_every = integer("save_every", save_every)
    callback("progress", progress)
    policy_key, learner_key, env_key, updates_key = jax.random.split(check_key(key), 4)
    space = action_space(env)
    first = algorithm.first_policy(space, check_observe(observe))
    if policy is None:
        policy = first
    elif observe is not None:
        raise ValueError(f"observe must be None beside a policy, which has its own, got {observe!r}")
    elif not isinstance(policy, type(first)):
        raise ValueError(
            f"policy must be of {type(first).__name__} for {algorithm.name} with {space}, got {type(policy).__name__}"
        )
    state = env.init(jax.random.clone(env_key))  # environments begin with this key, too
    policy = policy.init(env, state, policy_key)
    assert policy.observe is not None
    size = jax.eval_shape(policy.observe, state).shape[0]
    setting = Setting(space, size, num_envs, num_envs * num_steps)
    # as it is after an update, or that would be compiled twice
    learner = strongly_typed(algorithm.begin(learner_key, policy, setting))
    whole = {"key": jax.random.key_data(check_key(key)).ravel().tolist(), "num_envs": num_envs}
    whole |= {"num_steps": num_steps, "episode_steps": limit}
    store = opened(out, resume, about, lambda: whole | settings_of(algorithm, policy))
    records: list[UpdateRecord] = []
    with explained(f"raised while {algorithm.name} learnt on {type(env).__name__}", env, state):
        actors = _begun(env, env_key, num_envs, jnp.asarray(limit))
        if store is not None and resume:
            start = learner, actors
            found, records = restored(store, lambda _: start, policy.observe, num_updates, "num_updates")
            learner, actors = found
            began -= records[-1].seconds if records else 0.0
        for number in range(len(records), num_updates):
            if records and records[-1].seconds >= limit_seconds:
                break
            update_key = jax.random.fold_in(updates_key, number)
            learner, actors, said = _update(
                algorithm, env, learner, actors, update_key, jnp.asarray(limit), num_steps
            )
            said = jax.device_get(said)
            record = UpdateRecord(
                number=number,
                num_steps=(number + 1) * setting.num_transitions,
                earned=_mean(said.earned, said.num_episodes),
                num_episodes=int(said.num_episodes),
                num_ended=int(said.num_ended),
                episode_length=_mean(said.num_episode_steps, said.num_episodes),
                numbers={name: float(value) for name, value in said.numbers.items()},
                seconds=time.perf_counter() - began,
            )
            _check_finite(said, record)
            records.append(record)
            over = record.seconds >= limit_seconds
            if store is not None:
                due = over or len(records) % save_every == 0 or len(records) == num_updates
                if due:
                    write(store, (learner, actors), _training(algorithm, learner, records))
                store.complete(record._asdict(), synced=due)
            if progress is not None:
                progress(record)
    return _training(algorithm, learner, records)


def _training(algorithm: Any, learner: Any, records: list[UpdateRecord]) -> PolicyTraining:
    return PolicyTraining(learner.policy, algorithm.value(learner), tuple(records))


def policy_returns(
    env: Model,
    policy: Any,
    key: PRNGKeyArray,
    *,
    num_episodes: int = 16,
    episode_steps: int = 200,
    sample: bool = False,
) -> np.ndarray:
    """What a policy earns in episodes. It compiles what it needs itself.

    Args:
        env: the environment.
        policy: has `mode(state)` and `sample(key, state)`.
        key: of everything random.
        num_episodes: how many.
        episode_steps: the greatest number of steps of one.
        sample: whether actions are drawn, else they are those without noise.

    Returns:
        The sums of their rewards, up to their ends, [num_episodes].

    Raises:
        ValueError: for a parameter outside its range, or what is no policy.
    """
    check_model("env", env)
    num, limit = integer("num_episodes", num_episodes), integer("episode_steps", episode_steps)
    check_part("policy", policy, "mode", "sample")
    return np.asarray(_earned(env, policy, check_key(key), num, limit, boolean("sample", sample)))


class _Said(NamedTuple):
    """What is reported of an update, sums over its episodes."""

    earned: Float[Array, ""]
    num_episodes: Int[Array, ""]
    num_ended: Int[Array, ""]
    num_episode_steps: Int[Array, ""]
    finite: Array
    learnt_finite: Array
    numbers: dict[str, Array]


_begun = functools.partial(jax.jit, static_argnames="num_envs")(begun)


@functools.partial(jax.jit, static_argnames="num_steps")
def _update(
    algorithm: Any, env: Model, learner: Any, actors: Actors, key: Array, limit: Int[Array, ""], num_steps: int
) -> tuple[Any, Actors, _Said]:
    drive_key, learn_key = jax.random.split(key)
    actors, experience, finished = drive(env, learner.policy, actors, drive_key, num_steps, limit)
    learner, numbers = algorithm.learn(learn_key, learner, experience)
    said = _Said(
        earned=jnp.where(finished.lasts, finished.earned, 0.0).sum(),
        num_episodes=finished.lasts.sum(),
        num_ended=finished.ended.sum(),
        num_episode_steps=jnp.where(finished.lasts, finished.ages, 0).sum(),
        finite=jnp.isfinite(experience.rewards).all() & jnp.isfinite(experience.next_observations).all(),
        learnt_finite=jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(learner.policy.params)]).all(),
        numbers=numbers,
    )
    return learner, actors, said


@functools.partial(jax.jit, static_argnames=("num", "num_steps", "sample"))
def _earned(env: Model, policy: Any, key: Array, num: int, num_steps: int, sample: bool) -> Float[Array, " E"]:
    first_key, steps_key = jax.random.split(key)

    def advance(key: Array, state: Any) -> Any:
        act_key, step_key = jax.random.split(key)
        return env.step(step_key, state, policy.sample(act_key, state) if sample else policy.mode(state))

    def step(at: tuple[Any, Array, Array], key: Array) -> tuple[tuple[Any, Array, Array], None]:
        states, earned, going = at
        after = jax.vmap(advance)(jax.random.split(key, num), states)
        earned = earned + jnp.where(going, after.reward, 0.0)
        return (after.state, earned, going & (after.discount != 0)), None

    begin = first_states(env, first_key, num), jnp.zeros(num), jnp.ones(num, bool)
    return jax.lax.scan(step, begin, jax.random.split(steps_key, num_steps))[0][1]


def _mean(total: Any, count: Any) -> float:
    return float(total) / int(count) if count else float("nan")


def _check_finite(said: _Said, record: UpdateRecord) -> None:
    if not said.finite:
        raise ValueError(f"env must give finite rewards and observations, got others in update {record.number}")
    if not (said.learnt_finite and np.isfinite(list(record.numbers.values())).all()):
        raise ValueError(
            f"learning_rate must be smaller: what is learnt is not finite after update {record.number}, "
            f"got {dict(record.numbers)}"
        )
