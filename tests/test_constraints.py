"""Constraints: what violates them, how plans are ranked by that, and what planners make of it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import random_linear_quadratic, target, unchecked
from scipy import optimize

from mirrax import compiling, dynamics, planners, report
from mirrax.dynamics.constraints import watched_step
from mirrax.planners.rollouts.risk import chance_constrained
from mirrax.planners.rollouts.rollout import score
from mirrax.planners.sampling import likelihoods
from mirrax.planners.sampling.comparison import in_order, judge

KEY = jax.random.key(0)
KEEPING = {
    "random_shooting": {"num_samples": 512},
    "predictive_sampling": {},
    "cem": {"num_samples": 128},
    "icem": {"num_samples": 64, "population_decay": 1.0},
    "mppi": {"num_samples": 256},
    "pi2": {"num_samples": 64},
    "tsallis": {},
    "dial": {"num_samples": 128},
    "evolution": {"num_samples": 64, "num_iterations": 2},
    "vi_mpc": {"num_samples": 128},
    "smc": {"num_samples": 128},
}
REFUSING = ("gradient", "elbo_gradient", "stein", "ilqr", "iterative_policy")


def walk(noise=0.0):
    """A point that is moved by its action, and pays for being far up."""

    def step(key, state, action):
        moved = state + action[0] + noise * jax.random.normal(key)
        return moved, moved, 1.0

    return dynamics.from_function(step, 1, init=lambda key: jnp.zeros(()), bounded=True)


def below(limit):
    return lambda state, action: state - limit


def sums(model, plans, state=None, **options):
    state = model.init(KEY) if state is None else state
    return score(model, KEY, state, jnp.asarray(plans, float)[..., None], **options).violation


class TestModel:
    """What `dynamics.constrained` says of steps."""

    def test_the_state_after_each_step_counts_and_the_first_does_not(self):
        model = dynamics.constrained(walk(), below(0.5))
        plans = [[0.5, 0.0, 0.0], [0.4, 0.2, 0.2], [0.0, 0.0, 1.0], [-1.0, 0.0, 0.0]]
        np.testing.assert_allclose(sums(model, plans), [0.0, 0.1 + 0.3, 0.5, 0.0], atol=1e-6)
        np.testing.assert_allclose(sums(model, [[-1.0, 0.0, 0.0]], jnp.asarray(1.5)), [0.0], atol=1e-6)

    def test_actions_are_what_the_actuators_take(self):
        model = dynamics.constrained(walk(), lambda state, action: jnp.abs(action[0]) - 0.75)
        np.testing.assert_allclose(sums(model, [[3.0, 0.5]]), [0.25], atol=1e-6)

    def test_constraints_add_up_in_their_scales_and_each_has_a_name(self):
        model = dynamics.constrained(walk(), lambda s, a: jnp.stack([s - 0.5, -s]), scale=(1.0, 2.0), name="a")
        model = dynamics.constrained(model, lambda s, a: s - 0.25, tolerance=0.3, name="b")
        assert dynamics.constraint_names(model) == ("a", "b")
        after = jnp.asarray([0.5, 0.75, -0.5])
        found = jax.vmap(lambda s: dynamics.violations(model, s, jnp.zeros(1), s))(after)
        np.testing.assert_allclose(found, [[0.0, 0.0], [0.25, 0.5], [0.25, 0.0]])
        assert dynamics.violations(walk(), 0.0, jnp.zeros(1), 0.0) is None
        assert dynamics.constraint_names(walk()) is None

    def test_no_number_is_a_violation_beyond_measure(self):
        model = dynamics.constrained(walk(), lambda s, a: jnp.where(s > 0.5, jnp.nan, -1.0))
        assert sums(model, [[0.4, 0.4], [0.1, 0.1]]).tolist() == [np.inf, 0.0]

    def test_nothing_counts_after_an_end(self):
        model = dynamics.with_termination(walk(), lambda s, a, after: after > 1.0)
        model = dynamics.constrained(model, below(0.5))
        np.testing.assert_allclose(sums(model, [[0.8, 0.8, 1.0, 1.0]]), [0.3 + 1.1], atol=1e-6)
        found = planners.trajectory(model, KEY, model.init(KEY), jnp.asarray([[0.8], [0.8], [1.0]]))
        np.testing.assert_allclose(found.violations[:, 0], [0.3, 1.1, 0.0], atol=1e-6)

    def test_what_remains_to_go(self):
        model = dynamics.constrained(walk(), below(0.5))
        plans = jnp.asarray([[[0.7], [0.0], [-0.6]], [[0.0], [0.0], [0.0]]])
        found = score(model, KEY, model.init(KEY), plans, to_go=True)
        np.testing.assert_allclose(found.violation_to_go, [[0.4, 0.2, 0.0], [0.0, 0.0, 0.0]], atol=1e-6)

    @pytest.mark.parametrize(
        "wrap",
        [
            lambda m: dynamics.with_value(m, lambda s: 0.0),
            lambda m: dynamics.with_reward(m, lambda s, a, t: 0.0),
            lambda m: dynamics.discounted(m, 0.9),
            lambda m: dynamics.with_termination(m, lambda s, a, t: jnp.asarray(False)),
            dynamics.timed,
            lambda m: dynamics.resting(m, 2),
            lambda m: dynamics.randomized(m, lambda key, model: model, 3),
            lambda m: dynamics.ensemble([m, m]),
            lambda m: dynamics.timed(dynamics.action_repeat(m, 1)),
        ],
    )
    def test_wrappers_forward_them(self, wrap):
        model = wrap(dynamics.constrained(walk(), below(0.5), name="low", violation_probability=0.25))
        assert dynamics.constraint_names(model) == ("low",)
        np.testing.assert_allclose(sums(model, [[0.7, 0.2, 0.0], [0.1, 0.1, 0.1]]), [0.2 + 0.4 + 0.4, 0.0], atol=1e-6)
        dynamics.check(model)

    def test_every_repetition_counts(self):
        pendulum = dynamics.constrained(dynamics.pendulum(), lambda s, a: jnp.abs(s[1]) - 0.1)
        slow = dynamics.timed(dynamics.action_repeat(pendulum, 4))
        state, action = slow.init(KEY), jnp.ones(1)
        _, found = watched_step(slow, KEY, state, action)
        each, total = state.state, 0.0
        for _ in range(4):
            step, violated = watched_step(pendulum, KEY, each, action)
            each, total = step.state, total + violated[0]
        assert total > 0.0
        np.testing.assert_allclose(found, [total], rtol=1e-5)

    def test_lists_of_actions(self):
        model = dynamics.discretized(dynamics.constrained(walk(), below(0.5)), jnp.asarray([[1.0], [0.0]]))
        plans = jnp.asarray([[0, 1], [1, 1]])
        np.testing.assert_allclose(score(model, KEY, model.init(KEY), plans).violation, [1.0, 0.0])

    @pytest.mark.parametrize(
        ("constraint", "message"),
        [
            (lambda s, a: s > 0.0, "got a boolean"),
            (lambda s, a: jnp.zeros((2, 2)), r"got shape \(2, 2\)"),
            (lambda s, a: jnp.zeros(0), r"got shape \(0,\)"),
            (lambda s, a: None, "got None"),
        ],
    )
    def test_what_is_no_constraint_is_named(self, constraint, message):
        model = dynamics.constrained(walk(), constraint)
        with pytest.raises(ValueError, match=f"constraint must return a number.*{message}"):
            dynamics.check(model)
        with pytest.raises(ValueError, match=f"constraint must return a number.*{message}"):
            planners.infer(planners.mppi(3, num_samples=4), model, KEY, model.init(KEY))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"constraint": "x > 0"}, "constraint must be a function"),
            ({"constraint": None}, "constraint must be a function"),
            ({"scale": 0.0}, "scale must be finite and > 0, got 0.0"),
            ({"scale": np.ones((2, 2))}, "scale must be a number, or one for each constraint"),
            ({"tolerance": -1.0}, "tolerance must be finite and >= 0"),
            ({"violation_probability": 1.0}, "violation_probability must be finite and >= 0 and < 1"),
            ({"name": ""}, "name must be words"),
        ],
    )
    def test_mistakes(self, options, message):
        given = {"constraint": below(0.5)} | options
        with pytest.raises(ValueError, match=message):
            unchecked(dynamics.constrained)(walk(), given.pop("constraint"), **given)

    def test_a_scale_of_another_number_is_named(self):
        model = dynamics.constrained(walk(), below(0.5), scale=(1.0, 2.0, 3.0))
        dynamics.check(dynamics.constrained(walk(), lambda s, a: jnp.stack([s, s, s]), scale=(1.0, 2.0, 3.0)))
        with pytest.raises(ValueError, match=r"scale must be a number, or one for each of 1 constraints, got shape"):
            dynamics.check(model)


class TestChance:
    """At most ε of the scenarios may violate."""

    @pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.125, 0.25, 0.5, 0.9])
    @pytest.mark.parametrize("size", [1, 2, 8, 10])
    def test_the_order_statistic_by_enumeration(self, epsilon, size):
        violations = np.random.default_rng(size).exponential(size=(5, size, 1)).astype(np.float32)
        violations *= np.random.default_rng(1).random(violations.shape) < 0.6
        found = np.asarray(chance_constrained(jnp.asarray([epsilon], float), jnp.asarray(violations)))[:, 0]
        for own, value in zip(violations[:, :, 0], found, strict=True):
            # the least v that no more than ε M scenarios exceed
            allowed = [v for v in own if (own > v).sum() <= epsilon * size + 1e-5]
            assert value == min(allowed)

    def test_a_plan_may_fail_in_as_many_scenarios_as_are_allowed(self):
        plans = [[0.0, 0.0], [0.3, 0.0], [0.6, 0.0]]
        options = {"num_scenarios": 16}
        apart = [
            sums(dynamics.constrained(walk(0.3), below(0.5), violation_probability=eps), plans, **options)
            for eps in (0.0, 0.25, 0.75)
        ]
        assert (np.diff(np.asarray(apart), axis=0) <= 0).all()
        assert np.asarray(apart)[0, 0] > 0
        assert np.asarray(apart)[2, 0] == 0
        # by hand, in each scenario of its own
        model = walk(0.3)
        states = jax.vmap(
            lambda key: planners.trajectory(model, key, model.init(KEY), jnp.asarray(plans[1])[:, None]).states
        )(jax.random.split(jax.random.key(5), 4000))
        share = float((np.asarray(states) > 0.5).any(1).mean())
        many = sums(
            dynamics.constrained(walk(0.3), below(0.5), violation_probability=share + 0.05),
            plans,
            num_scenarios=2000,
        )
        few = sums(
            dynamics.constrained(walk(0.3), below(0.5), violation_probability=share - 0.05),
            plans,
            num_scenarios=2000,
        )
        assert many[1] == 0
        assert few[1] > 0


class TestRanking:
    """Plans in order: those that keep to the constraints by their returns, the others by what they violate."""

    returns = jnp.asarray([3.0, 9.0, 1.0, 2.0, 7.0, jnp.nan, 8.0])
    violation = jnp.asarray([0.0, 0.5, 0.0, 0.1, 0.1, 0.0, jnp.inf])
    order = (0, 2, 4, 3, 1, 6)

    def judged(self, likelihood, returns=None, violation=None, multiplier=0.0):
        returns = self.returns if returns is None else returns
        violation = self.violation if violation is None else violation
        return judge(likelihood, returns, jnp.isfinite(returns), None, 1, violation, jnp.asarray(multiplier))

    @pytest.mark.parametrize("number", [2, 3, 4, 5])
    def test_elites_are_the_first_in_order(self, number):
        likelihood = planners.likelihoods.elite(num_elites=number, num_samples=7)
        chosen = np.flatnonzero(np.isfinite(self.judged(likelihood).optimality.log_weights))
        assert set(chosen) == set(self.order[:number])

    def test_the_best_is_the_first_in_order(self):
        judged = self.judged(planners.likelihoods.Best())
        assert np.argmax(judged.optimality.log_weights) == 0
        worse = self.judged(planners.likelihoods.Best(), violation=self.violation + 0.5)
        assert np.argmax(worse.optimality.log_weights) == 0

    def test_what_learns_from_returns_sees_the_order(self):
        relative = jnp.where(jnp.isfinite(self.returns), self.returns, -jnp.inf)
        found = np.asarray(in_order(relative, self.violation))
        assert found[5] == -np.inf
        kinds = [0, 2, 4, 1, 6]
        assert (np.diff(found[kinds]) < 0).all()
        tiny = np.asarray(in_order(jnp.zeros(3), jnp.asarray([1e-20, 2e-20, 1e20])))
        assert (np.diff(tiny) < 0).all()

    @pytest.mark.parametrize(
        "likelihood",
        [
            planners.likelihoods.exponential(),
            planners.likelihoods.exponential(0.5),
            planners.likelihoods.exponential(0.1, standardize=True),
            planners.likelihoods.exponential(0.1, by_range=True),
            planners.likelihoods.q_exponential(2.0),
            planners.likelihoods.q_exponential(2.0, temperature=1.0),
        ],
    )
    def test_weights_of_what_violates_are_little_whatever_it_earns(self, likelihood):
        rng = np.random.default_rng(0)
        returns, violation = rng.normal(size=200), np.maximum(rng.normal(size=200), 0.0)
        for unit, earned in ((1.0, 0.0), (1e-3, 5.0), (1e3, 50.0)):
            judged = self.judged(likelihood, jnp.asarray(returns + earned * violation), jnp.asarray(unit * violation))
            weights = np.exp(judged.optimality.log_weights)
            assert weights[violation > 0].sum() <= 0.051 * weights.sum()
            assert judged.multiplier > 0

    def test_the_temperature_is_that_of_plans_that_keep_to_the_constraints(self):
        likelihood = planners.likelihoods.exponential(0.1, standardize=True)
        rng = np.random.default_rng(0)
        returns, violation = rng.normal(size=100), np.arange(100) % 2
        temperatures = [
            float(
                self.judged(
                    likelihood, jnp.asarray(returns + factor * violation), jnp.asarray(violation, float)
                ).optimality.temperature
            )
            for factor in (0.0, 100.0, -1e4)
        ]
        np.testing.assert_allclose(temperatures, temperatures[0], rtol=1e-4)

    def test_where_no_plan_keeps_to_them_the_least_violation_has_the_weight(self):
        returns, violation = jnp.arange(50.0), 1.0 + jnp.arange(50.0)
        for likelihood in (planners.likelihoods.exponential(), planners.likelihoods.exponential(1e-3)):
            weights = np.exp(self.judged(likelihood, returns, violation).optimality.log_weights)
            assert np.argmax(weights) == 0
            assert weights[10:].sum() < 0.1 * weights.sum()
        equal = self.judged(planners.likelihoods.exponential(), returns, jnp.ones(50))
        assert np.argmax(equal.optimality.log_weights) == 49  # they differ in returns alone

    def test_the_multiplier_stays_within_bounds_that_follow_the_units(self):
        likelihood = planners.likelihoods.exponential(1e6)  # nothing can tell plans apart
        found = self.judged(likelihood, jnp.asarray([0.0, 1.0, 0.5]), jnp.asarray([0.0, 1.0, 0.0]), 1e30)
        assert 0 < found.multiplier <= 2e4
        relaxed = self.judged(
            planners.likelihoods.exponential(1e-3), jnp.asarray([1.0, 0.0]), jnp.asarray([0.0, 1.0]), 5.0
        )
        np.testing.assert_allclose(relaxed.multiplier, 4.5)


class TestPlanners:
    """What planners do under constraints."""

    @pytest.mark.parametrize("name", KEEPING)
    def test_no_violation_in_closed_loop(self, name):
        """A pendulum that could be thrown up, and must not be faster than 2 rad/s."""
        model = dynamics.constrained(dynamics.pendulum(max_torque=12.0), lambda s, a: jnp.abs(s[1]) - 2.0)
        planner = getattr(planners, name)(16, **KEEPING[name])

        @jax.jit
        def run(keys):
            return jax.vmap(lambda key: planners.episode(planner, model, model, key, 40))(keys)

        episode = run(jax.random.split(KEY, 3))
        assert episode.violations.shape == (3, 40, 1)
        assert (np.asarray(episode.violations) == 0).all()
        assert (np.abs(np.asarray(episode.states)[..., 1]).max(1) > 0.5).all()  # it does not freeze
        infos = episode.infos
        assert (np.asarray(infos.executed_violation) == 0).all()
        assert (np.asarray(infos.violation)[..., -1] == 0).all()
        assert ((np.asarray(infos.feasible) >= 0) & (np.asarray(infos.feasible) <= 1)).all()
        assert np.isfinite(np.asarray(infos.multiplier)).all()
        assert (np.asarray(infos.mean_violation) >= 0).all()

    @pytest.mark.slow
    @pytest.mark.parametrize("name", KEEPING)
    def test_no_obstacle_is_touched(self, name):
        """Two obstacles, and a passage of 0.3 m between them, under default settings."""
        obstacles = jnp.asarray([[1.5, 0.35, 0.6], [1.5, -1.15, 0.6]])

        def inside(state, action):
            return obstacles[:, 2] - jnp.linalg.norm(state[:2] - obstacles[:, :2], axis=-1)

        model = dynamics.constrained(dynamics.point_mass(goal=(3.0, 0.0), obstacles=()), inside)
        planner = getattr(planners, name)(25)
        episode = jax.jit(lambda keys: jax.vmap(lambda key: planners.episode(planner, model, model, key, 80))(keys))(
            jax.random.split(KEY, 4)
        )
        assert (np.asarray(episode.violations) == 0).all()
        assert (np.asarray(episode.rewards)[:, -1] > 0.5).all()  # it arrives

    @pytest.mark.parametrize("name", REFUSING)
    def test_planners_that_do_not_keep_to_them_refuse(self, name):
        model = dynamics.constrained(dynamics.pendulum(), lambda s, a: -1.0 * s[0])
        with pytest.raises(ValueError, match=rf"{name} on .*: model has constraints \(constraint\).*take one.*cem"):
            getattr(planners, name)(4).init(model, model.init(KEY))
        with pytest.raises(ValueError, match="model has constraints"):
            planners.infer(getattr(planners, name)(4), dynamics.timed(model), KEY, dynamics.timed(model).init(KEY))

    def test_refinement_refuses(self):
        model = dynamics.constrained(dynamics.pendulum(), lambda s, a: -1.0 * s[0])
        planner = planners.mppi(4, num_samples=8, refine=planners.gradient(4))
        with pytest.raises(ValueError, match="model has constraints"):
            planner.init(model, model.init(KEY))

    @pytest.mark.parametrize("execute", ["sample", "component"])
    def test_what_is_drawn_to_be_executed_is_refused(self, execute):
        model = dynamics.constrained(dynamics.pendulum(), lambda s, a: -1.0 * s[0])
        planner = planners.vi_mpc(4, num_samples=8, num_components=2, execute=execute)
        with pytest.raises(ValueError, match=f"execute='{execute}' draws what it executes"):
            planner.init(model, model.init(KEY))

    def test_without_constraints_nothing_is_told(self):
        model = target()
        belief, info = planners.infer(planners.mppi(3, num_samples=8), model, KEY, model.init(KEY))
        for name in ("violation", "mean_violation", "feasible", "multiplier", "executed_violation"):
            assert getattr(info, name) is None
        assert (belief.violation, belief.multiplier, belief.guarded) == (None, None, None)
        assert planners.episode(planners.mppi(3, num_samples=8), model, model, KEY, 2).violations is None

    def test_a_mean_that_violates_is_not_executed(self):
        """Plans pass an obstacle on either side; their mean goes through it."""

        def step(key, state, action):
            return state + action, -0.1 * jnp.sum(action**2), 1.0

        model = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(1), bounded=True)
        model = dynamics.constrained(model, lambda s, a: 0.4 - jnp.abs(s[0]))
        planner = planners.mppi(1, num_samples=2048, temperature=1.0, std=0.5)
        belief, info = jax.jit(planners.infer)(planner, model, KEY, model.init(KEY))
        assert bool(belief.guarded)
        assert abs(float(belief.mode()[0, 0])) >= 0.4
        assert abs(float(planner.act(KEY, belief)[0])) >= 0.4
        assert float(info.executed_violation[-1]) == 0.0

    def test_the_price_is_carried_from_one_time_step_to_the_next(self):
        model = dynamics.constrained(walk(), below(1.0))
        planner = planners.mppi(4, num_samples=64)
        plan = jax.jit(planners.plan)
        belief = planner.init(model, model.init(KEY))
        assert float(belief.multiplier) == 0.0
        with compiling.counted() as count:
            state = model.init(KEY)
            for key in jax.random.split(KEY, 3):
                before = belief
                action, belief, info = plan(planner, model, key, state, belief)
                np.testing.assert_array_equal(info.multiplier[0], before.multiplier)
                assert jax.tree.structure(belief) == jax.tree.structure(before)
                state = model.step(key, state, action).state
        assert count.traces["plan"] == 1, count
        assert float(belief.multiplier) > 0.0
        forgetful = planners.mppi(4, num_samples=64, warm_start=False)
        _, belief, _ = plan(forgetful, model, KEY, state, forgetful.init(model, state))
        assert float(belief.multiplier) == 0.0

    @pytest.mark.parametrize("name", ["cem", "mppi", "vi_mpc", "smc"])
    def test_jit_and_vmap_agree_with_neither(self, name):
        model = dynamics.constrained(walk(), below(1.0), scale=0.5)
        planner = getattr(planners, name)(3, num_samples=32, num_iterations=2)
        state = model.init(KEY)
        plain, info = planners.infer(planner, model, KEY, state)
        jitted, _ = jax.jit(planners.infer)(planner, model, KEY, state)
        np.testing.assert_allclose(plain.mode(), jitted.mode(), atol=1e-5)
        keys = jax.random.split(KEY, 2)
        many, _ = jax.vmap(lambda key: planners.infer(planner, model, key, state))(keys)
        own, _ = planners.infer(planner, model, keys[1], state)
        np.testing.assert_allclose(jax.tree.map(lambda leaf: leaf[1], many).mode(), own.mode(), atol=1e-4)
        assert {"violation", "feasible", "multiplier", "executed_violation"} <= set(info.names)

    def test_limits_are_traced(self):
        """Another limit, scale or probability compiles nothing anew."""

        noisy = walk(0.1)

        def limited(limit, **options):
            return dynamics.constrained(noisy, jax.tree_util.Partial(_under, jnp.asarray(limit)), **options)

        planner, infer = planners.cem(3, num_samples=16, num_scenarios=4), jax.jit(planners.infer)
        with compiling.counted() as count:
            for model in (limited(1.0), limited(0.5, scale=2.0, violation_probability=0.5, tolerance=0.1)):
                infer(planner, model, KEY, jnp.zeros(()))
        assert count.traces["infer"] == 1, count

    def test_an_environment_may_be_without(self):
        free = dynamics.pendulum()
        model = dynamics.constrained(free, lambda s, a: 1.0 + 0.0 * s[0])
        planner = planners.cem(3, num_samples=8)
        for env in (free, model):
            episode = planners.episode(planner, model, env, KEY, 3)
            np.testing.assert_allclose(episode.violations, np.ones((3, 1)))
        assert planners.episode(planner, free, model, KEY, 3).violations.shape == (3, 1)

    def test_a_report_says_what_was_kept(self, tmp_path):
        model = dynamics.constrained(dynamics.pendulum(), lambda s, a: 0.5 + 0.0 * s[0], name="never")
        model = dynamics.constrained(model, lambda s, a: -1.0 + 0.0 * s[0], name="always")
        episode = planners.episode(planners.cem(3, num_samples=8), model, model, KEY, 3)
        report.report_episode(tmp_path / "report.html", model, episode)
        text = (tmp_path / "report.html").read_text()
        assert "Constraint: never" in text
        assert "violated in 3 steps, by 1.5 in all" in text
        assert "Constraint: always" in text


def _under(limit, state, action):
    return state - limit


class TestDerivatives:
    """Means of weighted plans have derivatives under constraints, too."""

    def test_they_are_those_of_finite_differences(self):
        def step(key, state, action):
            return state + action, -jnp.sum((state + action - 2.0) ** 2), 1.0

        free = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(1), bounded=True)
        planner = planners.mppi(3, num_samples=256, temperature=1.0)

        @jax.jit
        def planned(scale):
            # the price is known, and of the weights alone what depends on the scale smoothly is left
            model = dynamics.constrained(free, lambda s, a: s[0] - 0.5, scale=scale)
            return planners.infer(planner, model, KEY, jnp.zeros(1))[0].belief.mean.sum()

        slope = jax.jit(jax.grad(planned))(1.0)
        assert np.isfinite(slope)
        forward = jax.jit(jax.jacfwd(planned))(1.0)
        np.testing.assert_allclose(slope, forward, rtol=1e-3, atol=1e-5)


class TestClosedForms:
    """Quadratic problems under linear constraints, and posteriors by enumeration."""

    def problem(self):
        """A linear-quadratic problem of four steps whose optimum violates x₀ <= b, and its constrained optimum."""
        model = random_linear_quadratic(seed=1, n=2, m=1)
        horizon = 4

        def returned(plan):
            return planners.rollout(model, KEY, model.start, jnp.asarray(plan, float).reshape(1, horizon, 1))[0]

        def firsts(plan):
            plan = jnp.asarray(plan, float).reshape(horizon, 1)
            return planners.trajectory(model, KEY, model.start, plan).states[:, 0]

        slope, value, place = jax.jit(jax.grad(returned)), jax.jit(returned), jax.jit(firsts)
        steepness = jax.jit(jax.jacobian(firsts))
        free = optimize.minimize(lambda a: -float(value(a)), np.zeros(horizon), jac=lambda a: -np.asarray(slope(a)))
        limit = float(np.max(place(free.x))) - 0.5
        exact = optimize.minimize(
            lambda a: -float(value(a)),
            np.zeros(horizon),
            jac=lambda a: -np.asarray(slope(a), float),
            method="SLSQP",
            constraints={
                "type": "ineq",
                "fun": lambda a: np.asarray(limit - place(a), float),
                "jac": lambda a: -np.asarray(steepness(a), float),
            },
        )
        return dynamics.constrained(model, lambda s, a: s[0] - limit), exact, -free.fun

    def test_the_optimum_of_a_quadratic_program(self):
        model, exact, unconstrained = self.problem()
        lost = unconstrained + exact.fun
        assert lost > 0.01  # the constraint holds the plan back
        made = {
            "cem": planners.cem(4, num_samples=2048, num_iterations=20, std=2.0, std_min=0.01, bounds="none"),
            "mppi": planners.mppi(4, num_samples=4096, num_iterations=40, std=0.2, target_ess=0.02, bounds="none"),
        }
        for name, planner in made.items():
            belief, info = jax.jit(planners.infer)(planner, model, KEY, model.model.start)
            assert float(info.violation[-1]) == 0.0
            gap = -exact.fun - float(belief.best_return)
            assert -1e-3 <= gap < 0.1 * lost + 0.02, (name, gap, lost)
            np.testing.assert_allclose(belief.best()[:, 0], exact.x, atol=0.3)
            assert float(info.executed_violation[-1]) == 0.0

    def test_particles_are_samples_of_the_posterior_of_plans_that_keep_to_them(self):
        """p(a) exp(R/λ) 1[c(a) = 0] by enumeration, whatever the price of violations on the way."""
        table = jnp.asarray([[-1.0], [0.0], [1.0]])
        model = dynamics.discretized(dynamics.constrained(walk(), below(1.0)), table)
        plans = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), -1).reshape(-1, 3)
        states = np.cumsum(np.asarray(table)[plans, 0], 1)
        weights = np.exp(states.sum(1) / 2.0) * (states <= 1.0).all(1) / 27
        evidence, first = np.log(weights.sum()), np.bincount(plans[:, 0], weights) / weights.sum()
        planner = planners.smc(3, num_samples=4096, temperature=2.0, prior=planners.beliefs.categorical())
        belief = planner.init(model, model.init(KEY))
        for multiplier in (0.0, 3.0):
            start = dataclasses.replace(belief, multiplier=jnp.asarray(multiplier, float))
            found, info = jax.jit(planners.infer)(planner, model, KEY, model.init(KEY), start)
            np.testing.assert_allclose(info.log_evidence[-1], evidence, atol=0.06)
            shares = np.bincount(np.asarray(found.plans)[:, 0], np.exp(np.asarray(found.log_weights)), minlength=3)
            np.testing.assert_allclose(shares, first, atol=0.04)


def test_a_plan_that_was_lucky_in_its_scenarios_is_not_trusted():
    """Of many plans the best in few scenarios was lucky: what falls back on it tries it in new ones."""
    walk = dynamics.from_function(
        lambda key, x, a: (lambda after: (after, after, 1.0))(x + 0.3 * a[0] + 0.05 * jax.random.normal(key)),
        1,
        init=lambda key: jnp.zeros(()),
        bounded=True,
    )
    model = dynamics.constrained(walk, lambda x, a: x - 1.0)
    planner = planners.icem(8, num_samples=128, num_scenarios=16)

    @jax.jit
    @jax.vmap
    def executed(key):
        belief, _ = planners.infer(planner, model, key, jnp.zeros(()))
        pushes = 0.05 * jax.random.normal(jax.random.fold_in(key, 1), (1000, 8))
        reached = jnp.cumsum(0.3 * jnp.clip(belief.mode()[:, 0], -1.0, 1.0) + pushes, 1)
        return (reached > 1.0).any(1).mean(), belief.guarded

    violated, guarded = executed(jax.random.split(jax.random.key(6), 100))
    assert guarded.mean() > 0.2
    assert violated.mean() < 0.025  # 0.046 where the plan is judged by the scenarios that it was found in


@pytest.mark.parametrize("outlier", [0.0, 1e6, 1e9, 1e30])
def test_one_plan_that_violates_beyond_measure_does_not_make_others_cheap(outlier):
    returns = jax.random.normal(jax.random.key(0), (256,))
    bad = jnp.arange(256) < 128
    cost = jnp.where(bad, 0.05 * jnp.abs(returns) + 0.01, 0.0)
    cost = cost.at[0].set(outlier) if outlier else cost
    returns += bad
    exponential = likelihoods.exponential(temperature=0.3)
    judged = judge(exponential, returns, jnp.isfinite(returns), None, 25, cost, jnp.zeros(()))
    share = jnp.where(cost > 0, jax.nn.softmax(judged.optimality.log_weights), 0.0).sum()
    assert share <= 0.05
    tiny = jnp.where(bad, 1e-12, 0.0).at[:100].set(1.0)  # no price within bounds is high enough for these
    judged = judge(exponential, returns, jnp.isfinite(returns), None, 25, tiny, jnp.zeros(()))
    assert jnp.where(tiny > 0, jax.nn.softmax(judged.optimality.log_weights), 0.0).sum() <= 0.05
