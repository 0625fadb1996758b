"""Learning a latent model, values and a policy together, and planning with all three, in the manner of TD-MPC2.

`python examples/tdmpc.py` learns a swing-up from observations and rewards alone, prints what each episode
earned, and at the end what several planners earn in the same latent model.

It is TD-MPC2 (Hansen, Su & Wang, 2024) cut down to a small task: rewards and values are regressed on 61 bins, not on
101, targets are the least of three values, not of two out of five, and the policy is a perceptron without
normalisation. The planner is an MPPI of mirrax, and could be another.
"""

import argparse
import dataclasses
import functools
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from mirrax import dynamics, learning, planners

LAMBDA = 0.5  # weight λ^t of what is predicted t steps ahead
GROUP = 8  # numbers of a latent state that sum to 1
ENTROPY = 1e-3  # weight of the policy's entropy, in the range of values
TARGET_RATE = 0.01  # share by which a step moves the slow copy of the values
NUM_BINS, GREATEST = 61, 6.0  # of rewards and values, as `symlog` makes them
LENGTH = 3  # steps of a sequence to learn from, and of a plan


class Task(NamedTuple):
    """What is to be learnt."""

    env: Any  # a model of mirrax, whose equations the learner does not see
    observe: Callable[[Any], Float[Array, " n"]]  # of a state of it
    gamma: float  # discount of a step


def see_cartpole(state: Float[Array, "4"]) -> Float[Array, "5"]:
    """Position, angle, and both velocities."""
    position, angle, velocity, spin = state
    return jnp.stack([position, jnp.cos(angle), jnp.sin(angle), velocity / 2.0, spin / 4.0])


def cartpole() -> Task:
    """The swing-up, two time steps per action."""
    return Task(dynamics.action_repeat(dynamics.cartpole(), 2), see_cartpole, 0.97)


def simplices(x: Float[Array, "*b d"]) -> Float[Array, "*b d"]:
    """SimNorm: each group of numbers is made a point of a simplex, so that latent states neither grow nor vanish."""
    return jax.nn.softmax(x.reshape(*x.shape[:-1], -1, GROUP), -1).reshape(x.shape)


def two_hot(x: Float[Array, "*b"]) -> Float[Array, "*b bins"]:
    """A number as weights of the two bins beside symlog(x) = sign(x) log(1 + |x|), whose mean that is."""
    at = (jnp.sign(x) * jnp.log1p(jnp.abs(x)) / GREATEST + 1.0) / 2.0 * (NUM_BINS - 1)
    at = jnp.clip(at, 0.0, NUM_BINS - 1.0)
    return jnp.maximum(0.0, 1.0 - jnp.abs(at[..., None] - jnp.arange(NUM_BINS)))


def expected(logits: Float[Array, "*b bins"]) -> Float[Array, "*b"]:
    """The number for which a network's weights of bins stand: the inverse of `two_hot`."""
    mean = jax.nn.softmax(logits) @ jnp.linspace(-GREATEST, GREATEST, NUM_BINS)
    return jnp.sign(mean) * jnp.expm1(jnp.abs(mean))


class Layers(nn.Module):
    """Two hidden layers, normalised, with Mish, and a linear one."""

    hidden: int
    size: int
    zero_last: bool = True

    @nn.compact
    def __call__(self, x: Float[Array, "*b n"]) -> Float[Array, "*b m"]:
        """Its outputs."""
        for _ in range(2):
            x = jax.nn.mish(nn.LayerNorm()(nn.Dense(self.hidden)(x)))
        first = nn.initializers.zeros if self.zero_last else nn.initializers.lecun_normal()
        return nn.Dense(self.size, kernel_init=first)(x)


class Networks(nn.Module):
    """Encoder, latent dynamics, rewards, ends, and an ensemble of values."""

    latent: int = 32
    hidden: int = 64
    num_values: int = 3

    def setup(self) -> None:
        """The parts."""
        self.encoder = Layers(self.hidden, self.latent, zero_last=False)
        self.dynamics = Layers(self.hidden, self.latent, zero_last=False)
        self.rewards = Layers(self.hidden, NUM_BINS)
        self.ends = Layers(self.hidden, 1)
        ensemble = nn.vmap(Layers, {"params": 0}, {"params": True}, in_axes=None, axis_size=self.num_values)
        self.values = ensemble(self.hidden, NUM_BINS)

    def encode(self, seen: Array) -> Array:
        """Z = h(o)."""
        return simplices(self.encoder(seen))

    def advance(self, z: Array, action: Array) -> tuple[Array, Array, Array]:
        """Z' = d(z, a), the logits of the reward, and that of going on."""
        x = jnp.concatenate([z, action], -1)
        return simplices(self.dynamics(x)), self.rewards(x), 4.0 + self.ends(x)[..., 0]

    def value(self, z: Array, action: Array) -> Array:
        """The logits of Q(z, a), [N, ...]."""
        return self.values(jnp.concatenate([z, action], -1))

    def every(self, seen: Array, action: Array) -> Any:
        """All of them, to begin with."""
        z = self.encode(seen)
        return self.advance(z, action), self.value(z, action)


@dynamics.pytree
class LatentModel:
    """A model of mirrax whose state is z. Its parameters are leaves: what was compiled goes on as they change."""

    params: Any
    policy: Any  # π(a|z), squashed by tanh
    env: Any  # for first states, and the number of actuators
    gamma: Float[Array, ""]
    networks: Networks = dynamics.static()
    observe: Callable[..., Any] = dynamics.static()

    @property
    def action_size(self) -> int:
        """The number of actuators."""
        return self.env.action_size

    @property
    def bounded(self) -> bool:
        """Beyond [-1, 1] nothing changes."""
        return True

    def encode(self, state: Any) -> Float[Array, " d"]:
        """The latent state of a state of the environment."""
        return self.networks.apply(self.params, self.observe(state), method="encode")

    def init(self, key: PRNGKeyArray) -> Float[Array, " d"]:
        """A first state."""
        return self.encode(self.env.init(key))

    def step(self, key: PRNGKeyArray, state: Float[Array, " d"], action: Float[Array, " a"]) -> dynamics.Step:
        """What is believed to follow an action."""
        action = jnp.clip(action, -1.0, 1.0)
        z, reward, going_on = self.networks.apply(self.params, state, action, method="advance")
        return dynamics.Step(z, expected(reward), self.gamma * jax.nn.sigmoid(going_on))

    def value(self, state: Float[Array, " d"]) -> Float[Array, ""]:
        """Q(z, π(z)), the mean of the ensemble."""
        return expected(self.networks.apply(self.params, state, self.policy.mode(state), method="value")).mean()


def untrained(task: Task, key: PRNGKeyArray, networks: Networks) -> LatentModel:
    """A model that knows nothing yet."""
    keys, state = jax.random.split(key), task.env.init(key)
    params = networks.init(keys[0], task.observe(state), jnp.zeros(task.env.action_size), method="every")
    policy = learning.tanh_gaussian(observe=jnp.asarray, hidden=(networks.hidden, networks.hidden))
    policy = policy.init(task.env, jnp.zeros(networks.latent), keys[1])
    return LatentModel(params, policy, task.env, jnp.asarray(task.gamma), networks, task.observe)


def latent_planner(policy: Any, num_samples: int, execute: str | None = "sample", std_min: float = 0.1) -> Any:
    """MPPI over three latent steps and the value beyond; a twentieth of the plans are the policy's, as candidates."""
    return planners.mppi(
        LENGTH,
        num_samples=num_samples,
        num_iterations=4,
        std=1.0,
        std_min=std_min,
        covariance="diagonal",
        target_ess=0.05,
        policy=policy,
        execute=execute,
    )


class Memory(NamedTuple):
    """Episodes of T steps, of which the first `size` are there, or sequences of them."""

    seen: Array  # before each step and after the last, [E, T + 1, n]
    actions: Array  # [E, T, A]
    rewards: Array  # [E, T]
    discounts: Array  # of the environment, 0 from its end on, [E, T]
    size: Array

    def added(self, task: Task, happened: planners.Episode) -> "Memory":
        """With one more episode."""
        states = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), happened.states, happened.final_state)
        actions, rewards = jnp.clip(happened.actions, -1.0, 1.0), happened.rewards
        row = (jax.vmap(task.observe)(states), actions, rewards, happened.discounts)
        return Memory(*(old.at[self.size].set(new) for old, new in zip(self[:4], row, strict=True)), self.size + 1)

    def sequences(self, key: PRNGKeyArray, num: int) -> "Memory":
        """Sequences from anywhere before an end, [num, LENGTH, ...]."""
        starts = self.discounts.shape[1] - LENGTH + 1
        alive = jnp.pad(jnp.cumprod(self.discounts > 0, 1), ((0, 0), (1, 0)), constant_values=1)[:, :starts]
        number = jnp.cumsum(jnp.where(jnp.arange(len(alive))[:, None] < self.size, alive, 0))
        chosen = jnp.searchsorted(number, jax.random.randint(key, (num, 1), 0, number[-1]), side="right")
        which, steps = chosen // starts, chosen % starts + jnp.arange(LENGTH + 1)
        return Memory(self.seen[which, steps], *(leaf[which, steps[:, :-1]] for leaf in self[1:4]), self.size)


def empty(task: Task, num_episodes: int, num_steps: int) -> Memory:
    """Room for so many episodes."""
    seen = task.observe(task.env.init(jax.random.key(0)))
    actions = jnp.zeros((num_episodes, num_steps, task.env.action_size))
    numbers = jnp.zeros((num_episodes, num_steps))
    return Memory(jnp.zeros((num_episodes, num_steps + 1, len(seen))), actions, numbers, numbers, jnp.int32(0))


class Learner(NamedTuple):
    """What steps of learning change."""

    model: LatentModel
    target: Any  # a slow copy of the networks' parameters
    optimizer_states: Any
    scale: Float[Array, ""]  # range of values


OPTIMIZER = optax.chain(optax.clip_by_global_norm(20.0), optax.adam(1e-3))


def model_loss(params: Any, learner: Learner, batch: Memory, key: PRNGKeyArray) -> tuple[Array, tuple[Array, Array]]:
    """The loss of all networks along latent rollouts; their states, [H + 1, B, d], and which are before an end.

    What is predicted t steps ahead counts λ^t: latent states, which should be what the encoder makes of the later
    observations, rewards, ends, and values, y = r + γ min_j Q̄_j(z', a'), a' ~ π.
    """
    model, apply = learner.model, functools.partial(learner.model.networks.apply, params)
    seen, actions, rewards, discounts = (jnp.moveaxis(leaf, 0, 1) for leaf in batch[:4])
    encoded = apply(seen, method="encode")
    following = jax.lax.stop_gradient(encoded[1:])
    own = jnp.tanh(model.policy.distribution(following).sample(key))
    ahead = expected(model.networks.apply(learner.target, following, own, method="value")).min(0)
    targets = jax.lax.stop_gradient(rewards + model.gamma * discounts * ahead)

    def advance(z: Array, action: Array) -> tuple[Array, tuple[Array, ...]]:
        after, reward, going_on = apply(z, action, method="advance")
        return after, (z, after, reward, going_on)

    last, (before, after, reward, going_on) = jax.lax.scan(advance, encoded[0], actions)
    values = apply(before, actions, method="value")  # [N, H, B, bins]
    losses = (
        ((after - following) ** 2).sum(-1)
        + 0.2 * optax.softmax_cross_entropy(reward, two_hot(rewards))
        + 0.2 * optax.sigmoid_binary_cross_entropy(going_on, (discounts > 0).astype(float))
        + 0.2 * optax.softmax_cross_entropy(values, two_hot(targets)).mean(0)
    )
    alive = jnp.concatenate([jnp.ones_like(discounts[:1]), jnp.cumprod(discounts > 0, 0)])
    weights = alive[:-1] * LAMBDA ** jnp.arange(LENGTH)[:, None]
    return (weights * losses).mean(), (jnp.concatenate([before, last[None]]), alive)


def policy_loss(
    params: Any, learner: Learner, z: Float[Array, "H B d"], alive: Float[Array, "H B"], key: PRNGKeyArray
) -> tuple[Array, Array]:
    """−E[Q(z, a)/S − α log π(a|z)] along the latent rollouts, weighed by λ^t, to their ends; S, the range of Q."""
    model = learner.model
    distribution = dataclasses.replace(model.policy, params=params).distribution(z)
    raw = distribution.sample(key)  # a = tanh of it
    values = expected(model.networks.apply(model.params, z, jnp.tanh(raw), method="value")).mean(0)
    gain = values / learner.scale - ENTROPY * distribution.log_prob(raw)
    low, high = jnp.nanpercentile(jnp.where(alive > 0, values, jnp.nan), jnp.array([5.0, 95.0]))
    return -(alive * LAMBDA ** jnp.arange(len(z))[:, None] * gain).mean(), jnp.maximum(high - low, 1.0)


@functools.partial(jax.jit, static_argnames=("num_updates", "batch_size"))
def learn(
    learner: Learner, memory: Memory, key: PRNGKeyArray, num_updates: int, batch_size: int = 128
) -> tuple[Learner, Array]:
    """So many steps of learning, and the mean loss of the networks."""

    def update(learner: Learner, key: PRNGKeyArray) -> tuple[Learner, Array]:
        keys = jax.random.split(key, 3)
        (model, target, states, scale), batch = learner, memory.sequences(keys[0], batch_size)
        (loss, (z, alive)), gradient = jax.value_and_grad(model_loss, has_aux=True)(
            model.params, learner, batch, keys[1]
        )
        change, model_state = OPTIMIZER.update(gradient, states[0])
        model = dataclasses.replace(model, params=optax.apply_updates(model.params, change))
        policy, learner = model.policy, learner._replace(model=model)
        z = jax.lax.stop_gradient(z)
        gradient, spread = jax.grad(policy_loss, has_aux=True)(policy.params, learner, z, alive, keys[2])
        change, policy_state = OPTIMIZER.update(gradient, states[1])
        policy = dataclasses.replace(policy, params=optax.apply_updates(policy.params, change))
        target = optax.incremental_update(model.params, target, TARGET_RATE)
        scale = optax.incremental_update(spread, scale, TARGET_RATE)
        return Learner(dataclasses.replace(model, policy=policy), target, (model_state, policy_state), scale), loss

    learner, losses = jax.lax.scan(update, learner, jax.random.split(key, num_updates))
    return learner, losses.mean()


@functools.partial(jax.jit, static_argnames="num_steps")
def play(planner: Any, model: LatentModel, env: Any, key: PRNGKeyArray, num_steps: int) -> planners.Episode:
    """An episode of planning in the latent model, at each step anew."""
    return planners.episode(planner, model, env, key, num_steps, observe=model.encode)


@functools.partial(jax.jit, static_argnames="num_steps")
def by_chance(env: Any, key: PRNGKeyArray, num_steps: int) -> planners.Episode:
    """An episode of random actions that are correlated in time, or nothing would swing."""
    start_key, noise_key, key = jax.random.split(key, 3)
    noise = planners.beliefs.gaussian(std=0.5, noise_exponent=1.0).bind(num_steps, dynamics.action_space(env))
    start, actions = env.init(start_key), noise.sample(noise_key, 1)[0]
    happened = planners.trajectory(env, key, start, actions)
    states = jax.tree.map(lambda first, rest: jnp.concatenate([first[None], rest]), start, happened.states)
    before, last = jax.tree.map(lambda leaf: leaf[:-1], states), jax.tree.map(lambda leaf: leaf[-1], states)
    return planners.Episode(before, actions, happened.rewards, happened.discounts, None, last)


def train(
    task: Task,
    seed: int,
    *,
    num_episodes: int,
    num_steps: int,
    num_samples: int,
    num_random: int = 10,
    networks: Networks = Networks(),  # noqa: B008, it is configuration
    tell: Callable[[str], None] = print,
) -> tuple[LatentModel, list[float]]:
    """Learn while planning: an episode, three steps of learning for each of its own, and again.

    The first episodes are by chance; `num_samples` is of the planner. Gives the model, and what episodes earned.
    """
    began, key = time.perf_counter(), jax.random.key(seed)
    model, memory, returns = untrained(task, key, networks), empty(task, num_episodes, num_steps), []
    states = OPTIMIZER.init(model.params), OPTIMIZER.init(model.policy.params)
    learner = Learner(model, model.params, states, jnp.ones(()))
    for number in range(num_episodes):
        play_key, learn_key = jax.random.split(jax.random.fold_in(key, number))
        model, line = learner.model, ""
        if number < num_random:
            happened = by_chance(task.env, play_key, num_steps)
        else:
            std_min = max(0.5 - 0.02 * (number - num_random), 0.1)  # at first more noise, as in TD-MPC
            planner = latent_planner(model.policy, num_samples, std_min=std_min)
            happened = play(planner, model, task.env, play_key, num_steps)
        memory = memory.added(task, happened)
        returns.append(float(happened.rewards.sum()))
        if number >= num_random - 1:
            # what was met by chance is learnt at once
            for round_key in jax.random.split(learn_key, 4 if number == num_random - 1 else 1):
                learner, loss = learn(learner, memory, round_key, 3 * num_steps)
            line = f", loss {loss:.3f}"
        tell(f"episode {number + 1}: {returns[-1]:.1f}{line}, {time.perf_counter() - began:.0f} s")
    return learner.model, returns


def compare(task: Task, model: LatentModel, seed: int, num_steps: int, num_samples: int) -> dict[str, float]:
    """What planners earn in one episode: in the latent model, in the true one, without any, and by chance."""
    key, policy = jax.random.key(1_000 + seed), model.policy.unbounded()
    options = {"num_samples": num_samples, "num_iterations": 4}
    weighed = planners.vi_mpc(
        LENGTH,
        prior=planners.priors.policy_prior(policy),
        policy=policy,
        num_policy_samples=num_samples // 4,
        noise_exponent=None,
        **options,
    )
    latent = {
        "mppi, policy samples": latent_planner(model.policy, num_samples, None),
        "vi_mpc, policy samples and prior": weighed,
        "smc, the policy as proposal": planners.smc(LENGTH, num_samples=num_samples, proposal=policy),
    }
    earned = {name: play(planner, model, task.env, key, num_steps).rewards.sum() for name, planner in latent.items()}
    seeing = dataclasses.replace(model.policy, observe=jax.tree_util.Partial(LatentModel.encode, model))
    alone = learning.policy_returns(task.env, seeing, key, num_episodes=1, episode_steps=num_steps)
    true = planners.mppi(15, covariance="diagonal", **options)
    plain = jax.jit(planners.episode, static_argnums=4)(true, task.env, task.env, key, num_steps)
    chance = by_chance(task.env, key, num_steps)
    earned |= {"the policy alone": alone[0], "mppi in the true model": plain.rewards.sum()}
    return {name: float(value) for name, value in (earned | {"chance": chance.rewards.sum()}).items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Learn a task, and print what was earned."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=1, help="how often to learn it from the beginning")
    parser.add_argument("--first-seed", type=int, default=0, help="of the first of them")
    parser.add_argument("--episodes", type=int, default=35)
    parser.add_argument("--steps", type=int, default=100, help="of an episode")
    parser.add_argument("--samples", type=int, default=128, help="plans per iteration")
    parser.add_argument("--quick", action="store_true", help="small networks, to see whether it runs")
    given = parser.parse_args(arguments)
    task, sizes, rows = cartpole(), {"num_steps": given.steps, "num_samples": given.samples}, {}
    networks = Networks(16, 16, 2) if given.quick else Networks()
    for seed in range(given.first_seed, given.first_seed + given.seeds):
        tell = functools.partial(print, f"seed {seed},", flush=True)
        model, _ = train(task, seed, num_episodes=given.episodes, networks=networks, tell=tell, **sizes)
        for name, value in compare(task, model, seed, **sizes).items():
            rows.setdefault(name, []).append(value)
    for name, values in rows.items():
        print(f"| {name} | {' | '.join(f'{value:.1f}' for value in values)} |")


if __name__ == "__main__":
    main()
