"""What is traced and compiled is counted, and said why."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mirrax import compiling, dynamics, planners

KEY = jax.random.key(0)


def walk(size=1, **options):
    """Made anew at each call: JAX takes its functions for others."""
    return dynamics.from_function(
        lambda key, state, action: (state + action.sum(), -(state**2), 1.0), size, init=lambda key: 0.0, **options
    )


def test_what_is_compiled_is_counted_and_what_is_not_is_not():
    @jax.jit
    def inner(x):
        return jnp.sin(x)

    @jax.jit
    def double(x):
        return 2.0 * inner(x)

    with compiling.counted() as count:
        double(np.float32(1.0))
        double(np.float32(2.0))
        assert (count.traces["double"], count.compilations["double"]) == (1, 1)
        double(np.ones(3, np.float32))
    assert (count.traces["double"], count.compilations["double"]) == (2, 2)
    assert (count.traces["inner"], count.compilations["inner"]) == (0, 0), "it is a part of the other"
    assert count.seconds["double"] > 0.0
    assert "double: 2 compiled, 2 traced" in str(count)
    double(np.ones(4, np.float32))
    assert count.traces["double"] == 2, "the block is over"


def test_blocks_are_nested_and_of_their_own_thread():
    shapes = iter(range(1, 9))

    @jax.jit
    def f(x):
        return x + 1

    def call():
        f(np.ones(next(shapes), np.float32))

    with compiling.counted() as outer:
        call()
        with compiling.counted() as inner:
            call()
            other = threading.Thread(target=call)
            other.start()
            other.join()
        call()
    assert (inner.traces["f"], outer.traces["f"]) == (1, 3)
    with pytest.raises(RuntimeError, match="own"), compiling.counted() as failed:
        raise RuntimeError("own")
    call()
    assert not failed.traces


def test_listeners_may_be_cleared_meanwhile():
    with compiling.counted():
        jax.monitoring.clear_event_listeners()


def test_what_is_watched_is_told_first_and_small_programs_on_one_line():
    count = compiling.Count()
    for name, seconds in (("broadcast_in_dim", 0.1), ("init", 2.0), ("add", 0.2), ("plan", 0.3)):
        count._add(compiling._TRACED, 0.0, name)
        count._add(compiling._COMPILED, seconds, f"jit({name})")

    def plan():
        return 0

    count.watched(jax.jit(plan))
    count.reasons.append("plan was traced again: horizon is 2, it was 1")
    assert str(count).splitlines() == [
        "plan was traced again: horizon is 2, it was 1",
        "4 programs compiled in 2.6 s",
        "  plan: 1 compiled, 1 traced, 0.3 s",
        "  init: 1 compiled, 1 traced, 2.0 s",
        "  2 small ones (add, broadcast_in_dim): 2 compiled, 0.3 s",
    ]


KEPT = walk()
PLACE = f"<lambda> at test_compiling.py:{KEPT.step_function.func.__code__.co_firstlineno}"


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        ((KEPT, np.float32(1.0)), (KEPT, np.float32(2.0)), None),
        (
            (KEPT, np.float32(1.0)),
            (walk(), np.float32(1.0)),
            f"model.step_function is another function object ({PLACE}); make it once; "
            f"model.init_function is another function object ({PLACE}); make it once",
        ),
        ((KEPT, np.zeros(2, np.float32)), (KEPT, np.zeros(3, np.float32)), "state is float32[3], it was float32[2]"),
        ((KEPT, np.int32(1)), (KEPT, np.float32(1)), "state is float32[], it was int32[]"),
        (
            (KEPT, np.float32(1.0)),
            (KEPT, 1.0),
            "state is float32[], weakly typed (a number of Python), it was float32[]; "
            "give it a dtype: jnp.asarray(1.0, jnp.float32)",
        ),
        (
            (KEPT, np.float32(1.0)),
            (dynamics.discounted(KEPT, 0.9), np.float32(1.0)),
            "model is of the type Discounted, it was of the type FunctionModel",
        ),
        (
            (dynamics.pendulum(), np.zeros(2, np.float32)),
            (dynamics.pendulum(mass=2.0), np.zeros(2, np.float32)),
            None,
        ),
        (
            (dynamics.action_repeat(KEPT, 2), np.float32(1.0)),
            (dynamics.action_repeat(KEPT, 3), np.float32(1.0)),
            "model.repeats is 3, it was 2",
        ),
    ],
)
def test_why_something_is_traced_again_is_said(before, after, reason):
    def stepped(model, state):
        return model.step(KEY, model.init(KEY), jnp.zeros(model.action_size)).reward + state

    with compiling.counted() as count:
        function = count.watched(jax.jit(stepped))
        function(*before)
        assert not count.reasons, "the first time is no other"
        function(*after)
        function(*before)
    assert count.reasons == ([] if reason is None else [f"stepped was traced again: {reason}"])
    assert count.traces["stepped"] == 1 + len(count.reasons)


def test_the_nearest_of_the_calls_before_is_what_another_is_compared_with():
    with compiling.counted() as count:
        function = count.watched(jax.jit(lambda x, y: x, static_argnames="y"))
        function({"a": np.ones(2), "b": np.ones(2)}, y=1)
        function({"a": np.ones(3), "b": np.ones(3)}, y=1)
        count.reasons.clear()
        function({"a": np.ones(2), "b": np.ones(3)}, y=1)
        function({"a": np.ones(2), "b": np.ones(2)}, y=2)
        function({"a": np.ones(2)}, y=2)
    assert count.reasons == [
        "<lambda> was traced again: x['b'] is float32[3], it was float32[2]",
        "<lambda> was traced again: y is 2, it was 1, if it is static",
        "<lambda> was traced again: x has the parts ['a'], it had ['a'], ['b']",
    ]


def test_what_was_compiled_before_is_compared_too():
    function = jax.jit(lambda x: x)
    function(np.ones(2))
    with compiling.counted() as count:
        watched = count.watched(function)
        watched(np.ones(2))
        watched(np.ones(3))
    assert count.reasons == ["<lambda> was traced again: x is float32[3], it was float32[2]"]


def test_arguments_may_be_donated_and_a_planner_says_what_changed():
    with compiling.counted() as count:
        plan = count.watched(jax.jit(planners.plan, donate_argnames="belief"))
        for planner in (planners.mppi(2, num_samples=4), planners.mppi(2, num_samples=4, std=1.0)):
            plan(planner, KEPT, KEY, jnp.zeros(()), planner.init(KEPT, jnp.zeros(())))
        assert count.reasons == []
        planner = planners.mppi(2, num_samples=8)
        plan(planner, KEPT, KEY, jnp.zeros(()), belief=planner.init(KEPT, jnp.zeros(())))
    assert count.reasons == ["plan was traced again: planner.num_samples is 8, it was 4"]


def test_differences_of_any_pytrees():
    assert compiling.difference({"x": 1.0}, {"x": 1.0}) == ()
    assert compiling.difference(jnp.ones(2), jnp.ones(3)) == ("it is float32[3], it was float32[2]",)
    assert compiling.difference((1.0, None), (1.0, jnp.ones(2))) == ("[1] is float32[2], it was None",)
    assert compiling.difference([1], [1, 2]) == ("it has the parts [0], [1], it had [0]",)
