"""Models of one's own: a class in ten lines, and what is said of mistakes in one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import unchecked

from mirrax import dynamics, planners

KEY = jax.random.key(0)


@dynamics.pytree
class Cart:
    """A double integrator, whose parts may be broken."""

    damping: jax.Array
    kind: str = dynamics.static(default="right")

    @property
    def action_size(self):
        """One motor."""
        return 1

    def init(self, key):
        """At rest, a metre away."""
        if self.kind == "integers":
            return {"x": jnp.array([1, 0])}
        return {"x": jnp.array([1.0, 0.0])}

    def step(self, key, state, action):
        """Euler's step."""
        x, v = state["x"]
        force = jnp.clip(action[0], -1.0, 1.0)
        after = {"x": jnp.stack([x + 0.1 * v, v + 0.1 * (force - self.damping * v)])}
        reward, discount = -(x**2), jnp.ones(())
        match self.kind:
            case "done":
                discount = x > 2.0
            case "vector":
                reward = -state["x"]
            case "structure":
                after = (after["x"],)
            case "shape":
                after = {"x": jnp.stack([x, v, force])}
            case "pair":
                return after, reward
            case "tuple":
                return after, reward, 1.0
        return dynamics.Step(after, reward, discount)

    def value(self, state):
        """Nothing is known."""
        return jnp.zeros(())


class Plain(Cart):
    """No pytree."""


@dynamics.pytree
class NoValue:
    """Half a model."""

    damping: float
    action_size: int = dynamics.static(default=1)
    init = Cart.init
    step = Cart.step


def planner(kind):
    """Of each kind of rollout."""
    return {
        "loop": planners.cem(8, num_samples=16),
        "particles": planners.smc(8, num_samples=16),
        "derivatives": planners.gradient(8, num_samples=2, num_iterations=2),
        "ilqr": planners.ilqr(8, num_iterations=2),
    }[kind]


@pytest.mark.parametrize("kind", ["right", "tuple"])
@pytest.mark.parametrize("by", ["loop", "particles", "derivatives", "ilqr"])
def test_a_class_of_ones_own_is_a_model(by, kind):
    model = Cart(jnp.array(0.1), kind)
    belief, _ = jax.jit(planners.infer)(planner(by), model, KEY, model.init(KEY))
    assert jnp.isfinite(belief.mode()).all()
    if by in ("loop", "ilqr"):  # the others have just begun
        assert belief.mode()[0, 0] < 0.0  # back to the origin


@pytest.mark.parametrize("by", ["loop", "particles", "derivatives", "ilqr"])
@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("done", "discount of a step must be a number, 0 where the episode ends, got a boolean"),
        ("vector", "reward of a step must be a scalar number, got float32 of shape (2,)"),
        ("structure", "the state must keep its structure in a step: state must be dict, got tuple"),
        ("shape", "state['x'] must keep its shape and dtype in a step, got float32[3] after float32[2]"),
        ("integers", "state['x'] must keep its shape and dtype in a step, got float32[2] after int32[2]"),
        ("pair", "step must return (state, reward, discount), got tuple"),
    ],
)
def test_mistakes_in_steps_are_named(kind, message, by):
    model = Cart(jnp.array(0.1), kind)
    with pytest.raises(ValueError, match=re.escape(message)):
        planners.infer(planner(by), model, KEY, model.init(KEY))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Cart, "model must be an instance, got the class Cart"),
        (Plain(jnp.array(0.1)), "model must be a pytree: decorate Plain with @dynamics.pytree"),
        (NoValue(0.1), "model must have value (see dynamics.Model), got NoValue without"),
        (3, "model must be a model, got int"),
    ],
)
def test_mistakes_in_models_are_named(model, message):
    for use in (
        lambda: unchecked(planners.infer)(planner("loop"), model, KEY, {"x": jnp.zeros(2)}),
        lambda: unchecked(dynamics.with_reward)(model, lambda state, action, after: 0.0),
        lambda: unchecked(dynamics.randomized)(model, lambda key, model: model),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            use()


def test_a_number_of_python_may_become_an_array():
    model = dynamics.from_function(lambda key, x, a: (x + a[0], -((x - 3.0) ** 2), 1.0), 1, init=lambda key: 0)
    belief, _ = planners.infer(planner("loop"), model, KEY, 0)
    assert belief.mode()[0, 0] > 0.0


@pytest.mark.parametrize("told", [False, None])
@pytest.mark.parametrize(
    "make",
    [
        lambda: planners.ilqr(6),
        lambda: planners.gradient(6, num_iterations=200, learning_rate=0.3),
        lambda: planners.cem(6, num_samples=256, num_iterations=8, std=4.0),
        lambda: planners.vi_mpc(6, num_samples=256, num_iterations=4, refine=planners.ilqr(6)),
    ],
)
def test_actions_without_a_range_go_where_they_are_worth_most(make, told):
    def step(key, x, a):
        return x + a, -jnp.sum((x + a - 10.0) ** 2) - jnp.sum(a**2), 1.0

    model = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(1), bounded=told)
    belief, _ = jax.jit(planners.infer)(make(), model, KEY, jnp.zeros(1))
    assert belief.mode()[0, 0] > 4.0  # 6.18 at the optimum
    limited = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(1), action_range=(-1.0, 1.0))
    belief, _ = jax.jit(planners.infer)(make(), limited, KEY, jnp.zeros(1))
    np.testing.assert_allclose(belief.mode()[0, 0], 1.0, atol=0.1)
