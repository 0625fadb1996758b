"""Models of one's own: a class in ten lines, and what is said of mistakes in one."""

import contextlib
import inspect
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from problems import unchecked

from mirrax import compiling, dynamics, planners

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
    "no discount": lambda x: None,
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
    "no discount": "discount of a step must be a scalar number, got None",
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
    "value of no such part": "value of Cart raised KeyError: 'y' (at ",
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


@dynamics.pytree
class Placed(dynamics.Wrapper):
    """What moves in another model, beside what may be unknown."""

    model: dynamics.Model

    def coordinates(self, state):
        """What moves."""
        return state["x"]

    def with_coordinates(self, state, x):
        """The state elsewhere."""
        return state | {"x": x}


def test_a_placeholder_may_be_nan_where_it_is_no_coordinate():
    """The message names the ways out: another number, or a model with coordinates of its own."""
    first = {"x": jnp.zeros(1), "seen": jnp.array(jnp.nan)}
    model = dynamics.from_function(
        lambda key, state, action: (state | {"x": state["x"] + action}, 0.0, 1.0), 1, init=lambda key: first
    )
    own = planners.cem(3, num_samples=4)
    with pytest.raises(
        ValueError, match=r"seen'\] must have no NaN.*placeholder be another number; .*HasCoordinates"
    ):
        own.init(model, first)
    own.init(model, first | {"seen": jnp.array(-1.0)})
    own.init(Placed(model), first)


def test_an_error_of_the_user_s_own_stays_what_it_is():
    class Broke(Exception):
        pass

    def step(key, state, action):
        raise Broke("own")

    model = dynamics.from_function(step, 1, init=lambda key: jnp.zeros(()))
    with pytest.raises(Broke, match="own") as raised:
        shapes_of(planners.infer, planners.cem(3, num_samples=4), model, KEY, jnp.zeros(()))
    assert "raised while cem planned on FunctionModel" in raised.value.__notes__


class Mine(ValueError):
    """A user's own."""


def raising(error):
    def step(key, state, action):
        raise error

    return step


def slip(key, state, action):
    return {}["q"]


def undefined(key, state, action):
    return not_there


def asserting(key, state, action):
    assert action.shape == (3,), "three"
    return state, 0.0, 1.0


def wide(key, state, action):
    return jnp.zeros(2) + action, 0.0, 1.0


def of(step, **options):
    first = lambda key: jnp.zeros(2)  # noqa: E731
    return dynamics.from_function(step, options.pop("action_size", 1), **({"init": first} | options))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (of(raising(ValueError("my own"))), "step of FunctionModel raised ValueError: my own (at "),
        (of(slip), "step of FunctionModel raised KeyError: 'q' (at "),
        (of(undefined), "step of FunctionModel raised NameError: name 'not_there' is not defined (at "),
        (of(raising(ZeroDivisionError("by zero"))), "step of FunctionModel raised ZeroDivisionError: by zero (at "),
        (of(raising(RuntimeError("own"))), "step of FunctionModel raised RuntimeError: own (at "),
        (of(raising(OverflowError())), "step of FunctionModel raised OverflowError (at "),
        (of(raising(Mine("own"))), "step of FunctionModel raised Mine: own (at "),
        (of(asserting), "action_size must be the size of the actions that step takes, got 1; 3 works"),
        (of(asserting, action_size=3), None),
        (of(wide, action_size=3), "got 3; 1 and 2 work"),
        (of(raising(ValueError("own")), init=lambda key: ()), "step of FunctionModel raised ValueError: own (at "),
        (of(wide, init=lambda: 0.0), "init of FunctionModel must take a key, got TypeError"),
        (of(wide, init=lambda key: 1 // 0), "init of FunctionModel raised ZeroDivisionError: "),
        (of(wide, value=lambda state: 1 // 0), "value of FunctionModel raised ZeroDivisionError: "),
        (of(lambda key, state: state), "step of FunctionModel must take (key, state, action [1]), got TypeError: "),
        (
            of(lambda key, state, action: (state @ jnp.ones(3), 0.0, 1.0)),
            "must take (key, state, action [1]), got T",
        ),
    ],
)
def test_trying_out_says_every_error(model, message):
    """Errors of the user's own code as such; that something must be taken only where that was at fault."""
    if message is None:
        dynamics.check(model)
        return
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        unchecked(dynamics.check)(model)
    if " (at " in message:
        assert re.search(r"\(at .*test_own_models\.py:\d+\)$", str(raised.value))


@pytest.mark.parametrize("error", [Mine("own"), ZeroDivisionError("own"), NotImplementedError("own")])
def test_planners_leave_errors_of_the_user_s_own(error):
    with pytest.raises(type(error), match="own"):
        shapes_of(planners.infer, planners.cem(3, num_samples=4), of(raising(error)), KEY, jnp.zeros(2))


def test_planners_say_where_the_user_s_code_raised():
    model = of(raising(ValueError("my own")))
    with pytest.raises(ValueError, match=r"^step of FunctionModel raised ValueError: my own \(at .*own_models"):
        shapes_of(planners.infer, planners.cem(3, num_samples=4), model, KEY, jnp.zeros(2))


def still(key, state, action):
    return state, 0.0, 1.0


def looking(poses, body=0):
    return dynamics.Figure((dynamics.Shape("sphere", (0.1,), (0.0, 0.0, 1.0), body=body),), poses=poses)


@dynamics.pytree
class Telling(Cart):
    """What it says of itself may be broken."""

    def to_actuators(self, action):
        return jnp.zeros((2, 1)) if self.kind == "matrix" else action

    def from_actuators(self, values):
        return jnp.zeros(3) if self.kind == "back" else values

    @property
    def actuator_names(self):
        return ("left", "right") if self.kind == "names" else None

    def end_reasons(self, state, action, after):
        return {"it fell": 1.0} if self.kind == "reasons" else ["it fell"] if self.kind == "several" else None

    def reward_terms(self, state, action, after):
        return (
            {"effort": action + jnp.ones(2)} if self.kind == "terms" else jnp.ones(()) if self.kind == "one" else None
        )


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (of(still, coordinate_names=("x",)), "coordinate_names must be one for each of 2 coordinates, got 1: ('x',)"),
        (of(still, figure=looking(lambda s: s)), "poses of a figure must have shape [B, 7] or [B, 3] with B >= 1"),
        (of(still, figure=looking(lambda s: jnp.zeros((2, 3)), 4)), "must have shape [B, 7] or [B, 3] with B >= 5"),
        (of(still, figure=looking(lambda s: s["x"])), "figure of FunctionModel must take a state, got "),
        (of(still, reward_terms=lambda s, a, n: s), "reward_terms must return name -> scalar, got "),
        (of(still, reward_terms=lambda s, a, n: {"x": s}), "reward_terms['x'] must be a scalar number, got float32"),
        (of(still, reward_terms=lambda s: {}), "reward_terms of FunctionModel must take (state, action, next state)"),
        (Telling(jnp.array(0.1), "matrix"), "to_actuators must return one value for each actuator, [B], got (2, 1)"),
        (Telling(jnp.array(0.1), "back"), "from_actuators must return an action, [1], got [3]"),
        (Telling(jnp.array(0.1), "names"), "actuator_names must be one for each of 1 actuators, got 2"),
        (Telling(jnp.array(0.1), "reasons"), "end_reasons['it fell'] must be a boolean scalar, got float32"),
        (Telling(jnp.array(0.1), "several"), "end_reasons must return words -> boolean scalar, or None, got list"),
        (Telling(jnp.array(0.1), "terms"), "reward_terms['effort'] must be a scalar number, got float32"),
        (Telling(jnp.array(0.1), "one"), "reward_terms must return name -> scalar, or None, got "),
        (Telling(jnp.array(0.1)), None),
        (of(still, figure=looking(lambda s: jnp.zeros((1, 3)))), None),
    ],
)
def test_trying_out_says_what_reports_would(model, message):
    with contextlib.nullcontext() if message is None else pytest.raises(ValueError, match=re.escape(message)):
        unchecked(dynamics.check)(model)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        ({"rgb": (255, 0, 0)}, "rgb must lie in [0, 1], got (255, 0, 0)"),
        ({"rgb": "red"}, "rgb must be 3 finite numbers, got 'red'"),
        ({"size": (0.0,)}, "size must be > 0, half edges and radii in metres, got (0.0,)"),
        ({"size": (-1.0,)}, "size must be > 0, half edges and radii in metres, got (-1.0,)"),
        ({"size": 0.1}, "size must be 1 finite number for a sphere, got 0.1"),
        ({"size": (0.1, 0.2)}, "size must be 1 finite number for a sphere, got (0.1, 0.2)"),
        ({"opacity": 2.0}, "opacity must lie in [0, 1], got 2.0"),
        ({"body": 0.5}, "body must be a row of poses, or -1 for the world, got 0.5"),
        ({"position": (0.0, 1.0)}, "position must be 3 finite numbers, got (0.0, 1.0)"),
        ({"quaternion": (0.0, 0.0, 0.0, 0.0)}, "quaternion must not be zero"),
        ({"kind": "mesh", "size": ()}, "vertices and faces must be given for a mesh"),
    ],
)
def test_shapes_that_are_none_are_refused(build, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        unchecked(dynamics.Shape)(**({"kind": "sphere", "size": (0.1,), "rgb": (1.0, 0.0, 0.0)} | build))


def test_figures_that_are_none_are_refused():
    shape = dynamics.Shape("sphere", (0.1,), (1.0, 0.0, 0.0))
    for shapes in (shape, ("box",), None):
        with pytest.raises(ValueError, match=r"shapes must be a tuple of dynamics\.Shape, got "):
            unchecked(dynamics.Figure)(shapes, poses=lambda state: state)
    with pytest.raises(ValueError, match="poses must be a function of the state, got 3"):
        unchecked(dynamics.Figure)((shape,), poses=3)
    with pytest.raises(ValueError, match="tracked must be a row of poses, got -1"):
        unchecked(dynamics.Figure)((shape,), poses=lambda state: state, tracked=-1)
    assert unchecked(dynamics.Figure)([shape], poses=lambda state: state).shapes == (shape,)


@pytest.mark.parametrize("first", [0, 0.0, jnp.asarray(0.0), jnp.zeros(())])
def test_states_of_functions_are_one_program(first):
    """However their numbers are written: Python's and those of `jnp.asarray` are weakly typed."""
    model = dynamics.from_function(
        lambda key, state, action: ({"x": state["x"] + 0.1 * action[0], "n": 0, "key": key}, -state["x"], 1.0),
        1,
        init=lambda key: {"x": first, "n": 0, "key": key},
    )
    planner = planners.cem(2, num_samples=4, num_iterations=1)
    with compiling.counted() as count:
        plan, step, state = jax.jit(planners.plan), jax.jit(model.step), model.init(KEY)
        belief = planner.init(model, state)
        for _ in range(3):
            action, belief, _ = plan(planner, model, KEY, state, belief)
            state = step(KEY, state, action).state
    assert (count.traces["plan"], count.compilations["plan"]) == (1, 1)
    assert count.compilations["step"] == 1
    assert state["key"].dtype == KEY.dtype


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
            "value of WithValue raised KeyError: 'y' (at ",
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


def test_another_duration_is_heard_within_jit():
    """There it is traced, and cannot be refused: all rewards are NaN."""

    def model_of(dt):
        return of(still, dt=dt)

    episode = jax.jit(planners.episode, static_argnames="num_steps")
    own = planners.cem(2, num_samples=4, num_iterations=1)
    with pytest.raises(ValueError, match=r"dt of env must be that of model, 0\.1 s, got 0\.2 s"):
        shapes_of(planners.episode, own, model_of(0.1), model_of(0.2), KEY, 2)
    for other, differs in ((0.1, False), (0.10001, False), (0.2, True)):
        found = episode(own, model_of(0.1), model_of(other), KEY, num_steps=2)
        np.testing.assert_array_equal(jnp.isnan(found.rewards), differs)


def test_an_episode_begins_in_a_given_state():
    model, own = of(still), planners.cem(2, num_samples=4, num_iterations=1)
    pair = of(lambda key, state, action: (state @ jnp.eye(2), 0.0, 1.0))
    states = jnp.array([[1.0, 2.0], [3.0, 4.0]])

    def final(state):
        return planners.episode(own, model, model, KEY, 2, state=state).final_state

    np.testing.assert_array_equal(jax.jit(jax.vmap(final))(states), states)
    without = dynamics.from_function(still, 1)  # no init of its own
    jax.eval_shape(lambda state: planners.episode(own, without, without, KEY, 2, state=state), states[0])
    for wrong, message in (
        (jnp.zeros(3), "state must be one of the model, as its init gives: state must have shape (2,), got (3,)"),
        (jnp.array([0.0, jnp.nan]), "state must have no NaN"),
        (
            model.step(KEY, states[0], jnp.zeros(1)),
            "state must be a state of the model, got a Step: take its `state`",
        ),
    ):
        with pytest.raises(ValueError, match=re.escape(message)):
            unchecked(planners.episode)(own, pair, pair, KEY, 2, state=wrong)
