"""Beliefs move on by any number of steps, plans are executed for several, and actions last as long as they must."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import target, unchecked

from mirrax import dynamics, planners
from mirrax.dynamics.spaces import Continuous, Discrete
from mirrax.planners import beliefs
from mirrax.planners.beliefs.reading import read
from mirrax.planners.beliefs.warm_start import Shift

KEY = jax.random.key(0)
HORIZON, ACTIONS = 6, 2
STEPS = [1, 2, 5, 6, 9, 0.5, 2.25]

# Beliefs ----------

FAMILIES = {
    "gaussian": beliefs.gaussian(std=0.4),
    "gaussian, coloured": beliefs.gaussian(std=0.4, noise_exponent=1.0),
    "full": beliefs.full_gaussian(std=0.4),
    "kronecker": beliefs.kronecker_gaussian(std=0.4),
    "mixture": beliefs.mixture(num_components=2, std=0.4),
    "annealed": beliefs.annealed(beliefs.gaussian(std=0.4, learn_std=False), [1.0, 0.5]),
    "particles": planners.particles.particles(beliefs.gaussian(std=0.4), 8),
    "memory": beliefs.remembering(beliefs.gaussian(std=0.4), num_kept=2, num_shifted=2),
    "points": planners.gradients.points(num_samples=4),
    "categorical": beliefs.categorical(),
    "enumeration": beliefs.enumeration(),
}
SPLINES = {
    f"{kind} {name}": beliefs.splined(family, 4, kind)
    for kind in ("zero", "linear", "cubic")
    for name, family in (("gaussian", beliefs.gaussian(std=0.4)), ("full", beliefs.full_gaussian(std=0.4)))
}
EVERY = FAMILIES | SPLINES
DISCRETE = ("categorical", "enumeration")


def initial(name):
    space = Discrete(3) if name in DISCRETE else Continuous(ACTIONS)
    return EVERY[name].bind(HORIZON, space)


@functools.cache
def fitted(name):
    """The initial belief, and one that has learnt something."""
    first = initial(name)
    if name == "points":
        return first, dataclasses.replace(first, plans=jax.random.normal(KEY, first.plans.shape))
    number = 3**HORIZON if name == "enumeration" else 8
    plans = jax.random.normal(KEY, (number, HORIZON, ACTIONS))
    if name == "categorical":
        plans = jax.random.randint(KEY, (number, HORIZON), 0, 3)
    elif name == "enumeration":
        plans = first._plans()
    weights = jax.nn.softmax(jax.random.normal(jax.random.key(1), (number,)))
    if name == "particles":
        return first, dataclasses.replace(first, plans=plans, log_weights=jnp.log(weights))
    return first, first.fit(plans, weights)


def moved(name, steps, **options):
    first, belief = fitted(name)
    return belief.shift(first, beliefs.shift_by_one(**options).by(steps))


def assert_close(left, right, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), left, right)


@pytest.mark.parametrize("name", EVERY)
def test_one_step_is_the_usual_shift(name):
    first, belief = fitted(name)
    plain = belief.shift(first, beliefs.shift_by_one())
    for steps in (1, 1.0, np.float32(1.0), jnp.ones(())):
        jax.tree.map(np.testing.assert_array_equal, moved(name, steps), plain)


@pytest.mark.parametrize("tail", ["hold", "zero", "initial"])
@pytest.mark.parametrize("name", FAMILIES)
def test_shifts_compose(name, tail):
    first, _ = fitted(name)
    how = beliefs.shift_by_one(tail=tail)
    twice = moved(name, 1, tail=tail).shift(first, how)
    assert_close(twice, moved(name, 2, tail=tail), rtol=1e-5, atol=1e-6)
    assert_close(twice.shift(first, how.by(3)), moved(name, 5, tail=tail), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["full", "kronecker", "gaussian"])
def test_shifts_of_covariances_compose(name):
    first, _ = fitted(name)
    how = beliefs.shift_by_one(inflation=1.0)
    twice = moved(name, 1, inflation=1.0).shift(first, how)
    assert_close(twice.covariance(), moved(name, 2, inflation=1.0).covariance(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_a_traced_number_of_steps_is_the_known_one(name):
    first, belief = fitted(name)

    @jax.jit
    def shifted(steps):
        return belief.shift(first, beliefs.shift_by_one(inflation=1.2, tail="initial").by(steps))

    for steps in STEPS:
        found, known = shifted(steps), moved(name, steps, inflation=1.2, tail="initial")
        assert_close(found, known, rtol=2e-4, atol=2e-5)
    many = jax.vmap(shifted)(jnp.array([1.0, 2.25]))
    assert_close(jax.tree.map(lambda leaf: leaf[1], many), shifted(2.25), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["gaussian", "gaussian, coloured", "full", "kronecker", "mixture", *SPLINES])
def test_fractions_leave_a_belief_that_is_one(name):
    """Covariances stay positive definite, and no narrower than the narrower of both neighbours."""
    for steps in (0.5, 2.25, 7.5):
        belief = moved(name, steps, inflation=1.0)
        plans = belief.sample(KEY, 16)
        assert jnp.isfinite(plans).all()
        assert jnp.isfinite(belief.log_prob(plans)).all()
    if name in ("gaussian", "full"):
        here, there, between = (jnp.diagonal(moved(name, k, inflation=1.0).covariance()) for k in (2, 3, 2.25))
        assert (between >= jnp.minimum(here, there) - 1e-5).all()


def test_fractions_are_the_mean_of_what_is_held():
    plan = jnp.arange(4.0)[:, None]
    how = beliefs.shift_by_one()
    np.testing.assert_allclose(how.by(0.25).plans(plan, plan)[:, 0], [0.25, 1.25, 2.25, 3.0])
    np.testing.assert_allclose(how.by(1.5).plans(plan, plan)[:, 0], [1.5, 2.5, 3.0, 3.0])
    zero = beliefs.shift_by_one(tail="zero")
    np.testing.assert_allclose(zero.by(1.5).plans(plan, plan)[:, 0], [1.5, 2.5, 1.5, 0.0])
    whole = jnp.arange(4)
    np.testing.assert_array_equal(how.by(1.5).plans(whole, whole), [2, 3, 3, 3])
    np.testing.assert_array_equal(how.by(0.25).plans(whole, whole), whole)
    np.testing.assert_array_equal(jax.jit(lambda k: how.by(k).plans(whole, whole))(1.5), [2, 3, 3, 3])


@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_splines_are_evaluated_anew(interpolation):
    """A straight line stays one, and a spline whose knots come to stand on knots keeps them."""
    first = beliefs.splined(beliefs.gaussian(), 3, interpolation).bind(9, Continuous(1))
    line = first.fit(jnp.linspace(0.0, 8.0, 9)[None, :, None], jnp.ones(1))
    later = line.shift(first, beliefs.shift_by_one().by(2.5)).mode()[:, 0]
    np.testing.assert_allclose(later[:5], jnp.arange(5.0) + 2.5, atol=0.4)
    bent = first.fit(jax.random.normal(KEY, (1, 9, 1)), jnp.ones(1))
    by_a_knot = bent.shift(first, beliefs.shift_by_one().by(4))
    np.testing.assert_allclose(
        by_a_knot.knots.mean[:2], bent.knots.mean[1:], atol=2e-2 if interpolation == "cubic" else 1e-5
    )


def test_locks_and_inflation_hold_for_any_number():
    for family in (beliefs.gaussian(std=[0.4, 0.0]), beliefs.full_gaussian(std=[0.4, 0.0])):
        first = family.bind(HORIZON, Continuous(2))
        belief = first.fit(jax.random.normal(KEY, (16, HORIZON, 2)), jnp.full(16, 1 / 16))
        for steps in (0.5, 2, 8):
            later = belief.shift(first, beliefs.shift_by_one(inflation=1.5).by(steps))
            assert (later.locks == first.locks).all()
            assert (later.mean[:, 1] == 0.0).all()
    narrow = dataclasses.replace(fitted("gaussian")[0], std=jnp.full((HORIZON, ACTIONS), 0.01))
    how = beliefs.shift_by_one(inflation=1.1).by(3)
    np.testing.assert_allclose(narrow.shift(fitted("gaussian")[0], how).std[0], 0.01 * 1.1**1.5, rtol=1e-5)


@pytest.mark.parametrize("steps", [0, -1, float("nan"), float("inf"), "one", None, [1, 2], 0.0])
def test_numbers_of_steps_that_are_none(steps):
    for planner in (planners.mppi(4, num_samples=4), planners.mppi(4, num_samples=4, warm_start=False)):
        belief = planner.init(target(), jnp.zeros(()))
        with pytest.raises(ValueError, match="steps must"):
            unchecked(planner.shift)(belief, steps)


# Planners ----------

PLANNERS = {
    "mppi": lambda **o: planners.mppi(HORIZON, num_samples=8, **o),
    "mppi, best": lambda **o: planners.mppi(HORIZON, num_samples=8, execute="best", **o),
    "mppi, cold": lambda **o: planners.mppi(HORIZON, num_samples=8, warm_start=False, **o),
    "mppi, rest": lambda **o: planners.mppi(HORIZON, num_samples=8, rest_steps=2, **o),
    "mppi, refined": lambda **o: planners.mppi(
        HORIZON, num_samples=8, refine=planners.ilqr(HORIZON, num_iterations=1)
    ),
    "vi_mpc, sample": lambda **o: planners.vi_mpc(HORIZON, num_samples=8, execute="sample", **o),
    "icem": lambda **o: planners.icem(HORIZON, num_samples=8, num_iterations=2, **o),
    "evolution": lambda **o: planners.evolution(HORIZON, num_samples=8, num_iterations=1, **o),
    "smc": lambda **o: planners.smc(HORIZON, num_samples=8, num_iterations=1, **o),
    "gradient": lambda **o: planners.gradient(HORIZON, num_samples=2, num_iterations=2, **o),
    "ilqr": lambda **o: planners.ilqr(HORIZON, num_iterations=2, **o),
    "ilqr, entropy": lambda **o: planners.ilqr(HORIZON, num_iterations=2, temperature=0.1, execute="sample", **o),
    "iterative_policy": lambda **o: planners.iterative_policy(
        HORIZON, num_samples=8, num_iterations=2, hidden=(4,), **o
    ),
}
MASS = dynamics.point_mass()


@pytest.mark.parametrize("name", PLANNERS)
def test_planners_move_on_and_act_for_several_steps(name):
    planner = PLANNERS[name]()
    assert isinstance(planner, planners.Persistent)
    state = MASS.init(KEY)
    start = planner.init(MASS, state)
    found, _ = jax.jit(planners.infer)(planner, MASS, KEY, state, start)
    assert_close(planner.shift(found, 1), planner.shift(found))
    twice = planner.shift(planner.shift(found))
    assert_close(twice, planner.shift(found, 2), rtol=1e-5, atol=1e-5)
    assert_close(jax.jit(planner.shift)(found, 1.5), planner.shift(found, 1.5), rtol=1e-4, atol=1e-5)
    assert jax.tree.structure(twice) == jax.tree.structure(found)
    assert [leaf.aval for leaf in jax.tree.leaves(twice)] == [leaf.aval for leaf in jax.tree.leaves(found)]
    # actions begin with the one of `act`, and are those of the plan
    actions = planner.actions(KEY, found, jnp.arange(4))
    np.testing.assert_array_equal(actions[0], planner.act(KEY, found))
    if "sample" not in name and "entropy" not in name and name != "smc":
        mean = getattr(found, "mean", None)
        assert any(np.allclose(actions, plan[:4], atol=1e-6) for plan in (found.mode(), mean) if plan is not None)
    answer = planner.respond(MASS, KEY, state, found, 0.0)
    np.testing.assert_allclose(answer, planner.act(KEY, found), rtol=1e-5, atol=1e-6)


def test_what_is_executed_by_one_plan():
    planner, state = PLANNERS["mppi"](), MASS.init(KEY)
    belief = planner.init(MASS, state)
    plan = jax.jit(planners.plan, static_argnames="replan_every")
    one, after, _ = plan(planner, MASS, KEY, state, belief)
    same, also, _ = plan(planner, MASS, KEY, state, belief, replan_every=1)
    np.testing.assert_array_equal(one, same[0])
    jax.tree.map(np.testing.assert_array_equal, after, also)
    three, later, _ = plan(planner, MASS, KEY, state, belief, replan_every=3)
    np.testing.assert_array_equal(three[0], one)
    assert_close(later, planner.shift(planner.shift(after)), atol=1e-6)
    # half as long as a step of the model: each action twice, and a step and a half in all
    dt = float(MASS.dt)
    halves, later, _ = plan(planner, MASS, KEY, state, belief, replan_every=3, control_dt=0.5 * dt)
    np.testing.assert_array_equal(halves, three[jnp.array([0, 0, 1])])
    found, _ = planners.infer(planner, MASS, jax.random.split(KEY)[0], state, belief)
    assert_close(later, planner.shift(found, 1.5), rtol=1e-4, atol=1e-5)


def test_smooth_plans_are_followed_between_their_steps():
    plan = jnp.arange(4.0)[:, None] ** 2
    spline = beliefs.splined(beliefs.gaussian(), 3, "cubic").bind(4, Continuous(1))
    held = beliefs.splined(beliefs.gaussian(), 3, "zero").bind(4, Continuous(1))
    times = [0.0, 0.5, 2.0, 2.5, 9.0]
    np.testing.assert_allclose(read(plan, times, spline)[:, 0], [0.0, 0.5, 4.0, 6.5, 9.0])
    for belief in (held, beliefs.gaussian().bind(4, Continuous(1)), None):
        np.testing.assert_allclose(read(plan, times, belief)[:, 0], [0.0, 0.0, 4.0, 4.0, 9.0])
    np.testing.assert_array_equal(read(jnp.arange(4), [2.9999999]), [3])  # but for rounding


# Episodes ----------


@jax.jit
def usual(key):
    return planners.episode(PLANNERS["mppi"](), MASS, MASS, key, 7)


def test_an_episode_that_plans_at_every_step_is_the_usual_one():
    again = jax.jit(lambda key: planners.episode(PLANNERS["mppi"](), MASS, MASS, key, 7, replan_every=1))(KEY)
    jax.tree.map(np.testing.assert_array_equal, usual(KEY), again)
    dt = float(MASS.dt)
    same = jax.jit(lambda key: planners.episode(PLANNERS["mppi"](), MASS, MASS, key, 7, control_dt=dt))(KEY)
    jax.tree.map(np.testing.assert_array_equal, usual(KEY), same)


def test_an_episode_that_plans_at_every_third_step():
    run = jax.jit(lambda key: planners.episode(PLANNERS["mppi"](), MASS, MASS, key, 7, replan_every=3, keep="plans"))
    episode = run(KEY)
    best = np.asarray(episode.infos.best_return[:, -1])
    assert len(set(best)) == 3
    np.testing.assert_array_equal(best, best[[0, 0, 0, 3, 3, 3, 6]])
    plans = np.asarray(episode.plans)
    np.testing.assert_array_equal(plans[1, :-1], plans[0, 1:])
    np.testing.assert_array_equal(plans[1, -1], plans[0, -1])
    np.testing.assert_allclose(episode.actions[:3], jnp.clip(plans[0, :3], -1, 1), atol=1e-6)
    # what the same calls of `plan` do
    state, control_key = episode.states, jax.random.split(KEY)[1]
    first = jax.tree.map(lambda leaf: leaf[0], state)
    belief = PLANNERS["mppi"]().init(MASS, first)
    plan_key = jax.random.split(jax.random.split(control_key, 7)[0])[0]
    actions, _, _ = planners.plan(PLANNERS["mppi"](), MASS, plan_key, first, belief, replan_every=3)
    np.testing.assert_allclose(episode.actions[:3], actions, atol=1e-5)
    many = jax.vmap(run)(jnp.stack([KEY, jax.random.key(1)]))
    np.testing.assert_allclose(many.rewards[0], episode.rewards, rtol=1e-4, atol=1e-5)


def test_control_at_another_rate_than_the_models():
    """dt 0.05 is imagined, 0.01 simulated, and an action lasts 0.02."""
    model, env = dynamics.pendulum(dt=0.05), dynamics.pendulum(dt=0.01)
    planner = planners.mppi(HORIZON, num_samples=8, num_knots=3)
    run = jax.jit(lambda key: planners.episode(planner, model, env, key, 5, replan_every=2, control_dt=0.02))
    episode = run(KEY)
    assert episode.actions.shape == (5, 1)
    held = dynamics.action_repeat(env, 2)
    state = episode.states[0]
    for t in range(4):
        state = held.step(KEY, state, episode.actions[t]).state
        np.testing.assert_allclose(state, episode.states[t + 1], rtol=1e-4, atol=1e-5)
    assert len({float(a) for a in episode.actions[:, 0]}) == 5  # a spline is followed
    single = jax.jit(lambda key: planners.episode(planner, model, env, key, 3, control_dt=0.02))(KEY)
    assert len(set(np.asarray(single.infos.best_return[:, -1]))) == 3


@dynamics.pytree
class Blind:
    """A planner without its feedback."""

    planner: planners.Planner

    def init(self, *of):
        return self.planner.init(*of)

    def improve(self, *of):
        return self.planner.improve(*of)

    def act(self, *of):
        return self.planner.act(*of)

    def shift(self, *of):
        return self.planner.shift(*of)

    def actions(self, *of):
        return self.planner.actions(*of)

    def respond(self, model, key, state, belief, time):
        return self.planner.actions(key, belief, jnp.stack([time]))[0]


def test_feedback_answers_to_disturbances_between_plannings():
    """On an unstable linear system that noise moves, iLQR with feedback beats its own plans."""
    parts = {
        "A": [[1.3, 0.2], [0.0, 1.2]], "B": [[0.0], [0.5]], "Q": jnp.eye(2), "R": [[0.01]], "Qf": jnp.eye(2),
        "start": [1.0, 0.0],
    }  # fmt: skip
    model = dynamics.linear_quadratic(**parts)
    noisy = dynamics.linear_quadratic(**parts, W=0.01 * jnp.eye(2))
    planner = planners.ilqr(16, num_iterations=2)

    def returns(planner, replan_every):
        def one(key):
            return planners.episode(planner, model, noisy, key, 20, replan_every=replan_every).rewards.sum()

        return np.asarray(jax.jit(jax.vmap(one))(jax.random.split(KEY, 32)))

    feedback, without, always = returns(planner, 5), returns(Blind(planner), 5), returns(planner, 1)
    assert (feedback > without).mean() > 0.9
    assert always.mean() - feedback.mean() < 0.1 * (always.mean() - without.mean())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"replan_every": 0}, "replan_every must be an integer of at least 1, got 0"),
        ({"replan_every": 2.5}, "replan_every must be an integer of at least 1, got 2.5"),
        ({"replan_every": 7}, "replan_every must not exceed the horizon of 6 steps, got 7"),
        ({"control_dt": 0.1}, "control_dt must be at most dt of model, 0.05 s, got 0.1 s"),
        ({"control_dt": 0.03}, "control_dt must be a multiple of dt of env, 0.05 s, got 0.03 s"),
        ({"control_dt": -1.0}, "control_dt must be finite and > 0, got -1"),
        ({"control_dt": "fast"}, "control_dt must be a number"),
    ],
)
def test_mistakes_are_named(changes, message):
    model = dynamics.pendulum()
    with pytest.raises(ValueError, match=message):
        unchecked(planners.episode)(PLANNERS["mppi"](), model, model, KEY, 3, **changes)


def test_what_a_rate_needs_is_said():
    model, untimed = dynamics.pendulum(), target(1)
    planner = PLANNERS["mppi"]()
    with pytest.raises(ValueError, match="model must have dt"):
        planners.plan(planner, untimed, KEY, jnp.zeros(()), planner.init(untimed, jnp.zeros(())), control_dt=0.1)
    with pytest.raises(ValueError, match="let the function that is jitted close over env"):
        jax.jit(lambda env: planners.episode(planner, env, env, KEY, 3, control_dt=0.05))(model)

    @dynamics.pytree
    class Plain:
        """A planner of one's own that knows of no later actions."""

        planner: object

        def init(self, *of):
            return self.planner.init(*of)

        def improve(self, *of):
            return self.planner.improve(*of)

        def act(self, *of):
            return self.planner.act(*of)

        def shift(self, belief):
            return self.planner.shift(belief)

    with pytest.raises(ValueError, match="replan_every above 1 needs a planner that has actions and respond"):
        planners.episode(Plain(planner), model, model, KEY, 3, replan_every=2)
    assert planners.episode(Plain(planner), model, model, KEY, 2).rewards.shape == (2,)
    with pytest.raises(ValueError, match="planner must have actions and respond"):
        planners.anytime(Plain(planner), model, deadline=1.0)


def test_a_shift_is_made_of_one_by_a_step():
    how = beliefs.shift_by_one(tail="zero")
    assert isinstance(how, Shift)
    assert how.by(1) is how
    assert how.by(2.0000000001).whole == 2
    assert how.by(3).by(1.5).num_new == 2


def test_models_of_repeated_actions_know_their_duration_within_jit():
    """They are closed over, so that their `dt` is a number there, too."""
    fine, planner = dynamics.pendulum(dt=0.01), planners.mppi(10, num_samples=8)
    slow, two = dynamics.action_repeat(fine, 5), dynamics.action_repeat(fine, 2)

    def run(model, env, num_steps, **given):
        jitted = jax.jit(lambda key: planners.episode(planner, model, env, key, num_steps, **given).rewards)
        return jitted(jax.random.key(0))

    assert jnp.isfinite(run(dynamics.pendulum(dt=0.05), two, 3, control_dt=0.02)).all()
    for given, message in (
        ({"control_dt": 0.1}, "control_dt must be at most dt of model"),
        ({"control_dt": 0.05, "replan_every": 15}, "replan_every must not exceed the horizon of 10"),
        ({}, "dt of env must be that of model"),
    ):
        with pytest.raises(ValueError, match=message):
            run(slow, fine, 4, **given)


def test_kept_plans_begin_with_what_is_executed():
    model, env = dynamics.pendulum(dt=0.05), dynamics.pendulum(dt=0.01)
    planner = planners.mppi(15, num_samples=16, num_knots=4)
    episode = jax.jit(
        lambda key: planners.episode(planner, model, env, key, 10, replan_every=5, control_dt=0.01, keep=("plans",))
    )(jax.random.key(0))
    np.testing.assert_allclose(episode.plans[:, 0], episode.actions, atol=1e-6)


@pytest.mark.parametrize("steps", [-2.0, jnp.nan])
def test_a_traced_number_of_steps_that_is_none_moves_nothing(steps):
    model, planner = dynamics.pendulum(), planners.mppi(6, num_samples=8)
    state = model.init(jax.random.key(0))
    belief = planner.init(model, state)
    belief, _ = jax.jit(planners.infer)(planner, model, jax.random.key(1), state, belief)
    moved = jax.jit(planner.shift)(belief, jnp.asarray(steps))
    np.testing.assert_allclose(moved.mode(), belief.mode(), atol=1e-6)
