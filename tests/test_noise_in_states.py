"""Noise that a state holds is not known to who imagines it: keys in states are drawn anew for every rollout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from brax.envs import base as brax_base
from problems import unchecked

from mirrax import dynamics, planners
from mirrax.planners.rollouts.risk import as_risk

KEY = jax.random.key(0)
PLANS = jnp.ones((5, 4, 1))


class Bets(brax_base.Env):
    """Pays a · w, w ~ N(0, 1) from a key in `info`, as environments of Brax and Playground keep it."""

    observation_size, action_size, backend = 1, 1, "none"

    def reset(self, rng):
        info = {"rng": rng, "first_rng": rng, "position": jnp.array([3, 4], jnp.uint32)}
        return brax_base.State(None, jnp.zeros(1), jnp.zeros(()), jnp.zeros(()), {}, info)

    def step(self, state, action):
        rng, now = jax.random.split(state.info["rng"])
        info = state.info | {"rng": rng, "position": state.info["position"] + 1}
        return state.replace(reward=action[0] * jax.random.normal(now), info=info)


class RawBets(Bets):
    """With the keys of `PRNGKey`."""

    def reset(self, rng):
        return super().reset(jax.random.key_data(rng))


def bet(key, state, action):
    """The same, with a key of `jax.random.key` in the state, in a loop, and in an array of keys."""

    def twice(carry, _):
        return jax.random.split(carry, 2)[0], None

    keys, _ = jax.lax.scan(twice, state["keys"][1], None, length=2)
    now = jax.random.fold_in(keys, 7)
    return {"keys": state["keys"].at[1].set(keys)}, action[0] * jax.random.normal(now), 1.0


def raw_bet(key, state, action):
    keys, now = jax.jit(jax.random.split)(state["keys"][1])
    return {"keys": state["keys"].at[1].set(keys)}, action[0] * jax.random.normal(now), 1.0


def step_by_frames(key, state, action):
    """Several frames in one step, a condition within."""

    def frame(carry, _):
        rng, now = jax.lax.cond(action[0] > 9.0, lambda k: (k, k), lambda k: tuple(jax.random.split(k)), carry)
        return rng, jax.random.normal(now)

    keys, noise = jax.lax.scan(frame, state["keys"], None, length=3)
    return {"keys": keys}, action[0] * noise.sum(), 1.0


def count(key, state, action):
    """A key that only a reward uses."""
    return {"rng": state["rng"] + jnp.uint32(1), "pose": state["pose"]}, 0.0, 1.0


MODELS = {
    "reward, raw": lambda: dynamics.with_reward(
        dynamics.discounted(
            dynamics.from_function(
                count, 1, init=lambda key: {"rng": jax.random.key_data(key), "pose": jnp.zeros(2)}
            ),
            1.0,
        ),
        lambda state, action, after: action[0] * jax.random.normal(state["rng"]),
    ),
    "brax": lambda: dynamics.brax(Bets()),
    "brax, raw": lambda: dynamics.brax(RawBets()),
    "brax, raw, named": lambda: dynamics.brax(RawBets(), noise=("rng",)),
    "function": lambda: dynamics.from_function(bet, 1, init=lambda key: {"keys": jax.random.split(key, 3)}),
    "function, raw": lambda: dynamics.from_function(
        raw_bet, 1, init=lambda key: {"keys": jax.random.key_data(jax.random.split(key, 3))}
    ),
    "function, rbg": lambda: dynamics.from_function(
        bet, 1, init=lambda key: {"keys": jax.random.split(jax.random.key(1, impl="rbg"), 3)}
    ),
    "function, raw, in loops": lambda: dynamics.from_function(
        step_by_frames, 1, init=lambda key: {"keys": jax.random.key_data(key)}
    ),
    "timed": lambda: dynamics.timed(MODELS["brax, raw"]()),
    "reward of timed": lambda: dynamics.with_value(
        dynamics.discounted(dynamics.timed(MODELS["brax, raw, named"]()), 1.0), lambda state: 0.0
    ),
    "ensemble": lambda: dynamics.ensemble([MODELS["function, raw"]()] * 2),
    "randomized": lambda: dynamics.randomized(MODELS["function"](), lambda key, model: model, num=2),
}


# vmapped, "rbg" draws other numbers for every row of equal keys, which JAX says of it
@pytest.mark.parametrize("name", [name for name in MODELS if "rbg" not in name])
def test_noise_in_states_is_common_to_plans_and_differs_between_scenarios(name):
    model = MODELS[name]()
    state = model.init(KEY)
    returns = planners.rollout(model, KEY, state, PLANS, num_scenarios=4)
    np.testing.assert_array_equal(returns, returns[0])  # common to plans
    np.testing.assert_array_equal(returns, planners.rollout(model, KEY, state, PLANS, num_scenarios=4))
    assert (planners.rollout(model, jax.random.key(1), state, PLANS, num_scenarios=4) != returns).all()
    worst, best = (
        planners.rollout(model, KEY, state, PLANS, num_scenarios=4, risk=as_risk(risk)) for risk in ("worst", "best")
    )
    assert (worst < returns).all()
    assert (returns < best).all()
    own = planners.rollout(model, KEY, state, PLANS, num_scenarios=4, common_noise=False)
    assert len(jnp.unique(own)) == len(PLANS)
    path = planners.trajectory(model, KEY, state, PLANS[0])  # the first scenario
    first = planners.rollout(model, KEY, state, PLANS, num_scenarios=1)
    np.testing.assert_allclose(path.rewards.sum(), first[0], rtol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_nothing_but_noise_is_drawn_anew_and_the_environment_keeps_its_own(name):
    model = MODELS[name]()
    state = model.init(KEY)
    redrawn = dynamics.redraw(model, KEY, state)
    assert jax.tree.structure(redrawn) == jax.tree.structure(state)
    for leaf, other in zip(jax.tree.leaves(state), jax.tree.leaves(redrawn), strict=True):
        assert (leaf.dtype, leaf.shape) == (other.dtype, other.shape)
    same = [
        bool((jnp.asarray(leaf) == other).all())
        for leaf, other in zip(jax.tree.leaves(state), jax.tree.leaves(redrawn), strict=True)
    ]
    num_keys = {"brax": 2}.get(name, 1)  # those of `jax.random.key` all, the others that are used
    assert len(same) - sum(same) == num_keys
    steps = [model.step(KEY, state, jnp.ones(1)).reward for _ in range(2)]
    assert steps[0] == steps[1]


@pytest.mark.parametrize("name", ["brax, raw", "function", "smc"])
def test_fair_bets_earn_nothing(name):
    """30 of them, of variance 1 at most each; whoever knew what comes would earn 30 · E|w| = 24."""
    model = MODELS["brax, raw" if name == "smc" else name]()
    if name == "smc":
        planner = planners.smc(5, num_samples=64, num_scenarios=4, temperature=1.0)
    else:
        planner = planners.cem(5, num_samples=200, num_scenarios=16)
    run = jax.jit(planners.episode, static_argnames="num_steps")
    episode = run(planner, model, model, jax.random.key(3), num_steps=30)
    assert abs(float(episode.rewards.sum())) < 3.0 * 30**0.5


def test_a_policy_does_not_know_what_will_come():
    pytest.importorskip("optax")
    model = MODELS["brax, raw"]()
    planner = planners.iterative_policy(4, num_samples=32, num_iterations=2, keep=("returns",))
    state = model.init(KEY)
    _, info = planners.infer(planner, model, KEY, state)
    assert len(jnp.unique(info.returns)) > 4


def drifting(key, state, action):
    """A walk whose noise is in the state, beside keys that nobody uses."""
    rng, now = jax.random.split(state["rng"])
    x = state["x"] + action[0] + jax.random.normal(now)
    return state | {"x": x, "rng": rng}, -(x**2) - 0.01 * action[0] ** 2, 1.0


DRIFT = {"x": jnp.zeros(()), "rng": KEY, "idle": jax.random.split(jax.random.key(1, impl="rbg"), 3)}


@pytest.mark.parametrize("second_order", [False, True])
def test_ilqr_expands_around_noise_of_its_own(second_order):
    model = dynamics.from_function(drifting, 1, bounded=False)
    planner = planners.ilqr(4, second_order=second_order, limits=None)
    infer = jax.jit(planners.infer)
    plans = [infer(planner, model, key, DRIFT)[0].mode() for key in jax.random.split(KEY)]
    assert jnp.abs(plans[0] - plans[1]).max() > 0.1


@pytest.mark.parametrize("name", ["cem", "cem, own noise", "smc, policy", "ilqr", "episode"])
def test_no_key_is_used_twice_but_on_purpose(name):
    wrapped = dynamics.timed(dynamics.randomized(dynamics.from_function(drifting, 1, bounded=False), same, num=2))
    model = dynamics.with_value(wrapped, lambda state: 0.0)
    state = dynamics.TimedState(jax.tree.map(jnp.copy, DRIFT), jnp.zeros((), jnp.int32))
    planner = {
        "cem": lambda: planners.cem(4, num_samples=8, num_scenarios=3),
        "cem, own noise": lambda: planners.cem(4, num_samples=8, num_scenarios=3, common_noise=False),
        "smc, policy": lambda: planners.smc(
            4, num_samples=8, temperature=1.0, prior=planners.priors.policy_prior(indifferent)
        ),
        "ilqr": lambda: planners.ilqr(4, num_iterations=2),
        "episode": lambda: planners.cem(4, num_samples=8),
    }[name]()
    with jax.debug_key_reuse(True):
        if name == "episode":
            env = dynamics.from_function(drifting, 1, init=lambda key: {"x": jnp.zeros(()), "rng": key})
            out = jax.jit(planners.episode, static_argnums=4)(planner, env, env, jax.random.key(2), 2).rewards
        else:
            out = jax.jit(planners.infer)(planner, model, jax.random.key(2), state)[0].mode()
    assert jnp.isfinite(out).all()


def same(key, model):
    return model


def indifferent(state, action):
    return -0.5 * jnp.sum(action**2)


def test_states_without_keys_are_left_alone():
    model = dynamics.pendulum()
    state = model.init(KEY)
    assert dynamics.redraw(model, KEY, state) is state or (dynamics.redraw(model, KEY, state) == state).all()
    counter = dynamics.from_function(lambda key, state, action: (state + 1, 0.0, 1.0), 1)
    np.testing.assert_array_equal(dynamics.redraw(counter, KEY, jnp.array([1, 2], jnp.uint32)), [1, 2])


def test_a_model_may_tell_for_itself():
    @dynamics.pytree
    class Prepared:
        """Its disturbances are in its state, drawn beforehand."""

        action_size = 1

        def init(self, key):
            return jax.random.normal(key, (4,))

        def step(self, key, state, action):
            return dynamics.Step(jnp.roll(state, -1), action[0] * state[0], jnp.ones(()))

        def value(self, state):
            return jnp.zeros(())

        def redraw(self, key, state):
            return jax.random.normal(key, state.shape)

    model = dynamics.timed(Prepared())
    returns = planners.rollout(model, KEY, model.init(KEY), PLANS, num_scenarios=4, common_noise=False)
    assert len(jnp.unique(returns)) == len(PLANS)


@pytest.mark.parametrize(
    ("noise", "message"),
    [
        ("rng", "noise must be a sequence of names, got 'rng'"),
        (("luck",), "noise must name entries of info, rng, first_rng, position, got luck"),
        (("obs",), "noise must name entries of info"),
    ],
)
def test_mistakes_are_named(noise, message):
    def use():
        model = unchecked(dynamics.brax)(RawBets(), noise=noise)
        dynamics.redraw(model, KEY, model.init(KEY))

    with pytest.raises(ValueError, match=message):
        use()
