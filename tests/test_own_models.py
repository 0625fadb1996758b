"""Models of one's own: a class in ten lines, and what is said of mistakes in one."""

import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import unchecked

from mirrax import dynamics, planners

KEY = jax.random.key(0)


def leaked():
    """A number of a trace that is over."""
    kept = []
    jax.eval_shape(lambda x: kept.append(x) or x, 1.0)
    return kept[0]


# what is added to a part of a step, or put in its place, where a model is broken
BROKEN_REWARDS = {
    "vector": lambda x: -x,
    "complex": lambda x: -x[0] + 1j,
    "words": lambda x: "much",
    "nothing": lambda x: None,
    "leak": lambda x: x[0] + LEAKED,
    "branch": lambda x: 1.0 if x[0] > 0.0 else 0.0,
    "broadcast": lambda x: x @ jnp.ones(3),
}
BROKEN_DISCOUNTS = {
    "done": lambda x: x[0] > 2.0,
    "discounts": lambda x: x,
    "complex discount": lambda x: 1.0 + 1j,
    "negative": lambda x: -0.5,
    "above one": lambda x: np.float32(1.5),
}
BROKEN_STATES = {
    "structure": lambda after: (after["x"],),
    "shape": lambda after: {"x": jnp.append(after["x"], 0.0)},
    "dtype": lambda after: {"x": after["x"].astype(jnp.float16)},
    "no state": lambda after: None,
    "list": lambda after: {"x": [*after["x"]]},
    "word in state": lambda after: {"x": "far"},
    "more": lambda after: after | {"y": after["x"]},
}
BROKEN_VALUES = {
    "value vector": lambda x: x,
    "value complex": lambda x: 1j,
    "value nothing": lambda x: None,
    "value boolean": lambda x: x[0] > 0.0,
    "value of no such part": lambda x: {}["y"],
}
FIRST_STATES = {
    "integers": {"x": jnp.array([1, 0])},
    "not a number": {"x": jnp.array([jnp.nan, 0.0])},
    "word": {"x": jnp.zeros(2), "name": "cart"},
    "object": {"x": jnp.zeros(2), "engine": object()},
    "nothing at first": None,
}


@dynamics.pytree
class Cart:
    """A double integrator, whose parts may be broken."""

    damping: jax.Array
    kind: str = dynamics.static(default="right")
    dt: float = dynamics.static(default=0.1)

    @property
    def action_size(self):
        """One motor."""
        return 1

    def init(self, key):
        """At rest, a metre away."""
        return FIRST_STATES.get(self.kind, {"x": jnp.array([1.0, 0.0])})

    def step(self, key, state, action):
        """Euler's step."""
        x, v = state["x"]
        if self.kind == "actions":
            left, right = action
            action = jnp.stack([left - right])
        force = jnp.clip(action[0], -1.0, 1.0)
        after = {"x": jnp.stack([x + 0.1 * v, v + 0.1 * (force - self.damping * v)])}
        reward, discount = -(x**2), jnp.ones(())
        if self.kind in ("pair", "tuple"):
            return (after, reward) if self.kind == "pair" else (after, reward, 1.0)
        if self.kind in BROKEN_REWARDS:
            reward = BROKEN_REWARDS[self.kind](state["x"])
        if self.kind in BROKEN_DISCOUNTS:
            discount = BROKEN_DISCOUNTS[self.kind](state["x"])
        if self.kind in BROKEN_STATES:
            after = BROKEN_STATES[self.kind](after)
        return dynamics.Step(after, reward, discount)

    def value(self, state):
        """Nothing is known."""
        return BROKEN_VALUES[self.kind](state["x"]) if self.kind in BROKEN_VALUES else jnp.zeros(())


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


LEAKED = leaked()
STEP = "step of Cart must"
JAX_ALONE = f"{STEP} compute by JAX alone, of its arguments and of what is constant, got"
MISTAKES = {
    "vector": "reward of a step must be a scalar number, got float32 of shape (2,)",
    "complex": "reward of a step must be a scalar number, got complex64 of shape ()",
    "words": "reward of a step must be a scalar number, got 'much'",
    "nothing": "reward of a step must be a scalar number, got None",
    "leak": f"{JAX_ALONE} UnexpectedTracerError",
    "branch": f"{JAX_ALONE} TracerBoolConversionError: Attempted boolean conversion",
    "broadcast": f"{STEP} take (key, state, action [1]), got TypeError: ",
    "done": "discount of a step must be a number, 0 where the episode ends, got a boolean",
    "discounts": "discount of a step must be a scalar number, got float32 of shape (2,)",
    "complex discount": "discount of a step must be a scalar number, got complex64 of shape ()",
    "negative": "discount of a step must lie in [0, 1], got -0.5",
    "above one": "discount of a step must lie in [0, 1], got np.float32(1.5)",
    "structure": "the state must keep its structure in a step: state must be dict, got tuple",
    "shape": "state['x'] must keep its shape and dtype in a step, got float32[3] after float32[2]",
    "dtype": "state['x'] must keep its shape and dtype in a step, got float16[2] after float32[2]",
    "no state": "the state must keep its structure in a step: state must be dict, got None",
    "list": "the state must keep its structure in a step: state['x'] must be an array, got list",
    "word in state": "state after a step, state['x'] must be an array of numbers, got 'far'",
    "more": "the state must keep its structure in a step: state must have the parts ['x'], got ['x'], ['y']",
    "value vector": "value must be a scalar number, got float32 of shape (2,)",
    "value complex": "value must be a scalar number, got complex64 of shape ()",
    "value nothing": "value must be a scalar number, got None",
    "value boolean": "value must be a scalar number, got bool of shape ()",
    "value of no such part": "value of Cart must take a state, got KeyError: 'y' (at ",
    "integers": "state['x'] must keep its shape and dtype in a step, got float32[2] after int32[2]",
    "not a number": "state['x'] must have no NaN, got ",
    "word": "state['name'] must be an array of numbers, got 'cart'",
    "object": "state['engine'] must be an array of numbers, got <object object",
    "nothing at first": "state must hold what step takes (does init return it?), got None: TypeError: ",
    "actions": "action_size must be the size of the actions that step takes, got 1; 2 works",
    "pair": "step must return (state, reward, discount), got tuple",
}
STATES = {
    "an array": (jnp.zeros(2), "state must be dict, got an array"),
    "several": ({"x": jnp.zeros((5, 2))}, "state['x'] must have shape (2,), got (5, 2)"),
    "less": ({"x": jnp.zeros(())}, "state['x'] must have shape (2,), got ()"),
    "more": ({"x": jnp.zeros(2), "y": jnp.zeros(1)}, "state must have the parts ['x'], got ['x'], ['y']"),
    "none": (None, "state must be dict, got None"),
    "integers": ({"x": jnp.zeros(2, int)}, "state['x'] must be of float32, got int32"),
    "complex": ({"x": jnp.zeros(2, complex)}, "state['x'] must be of float32, got complex64"),
}
every = pytest.mark.parametrize("factory", planners.PLANNERS, ids=lambda factory: factory.__name__)


def least(factory):
    """A planner of each kind, of as few steps and plans as it takes."""
    options = {"num_samples": 4, "num_iterations": 1}
    own = {name: value for name, value in options.items() if name in inspect.signature(factory).parameters}
    return factory(3, **own, **({"temperature": 1.0} if factory in (planners.stein, planners.elbo_gradient) else {}))


def shapes_of(function, *arguments):
    """What is said of mistakes is said when a program is traced: nothing is compiled here."""
    return unchecked(jax.eval_shape)(lambda: function(*arguments))


SEVERAL = ("vector", "complex", "words", "branch", "broadcast", "done", "above one", "structure", "dtype")
SEVERAL += ("word in state", "value vector", "value nothing", *FIRST_STATES, "actions", "pair")


@every
@pytest.mark.parametrize("kind", SEVERAL)
def test_mistakes_in_models_are_named_whatever_plans(kind, factory):
    model, own = Cart(jnp.array(0.1), kind), least(factory)
    with pytest.raises(ValueError, match=re.escape(MISTAKES[kind])) as raised:
        shapes_of(planners.infer, own, model, KEY, model.init(KEY))
    assert f"raised while {own.name} planned on Cart" in raised.value.__notes__


def test_what_has_leaked_is_named_when_jax_notices():
    model, own = Cart(jnp.array(0.1), "leak"), planners.cem(3, num_samples=4)
    with pytest.raises(ValueError, match=re.escape(MISTAKES["leak"])):
        unchecked(planners.infer)(own, model, KEY, model.init(KEY))
    with pytest.raises(ValueError, match=re.escape(MISTAKES["leak"])):
        unchecked(dynamics.check)(model)


@pytest.mark.parametrize("kind", [kind for kind in MISTAKES if kind != "leak"])
def test_mistakes_in_models_are_named_by_whatever_steps_them(kind):
    model, own = Cart(jnp.array(0.1), kind), planners.cem(3, num_samples=4)
    right, state, message = Cart(jnp.array(0.1)), model.init(KEY), MISTAKES[kind].removeprefix("state")
    plans = jnp.zeros((4, 3, 1))
    wrapped = dynamics.with_reward(model, lambda state, action, after: 0.0)
    calls = {
        "trajectory": lambda: planners.trajectory(model, KEY, state, plans[0]),
        "rollout": lambda: planners.rollout(model, KEY, state, plans),
        "episode": lambda: planners.episode(own, model, model, KEY, 2),
        "plan": lambda: planners.plan(own, model, KEY, state, own.init(right, right.init(KEY))),
        "check": lambda: dynamics.check(model),
        "wrapped": lambda: dynamics.check(wrapped),
    }
    if kind in FIRST_STATES and kind != "integers":
        del calls["wrapped"]  # what is said of it names the wrapper
    if kind == "not a number":  # which programs do not know
        calls = {"plan": calls["plan"]}
    for name, call in calls.items():
        message_of = message.replace("Cart", "WithReward") if name == "wrapped" else message
        with pytest.raises(ValueError, match=re.escape(message_of)):
            shapes_of(call)


@every
@pytest.mark.parametrize("given", STATES)
def test_states_that_are_none_of_the_model_are_named(given, factory):
    state, message = STATES[given]
    with pytest.raises(ValueError, match=re.escape(f"state must be one of the model, as its init gives: {message}")):
        shapes_of(planners.infer, least(factory), Cart(jnp.array(0.1)), KEY, state)


def test_a_state_without_a_batch_is_named_within_vmap():
    model, own = Cart(jnp.array(0.1)), planners.cem(3, num_samples=4)
    state = model.init(KEY)  # of one

    def action(key, state):
        return planners.plan(own, model, key, state, own.init(model, state))[0]

    message = "state['x'] must have shape (2,), got ()"
    with pytest.raises(ValueError, match=re.escape(message)):
        shapes_of(jax.vmap(action), jax.random.split(KEY, 2), state)


@dynamics.pytree
class Marked(Cart):
    """Marks what it does not know by NaN, beside its coordinates."""

    def coordinates(self, state):
        """What moves."""
        return state["x"]

    def with_coordinates(self, state, x):
        """The state elsewhere."""
        return state | {"x": x}

    def step(self, key, state, action):
        """Euler's step."""
        after, reward, discount = Cart.step(self, key, state, action)
        return dynamics.Step(state | after, reward, discount)


def test_what_is_no_coordinate_may_be_nan():
    model, own = Marked(jnp.array(0.1)), planners.cem(3, num_samples=4)
    for wrapped in (model, dynamics.discounted(model, 0.9)):
        own.init(wrapped, {"x": jnp.zeros(2), "touched": jnp.array(jnp.nan)})
        with pytest.raises(ValueError, match=r"state\['.*'\] must have no NaN"):
            own.init(wrapped, {"x": jnp.array([0.0, jnp.nan]), "touched": jnp.array(jnp.nan)})


def test_an_error_of_the_user_s_own_stays_what_it_is():
    class Broke(Exception):
        pass

    def step(key, state, action):
        raise Broke("own")

    model = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(()))
    with pytest.raises(Broke, match="own") as raised:
        shapes_of(planners.infer, planners.cem(3, num_samples=4), model, KEY, jnp.zeros(()))
    assert "raised while cem planned on FunctionModel" in raised.value.__notes__


@pytest.mark.parametrize("discount", [1.5, -0.5, jnp.nan])
def test_a_discount_that_is_none_makes_a_return_nan(discount):
    """What is traced cannot be refused; planners count returns that are NaN."""

    def step(gamma, key, state, action):
        return state, 1.0, gamma

    model = dynamics.from_function(jax.tree_util.Partial(step, jnp.array(discount)), 1)
    followed = jax.jit(planners.trajectory)(model, KEY, jnp.zeros(()), jnp.zeros((3, 1)))
    assert jnp.isnan(followed.discounts).all()
    returns = jax.jit(planners.rollout)(model, KEY, jnp.zeros(()), jnp.zeros((2, 3, 1)))
    assert jnp.isnan(returns).all()


@pytest.mark.parametrize(
    ("env", "observe", "message"),
    [
        (Cart(jnp.array(0.1), dt=0.2), None, "dt of env must be that of model, 0.1 s, got 0.2 s"),
        (
            dynamics.pendulum(dt=0.1),
            None,
            "observe must turn states of env into those of model, where they differ: state must be dict, got an arr",
        ),
        (
            dynamics.pendulum(dt=0.1),
            lambda state: None,
            "observe must turn states of env into those of model, where they differ: state must be dict, got None",
        ),
        (Cart(jnp.array(0.1)), 3, "observe must be callable, got 3"),
        (
            Cart(jnp.array(0.1), kind="word"),
            None,
            "what init of env returns['name'] must be an array of numbers, got 'cart'",
        ),
        (Cart(jnp.array(0.1), kind="vector"), None, MISTAKES["vector"]),
    ],
)
def test_environments_that_do_not_fit_are_named(env, observe, message):
    model, own = Cart(jnp.array(0.1)), planners.cem(3, num_samples=4)
    with pytest.raises(ValueError, match=re.escape(message)):
        unchecked(jax.eval_shape)(lambda: planners.episode(own, model, env, KEY, 2, observe=observe))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            dynamics.from_function(lambda key, x, a: (x, a @ jnp.ones(2), 1.0), 1, init=lambda key: 0.0),
            "action_size must be the size of the actions that step takes, got 1; 2 works",
        ),
        (
            dynamics.from_function(lambda key, x: (x, 0.0, 1.0), 1, init=lambda key: 0.0),
            "step of FunctionModel must take (key, state, action [1]), got TypeError: ",
        ),
        (
            dynamics.with_termination(Cart(jnp.array(0.1)), lambda state, action, after: 1.0),
            "ended must be a boolean scalar, got float32 of shape ()",
        ),
        (
            dynamics.with_value(Cart(jnp.array(0.1)), lambda state: state["y"]),
            "value of WithValue must take a state, got KeyError: 'y' (at ",
        ),
        (dynamics.from_function(lambda key, x, a: (x, 0.0, 1.0), 1), "init must be given to from_function"),
    ],
)
def test_models_can_be_tried_out(model, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        unchecked(dynamics.check)(model)


@pytest.mark.parametrize(
    "model", [Cart(jnp.array(0.1)), dynamics.cartpole(), dynamics.discretized(dynamics.pendulum(), [[-1.0], [1.0]])]
)
def test_nothing_is_said_of_models_that_are_right(model):
    dynamics.check(model)
    dynamics.check(model, model.init(KEY))


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


@pytest.mark.slow
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
