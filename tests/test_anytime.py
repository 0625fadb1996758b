"""Planning by the clock, which these tests hold in their hands: nothing depends on how fast the machine is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import random_linear_quadratic, target, unchecked

from mirrax import dynamics, planners

KEY = jax.random.key(0)
MASS = dynamics.point_mass()
HORIZON = 6


class Clock:
    """A clock that goes on by `costs` for each piece, the last of them for ever, and by nothing else."""

    def __init__(self, *costs):
        self.now, self.costs, self.left = 0.0, list(costs), {}

    def __call__(self):
        return self.now

    def wait(self, computed, until):
        """Whether it is there by then; what is not goes on from there at the next call."""
        computed.result()
        if computed not in self.left:
            self.left[computed] = self.costs.pop(0) if len(self.costs) > 1 else self.costs[0]
        spent = min(self.left[computed], max(0.0, until - self.now))
        self.now += spent
        self.left[computed] -= spent
        return self.left[computed] <= 1e-9


def driven(planner, clock, model=MASS, **changes):
    driver = planners.anytime(planner, model, clock=clock, wait=clock.wait, **({"deadline": 1.0} | changes))
    return driver, driver.init(model.init(KEY))


def mppi(**changes):
    return planners.mppi(HORIZON, **({"num_samples": 8, "num_iterations": 3} | changes))


def test_as_many_iterations_as_fit():
    clock = Clock(0.3)
    driver, running = driven(mppi(), clock)
    for _ in range(3):  # what a piece takes is learnt in the first step
        _, running, info = driver.plan(KEY, MASS.init(KEY), running)
        assert not info.late
    assert (info.num_iterations, info.num_late, info.age) == (3, 0, 0)
    assert info.seconds == pytest.approx(0.9)
    assert info.piece_s == pytest.approx(0.3)
    assert info.info.best_return.shape == (1,)
    assert not clock.left[max(clock.left, key=id)] > 0.0
    _, _, more = driver.plan(KEY, MASS.init(KEY), running._replace(piece_s=0.05))
    assert more.num_iterations == 3  # the piece that did not fit was begun, and goes on
    assert not more.late


def test_the_most_iterations_can_be_given():
    driver, running = driven(mppi(), Clock(0.01), max_iterations=2)
    _, _, info = driver.plan(KEY, MASS.init(KEY), running)
    assert info.num_iterations == 2


def test_with_time_enough_it_is_the_planner():
    """Pieces of one iteration each, then a shift: what `improve` and `shift` of a planner of one iteration do."""
    planner, state = mppi(num_iterations=1), MASS.init(KEY)
    driver, running = driven(planner, Clock(0.4))
    belief = planner.init(MASS, state)
    for number in range(3):
        key = jax.random.fold_in(KEY, number)
        action, running, info = driver.plan(key, state, running)
        improve_key, act_key = jax.random.split(key)
        for n in range(info.num_iterations):
            belief, _ = jax.jit(planner.improve)(MASS, jax.random.fold_in(improve_key, n), state, belief)
        np.testing.assert_allclose(action, planner.act(act_key, belief), rtol=1e-4, atol=1e-5)
        belief = planner.shift(belief)
        state = MASS.step(KEY, state, action).state


def test_late_plans_are_counted_and_the_last_good_one_goes_on():
    """The second plan takes three control steps: meanwhile the first one is executed."""
    driver, running = driven(mppi(), Clock(0.9, 2.5, 0.4))
    state = MASS.init(KEY)
    _, running, info = driver.plan(KEY, state, running)
    assert (info.num_iterations, info.late) == (1, False)
    good = running.belief
    told = []
    for _ in range(4):
        action, running, info = driver.plan(KEY, state, running)
        told.append((info.num_iterations, info.late, info.num_late, info.age))
        if info.late and info.age:
            expected = driver.planner.actions(KEY, good, [float(info.age)])[0]
            np.testing.assert_allclose(action, jnp.clip(expected, -1, 1), rtol=1e-5, atol=1e-6)
    # in the fourth step that plan is there, two control steps old, and another one for now
    assert told == [(0, True, 1, 1), (0, True, 2, 2), (1, False, 2, 0), (1, False, 2, 0)]


def test_a_plan_that_was_late_is_where_the_next_one_begins():
    driver, running = driven(mppi(), Clock(0.9, 1.5, 0.4), max_iterations=1)
    state = MASS.init(KEY)
    for _ in range(2):
        _, running, info = driver.plan(KEY, state, running)
    assert info.late
    late = running.pending.result()[0]
    _, after, info = driver.plan(jax.random.key(5), state, running)
    assert not info.late
    key = jax.random.fold_in(jax.random.split(jax.random.key(5))[0], 0)
    piece = driver.pieces[0]
    expected, _ = jax.jit(piece.improve)(MASS, key, state, driver.planner.shift(late))
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), after.belief, expected)


def test_a_first_plan_that_is_late_leaves_the_first_belief():
    driver, running = driven(mppi(), Clock(5.0))
    action, running, info = driver.plan(KEY, MASS.init(KEY), running)
    assert (info.late, info.age, info.info) == (True, 0, None)
    np.testing.assert_array_equal(action, jnp.zeros(2))


def test_feedback_answers_where_a_plan_is_late():
    model = random_linear_quadratic()
    driver, running = driven(planners.ilqr(HORIZON, num_iterations=4), Clock(0.9, 100.0), model)
    state = model.init(KEY)
    for _ in range(2):
        _, running, _ = driver.plan(KEY, state, running)
    elsewhere = state + 0.05
    action, _, info = driver.plan(KEY, elsewhere, running)
    assert (info.late, info.age) == (True, 2)
    belief = running.belief
    answer = belief.respond(dynamics.coordinates(model, elsewhere), 2.0)
    assert jnp.abs(answer - belief.plan[2]).max() > 1e-3
    np.testing.assert_allclose(action, answer, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("factory", planners.PLANNERS, ids=lambda factory: factory.__name__)
def test_every_planner(factory):
    known = {"num_samples": 8} if factory is not planners.ilqr else {}
    extra = {"hidden": (4,)} if factory is planners.iterative_policy else {}
    planner = factory(HORIZON, **known, **extra)
    driver, running = driven(planner, Clock(0.4), deadline=0.9)
    state = MASS.init(KEY)
    for number in range(2):
        action, running, info = driver.plan(jax.random.fold_in(KEY, number), state, running)
        assert jnp.isfinite(action).all()
        assert info.num_iterations == 2
        assert not info.late


def test_pieces_of_refined_and_resting_planners():
    refined = mppi(refine=planners.ilqr(HORIZON, num_iterations=2))
    for planner in (refined, mppi(rest_steps=2)):
        driver, running = driven(planner, Clock(0.4), deadline=0.9, iterations_per_piece=2)
        _, _, info = driver.plan(KEY, MASS.init(KEY), running)
        assert info.num_iterations == 4


def test_a_control_step_may_be_shorter_than_one_of_the_model():
    model = dynamics.pendulum(dt=0.05)
    driver, running = driven(mppi(), Clock(0.6, 5.0), model, control_dt=0.02)
    for _ in range(3):
        action, running, info = driver.plan(KEY, model.init(KEY), running)
    assert info.age == 2
    expected = driver.planner.actions(KEY, running.belief, [0.8])[0]
    np.testing.assert_allclose(action, jnp.clip(expected, -1, 1), atol=1e-6)


def test_the_usual_clock():
    driver = planners.anytime(mppi(), MASS, deadline=60.0, max_iterations=2)
    action, running, info = driver.plan(KEY, MASS.init(KEY), driver.init(MASS.init(KEY)))
    assert (info.num_iterations, info.late, running.age) == (2, False, 1)
    assert action.shape == (2,)


def test_what_fails_in_a_piece_is_said():
    driver, running = driven(mppi(), Clock(0.1))
    with pytest.raises(Exception, match="state") as error:
        unchecked(driver.plan)(KEY, jnp.zeros(3), running)
    assert "raised while mppi planned on PointMass" in error.value.__notes__


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"deadline": 0.0}, "deadline must be finite and > 0, got 0"),
        ({"deadline": "soon"}, "deadline must be a number"),
        ({"iterations_per_piece": 0}, "iterations_per_piece must be an integer of at least 1, got 0"),
        ({"max_iterations": 0}, "max_iterations must be an integer of at least 1, got 0"),
        ({"control_dt": 9.0}, "control_dt must be at most dt of model"),
        ({"clock": 3.0}, "clock and wait must be callable"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        unchecked(planners.anytime)(mppi(), MASS, **({"deadline": 1.0} | changes))


def test_models_and_planners_are_checked():
    with pytest.raises(ValueError, match="model must be a model"):
        unchecked(planners.anytime)(mppi(), 3, deadline=1.0)
    with pytest.raises(ValueError, match="planner must have actions and respond"):
        unchecked(planners.anytime)(target(), target(), deadline=1.0)
