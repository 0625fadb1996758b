"""What planners say where nothing can be learnt; neither the unit of rewards nor a constant in them does that."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import target

from mirrax import dynamics, planners
from mirrax.cli.progress import ProgressLine
from mirrax.planners.complaints import DERIVATIVES
from mirrax.planners.rollouts.rollout import score

KEY = jax.random.key(0)
ALL = pytest.mark.parametrize("factory", planners.PLANNERS, ids=lambda factory: factory.__name__)


def step_of(scale, offset, key, state, action):
    return state + 0.5 * action[0], scale * (offset - (state - 1.0) ** 2 - 0.1 * action[0] ** 2), 1.0


def walk(scale=1.0, offset=0.0):
    """Go to 1 from 0; rewards times a scale and with an offset, both traced."""
    step = jax.tree_util.Partial(step_of, scale, offset)
    return dynamics.from_function(step, 1, init=lambda key: jnp.zeros(()), action_range=(-1.0, 1.0))


def made(factory, horizon=5, **options):
    sizes = {} if factory is planners.random_shooting else {"num_iterations": 10}
    return factory(horizon, num_samples=64, **sizes, **options)


def numbers(info, row=-1):
    return {name: np.asarray(getattr(info, name)[row]) for name in info.names}


@ALL
def test_neither_unit_nor_equal_returns_go_unnoticed(factory):
    """In one program: rewards of 1, of 1e-8, and of nothing."""
    planner = made(factory)
    find = jax.jit(lambda scale: planners.infer(planner, walk(scale), KEY, jnp.zeros(())))
    (usual, told), (small, _), (lost, info) = find(1.0), find(1e-8), find(0.0)

    def earned(belief):
        return planners.rollout(walk(), KEY, jnp.zeros(()), belief.mode()[None])[0]

    assert planners.complaint(told) is None
    with pytest.raises(ValueError, match="numbers must be the Info of one inference, got measures of"):
        planners.complaint(jax.tree.map(lambda leaf: leaf[None], told))
    assert earned(usual) > -3.5  # −5 for staying where it is
    assert earned(small) > -3.5
    assert "nothing can be learnt" in str(planners.complaint(numbers(info)))
    assert np.isfinite(lost.mode()).all()
    if "ess" in info.names:
        np.testing.assert_allclose(info.ess, 64 if factory in UNIFORM else info.ess, rtol=1e-4)
        assert (info.ess >= 1.0 - 1e-4).all()
        assert (info.ess <= 64 * (1 + 1e-4)).all()


UNIFORM = (planners.mppi, planners.pi2)


def test_weights_of_equal_returns_sum_to_1():
    planner = planners.pi2(5, num_samples=32, keep="weights")
    _, info = jax.jit(planners.infer)(planner, walk(0.0), KEY, jnp.zeros(()))
    np.testing.assert_allclose(info.weights.sum(-1), 1.0, rtol=1e-5)
    assert info.degenerate.all()


def test_sums_keep_what_rounding_takes():
    plans = jax.random.uniform(KEY, (64, 50, 1), minval=-1.0)
    scores = score(walk(1.0, 1e6), KEY, jnp.zeros(()), plans)
    rewards = jax.vmap(lambda plan: planners.trajectory(walk(1.0, 1e6), KEY, jnp.zeros(()), plan).rewards)(plans)
    exact = np.asarray(rewards, np.float64).sum(1)
    known = np.asarray(scores.returns, np.float64) + np.asarray(scores.residual, np.float64)
    np.testing.assert_allclose(known - exact[0], exact - exact[0], atol=0.02)
    assert np.abs(np.asarray(scores.returns, np.float64) - exact).max() > 1.0  # which the sums alone do not


@pytest.mark.parametrize("name", ["random_shooting", "cem", "icem", "mppi", "pi2", "tsallis", "evolution", "vi_mpc"])
def test_a_constant_in_the_reward_changes_plans_little(name):
    planner = made(getattr(planners, name), horizon=50, num_knots=None if name == "pi2" else 8)
    find = jax.jit(lambda offset: planners.infer(planner, walk(1.0, offset), KEY, jnp.zeros(())))
    (usual, _), (offset, info) = find(0.0), find(1e6)
    returns = planners.rollout(walk(), KEY, jnp.zeros(()), jnp.stack([usual.mode(), offset.mode()]))
    assert returns[1] > returns[0] - 0.25 * abs(returns[0])
    assert 1e-4 < info.rounding[0] < 0.5
    both = find(1e9)[1]
    assert planners.complaint(numbers(both)).kind in ("equal", "rounding")


def smooth(state, action):
    return state + 0.1 * action[0], -(state**2)


@jax.custom_jvp
def once(x):
    """⅔ |x|^1.5, which at 0 has a first derivative, and no second one."""
    return jnp.abs(x) ** 1.5 / 1.5


@once.defjvp
def _(primals, tangents):
    return once(primals[0]), jnp.sign(primals[0]) * jnp.sqrt(jnp.abs(primals[0])) * tangents[0]


FAULTS = {
    1: (lambda s, a: (s + 0.1 * a[0] + 0.0 * jnp.sqrt(jnp.abs(a[0])), -(s**2)), None),
    2: (lambda s, a: (s + 0.1 * a[0], -jnp.sqrt(s**2)), None),
    3: (lambda s, a: (s + 0.1 * a[0], -once(s)), None),
    5: (smooth, lambda s: -jnp.sqrt((s - 0.0) ** 2)),
}


def faulty(kind):
    function, value = FAULTS[kind]
    return dynamics.from_function(
        lambda key, state, action: (*function(state, action), 1.0), 1, init=lambda key: jnp.zeros(()), value=value
    )


@pytest.mark.parametrize("kind", FAULTS)
def test_ilqr_names_the_derivative_that_is_not_finite(kind):
    planner = planners.ilqr(4, num_samples=0)
    belief, info = jax.jit(planners.infer)(planner, faulty(kind), KEY, jnp.zeros(()))
    assert info.nonfinite_derivative[-1] == kind
    assert info.nonfinite_step[-1] == (4 if kind == 5 else 0)
    assert DERIVATIVES[kind] in str(planners.complaint(numbers(info)))
    np.testing.assert_array_equal(belief.mode(), 0.0)


def test_ilqr_that_is_well_has_no_complaint():
    _, info = jax.jit(planners.infer)(planners.ilqr(4), target(), KEY, jnp.zeros(()))
    assert (info.nonfinite_derivative == 0).all()
    assert (info.nonfinite_step == -1).all()
    assert planners.complaint(numbers(info)) is None


@pytest.mark.parametrize(
    ("factory", "options"),
    [
        (planners.gradient, {}),
        (planners.elbo_gradient, {"antithetic": False}),
        (planners.stein, {}),
        (planners.iterative_policy, {"gradient": "pathwise"}),
    ],
)
def test_gradients_that_are_not_finite_are_counted(factory, options):
    """The first reward has no derivative, whatever the plan is."""
    planner = factory(4, num_samples=8, num_iterations=2, **options)

    def step(key, state, action):
        return state + 0.1 * action[0], -jnp.sqrt(jnp.abs(0.0 * action[0])), 1.0

    model = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(()))
    _, info = jax.jit(planners.infer)(planner, model, KEY, jnp.zeros(()))
    assert (info.num_invalid_gradients >= 8).all()
    assert info.degenerate.all()
    assert "no plan has a finite gradient" in str(planners.complaint(numbers(info)))


def test_the_command_line_says_each_kind_once(capsys):
    line = ProgressLine("a run", 10)
    step = {"reward": 0.0, "ended": False, "plan_ms": 1.0}
    line.show(step)
    line.show(step | {"rounding": 1.0})
    line.show(step | {"rounding": 1.0})
    line.show(step | {"degenerate": True, "num_invalid": 8})
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("step 2: all plans have the same return")
    assert said[1].startswith("step 4: no plan has a finite return")


def test_rounding_counts_in_full_under_a_measure_of_risk():
    """It hides what rounding has taken from each return; else only single rewards are rounded: 8 √H times less."""
    model, horizon = dynamics.randomized(walk(offset=1e6), lambda key, model: model, num=2), 50
    shares = []
    for risk in (None, "worst"):
        planner = planners.cem(horizon, num_samples=32, num_iterations=1, risk=risk)
        _, info = jax.jit(planners.infer)(planner, model, KEY, jnp.zeros(()))
        shares.append(float(info.rounding[0]))
    assert 0.0 < shares[0] < shares[1] < 1.0
    np.testing.assert_allclose(shares[1] / shares[0], 8 * np.sqrt(horizon), rtol=0.05)


@pytest.mark.parametrize("name", ["cem", "mppi"])
def test_a_constant_does_not_stop_a_planner_at_work(name):
    """At the top returns differ by less than sums lose by rounding, and by more than single rewards do."""
    pendulum = dynamics.pendulum()

    def reward(offset, state, action, after):
        return offset - 2.0 * (1.0 - jnp.cos(after[0])) - 0.1 * after[1] ** 2

    def model(offset):
        return dynamics.with_reward(pendulum, jax.tree_util.Partial(reward, offset))

    planner = getattr(planners, name)(50, num_samples=64)
    play = jax.jit(lambda offset: planners.episode(planner, model(offset), model(0.0), KEY, 160))
    episode = play(1e6)
    assert float(episode.rewards[120:].sum()) > -5.0  # hanging down costs 160
    assert float(episode.infos.degenerate.mean()) < 0.05


def test_equal_returns_beside_invalid_ones_still_teach():
    """Which plans are valid is learnt; nobody complains that all returns are the same."""

    def step(key, state, action):
        return state, jnp.where(action[0] > 0.0, jnp.nan, 0.0), 1.0

    model = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(()))
    _, info = jax.jit(planners.infer)(made(planners.mppi), model, KEY, jnp.zeros(()))
    assert info.num_invalid[-1] > 0
    assert not info.degenerate[-1]
    assert planners.complaint(numbers(info)) is None


def test_plans_that_are_all_the_same_are_no_flat_reward():
    _, info = jax.jit(planners.infer)(planners.stein(4, num_samples=8, std=0.0), walk(), KEY, jnp.zeros(()))
    assert info.rounding[0] == 0.0


def test_numbers_that_are_none_are_no_error():
    said = planners.complaint({"nonfinite_derivative": 2})
    assert said.kind == "derivative"
    assert planners.complaint({"num_invalid_gradients": np.nan, "degenerate": np.nan}) is None


@pytest.mark.parametrize(
    ("name", "options"),
    [("ilqr", {}), ("gradient", {"max_norm": None}), ("stein", {"std": 0.0}), ("stein", {}), ("elbo_gradient", {})],
)
def test_the_unit_of_rewards_does_not_matter(name, options):
    """What derivatives follow is as good for rewards of 1e-10 as of 1e-3."""

    def model(scale):
        def step(scale, key, state, action):
            after = jnp.array([state[0] + 0.1 * state[1], state[1] + 0.1 * action[0]])
            return after, -scale * (jnp.sum(after**2) + 0.01 * action[0] ** 2), 1.0

        return dynamics.from_function(jax.tree_util.Partial(step, scale), 1, init=lambda key: jnp.array([1.0, 0.5]))

    planner, state = getattr(planners, name)(20, **options), jnp.array([1.0, 0.5])
    find = jax.jit(lambda scale: planners.infer(planner, model(scale), KEY, state)[0])

    def cost(scale):
        found = find(scale)
        plan = found.mean if name == "elbo_gradient" else found.mode()
        return -float(planners.rollout(model(1.0), KEY, state, plan[None])[0])

    usual = cost(1e-3)
    assert usual < 21.0  # 24 for doing nothing
    for scale in (1e-6, 1e-10):
        np.testing.assert_allclose(cost(scale), usual, rtol=2e-3)
