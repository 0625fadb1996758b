"""Rates of control: how long an action lasts, and what is executed between two plannings."""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Num, PRNGKeyArray

from ..dynamics.action_wrappers import action_repeat
from ..dynamics.actions import bounded
from ..dynamics.base import HasDuration, Model, State, duration
from ..dynamics.checks import integer, real
from ..dynamics.engines import imagined
from ..dynamics.spaces import Continuous, action_space
from .beliefs.reading import read

_CLOSE = 1e-3  # by how much durations may differ that are meant to be the same


@runtime_checkable
class Persistent(Protocol):
    """A planner that can act for several steps by one plan; all of this library can.

    Times are in model steps since the planning, and need not be whole. The key is the same for all actions by one
    plan, so that a plan that is a sample is the same one.
    """

    def actions(self, key: PRNGKeyArray, belief: Any, times: Any) -> Num[Array, "n *a"]:
        """The actions at some times [n], of which `act` gives the first: those of the plan, whatever happens."""
        ...

    def respond(self, model: Model, key: PRNGKeyArray, state: State, belief: Any, time: Any) -> Num[Array, "*a"]:
        """The action at a time, a scalar, in the state that is there then: by feedback, where the belief has any."""
        ...


class Pace(NamedTuple):
    """How often is planned, and acted.

    Attributes:
        replan_every: the number of control steps by one plan; static.
        ratio: the duration of a control step in model steps, at most 1; a number, 1 where they are the same, or
            traced.
    """

    replan_every: int
    ratio: Any

    @property
    def usual(self) -> bool:
        """Whether each step of the model has a plan of its own."""
        return self.replan_every == 1 and isinstance(self.ratio, int)  # never a question to a traced number

    @property
    def steps(self) -> Any:
        """The number of model steps between two plannings."""
        return self.replan_every * self.ratio

    def times(self) -> Any:
        """When actions begin, in model steps since the planning, [replan_every]."""
        return self.ratio * jnp.arange(self.replan_every)

    def check(self, planner: Any, belief: Any) -> None:
        """Raise a `ValueError` where plans are too short, or their planner has nothing for later steps."""
        if self.replan_every > 1 and not isinstance(planner, Persistent):
            raise ValueError(
                f"replan_every above 1 needs a planner that has actions and respond (see planners.Persistent), got "
                f"{type(planner).__name__} without"
            )
        horizon = len(belief.mode())
        if not isinstance(self.steps, jax.core.Tracer) and self.steps > horizon + _CLOSE:
            raise ValueError(
                f"replan_every must not exceed the horizon of {horizon} steps, got {self.replan_every} control steps "
                f"of {float(self.ratio):g} steps each"
            )


def pace_of(model: Model, replan_every: Any, control_dt: Any) -> Pace:
    """How often is planned and acted.

    Args:
        model: what is imagined.
        replan_every: the number of control steps by one plan; None for 1.
        control_dt: the duration of a control step, s, at most that of a model step; None for that.

    Returns:
        The pace.

    Raises:
        ValueError: for a parameter outside its range, or a model that does not know its `dt`.
    """
    number = 1 if replan_every is None else integer("replan_every", replan_every)
    if control_dt is None:
        return Pace(number, 1)
    dt = duration(model)
    control = real("control_dt", control_dt, above=0.0)
    if isinstance(control_dt, jax.core.Tracer) or isinstance(dt, jax.core.Tracer):
        return Pace(number, control / dt)
    ratio = float(control_dt) / float(dt)
    if math.isclose(ratio, 1.0, rel_tol=_CLOSE):
        return Pace(number, 1)
    if ratio > 1.0:
        raise ValueError(
            f"control_dt must be at most dt of model, {float(dt):g} s, got {float(control_dt):g} s "
            "(dynamics.action_repeat makes steps longer)"
        )
    return Pace(number, ratio)


def at_rate(env: Model, control_dt: Any) -> Model:
    """An environment whose steps last as long as a control step: it holds each action for several of its own.

    Args:
        env: any that knows its `dt`.
        control_dt: the duration of a control step, s, > 0; a multiple of `dt`.

    Raises:
        ValueError: if it is no multiple, or one of them is traced: a number of steps must be known.
    """
    dt = duration(env)
    if isinstance(dt, jax.core.Tracer) or isinstance(control_dt, jax.core.Tracer):
        raise ValueError(
            "dt of env and control_dt must be numbers that are known when this is compiled: let the function that is "
            "jitted close over env, in the place of an argument, got a traced one"
        )
    ratio = float(control_dt) / float(dt)
    repeats = round(ratio)
    if repeats < 1 or not math.isclose(ratio, repeats, rel_tol=_CLOSE):
        raise ValueError(f"control_dt must be a multiple of dt of env, {float(dt):g} s, got {float(control_dt):g} s")
    return env if repeats == 1 else action_repeat(env, repeats)


def within_range(model: Model, actions: Num[Array, "..."]) -> Num[Array, "..."]:
    """Actions within the actuators' range, where the model says that they have one: beyond it models clip."""
    if bounded(model) and isinstance(action_space(model), Continuous):
        return jnp.clip(actions, -1.0, 1.0)
    return actions


def answer(planner: Any, model: Model, key: PRNGKeyArray, state: State, belief: Any, time: Any) -> Num[Array, "*a"]:
    """What a `Persistent` planner does in a state at a time, within the actuators' range; for arguments see there."""
    seen_by, seen = imagined(model, state)
    return within_range(model, planner.respond(seen_by, key, seen, belief, time))


def what_is_left(plan: Num[Array, "H *a"], time: Any, belief: Any) -> Num[Array, "H *a"]:
    """A plan of a belief from a time on, in steps; its last action stays."""
    return read(plan, jnp.arange(len(plan)) + time, belief)


def same_duration(model: Model, env: Model) -> Any:
    """Whether steps of both take as long, as far as both say so; a scalar.

    Raises:
        ValueError: if they do not, and that can be seen now.
    """
    known = [part.dt for part in (model, env) if isinstance(part, HasDuration) and part.dt is not None]
    if len(known) < 2 or any(jnp.ndim(dt) for dt in known):
        return True
    own, other = known
    if any(isinstance(dt, jax.core.Tracer) for dt in known):
        return jnp.isclose(own, other, rtol=_CLOSE, atol=0.0)
    if not math.isclose(float(own), float(other), rel_tol=_CLOSE):
        raise ValueError(
            f"dt of env must be that of model, {float(own):g} s, got {float(other):g} s "
            "(dynamics.action_repeat makes steps longer; control_dt says how long an action lasts)"
        )
    return True
