"""The linear-quadratic regulator about a state at rest: what it does, and what it leaves to be earned."""

import contextlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from ...dynamics.actions import action_limit, bounded
from ...dynamics.base import Model, State, Step, check_model, checked_step, scenario_count
from ...dynamics.checks import integer, real
from ...dynamics.coordinates import coordinates, with_coordinates
from ...dynamics.pytrees import difference, pytree
from ...dynamics.spaces import action_space
from ..beliefs.protocol import continuous_shape
from ..rollouts.ends import reuse_noise
from ..rollouts.simulation import draw_scenarios
from .expansion import Expansion, inside, nearest_convex
from .riccati import backward


@pytree
class Regulator:
    """A linear policy about a state at rest, and the return that it leaves. Make one with `regulator`.

    It is a function of states, their value: `dynamics.with_value(model, regulator)`.

    Attributes:
        model: that gives the coordinates of states.
        state: coordinates x̄ at rest, [n].
        action: of the policy there, [A]: what keeps it at rest, plus what the slope of the reward asks for.
        gain: K, [A, n].
        gradient: p of the cost, [n]; 0 where the reward is greatest at rest.
        curvature: P of the cost, [n, n].
        earned: from rest on, over all steps that count, a scalar.
        drift: the greatest change of a coordinate in one step from x̄, a scalar: 0 if it is at rest indeed.
    """

    model: Model
    state: Float[Array, " n"]
    action: Float[Array, " A"]
    gain: Float[Array, "A n"]
    gradient: Float[Array, " n"]
    curvature: Float[Array, "n n"]
    earned: Float[Array, ""]
    drift: Float[Array, ""]

    def __call__(self, state: State) -> Float[Array, ""]:
        """The return from a state on, V − pᵀδ − ½ δᵀPδ with δ = x − x̄."""
        deviation = coordinates(self.model, state) - self.state
        with jax.default_matmul_precision("highest"):
            return self.earned - (self.gradient + 0.5 * self.curvature @ deviation) @ deviation

    def mean(self, state: State) -> Float[Array, " A"]:
        """The action of the policy, ū + K (x − x̄), on the scale of plans; it may lie beyond the actuators' range."""
        deviation = coordinates(self.model, state) - self.state
        return self.action + jnp.matmul(self.gain, deviation, precision="highest")


def regulator(
    model: Model,
    state: State,
    action: Any = None,
    *,
    num_steps: int = 300,
    state_cost: Any = 0.0,
    action_cost: Any = 1e-3,
) -> Regulator:
    """Linearise a model about a state at rest, and solve for the best linear policy of many steps (Kalman, 1960).

    The dynamics are expanded to first order and the reward to second, without negative curvatures of the cost, as
    `planners.ilqr` does. As the value beyond the horizon of a planner it makes a short one do where a task is to
    balance: what it costs to come back is known from there on (the terminal cost of stabilising predictive control;
    Mayne et al., 2000). Far from rest it is an extrapolation, and it knows no limits of actuators.

    The regulator is NaN where the reward has no second derivatives (a norm has none at 0). What no action can hold is
    no such case: it runs away for `num_steps` steps, and its value is very low wherever it is not at rest. Look at
    `drift` first, which is 0 at rest. Derivatives of the regulator itself are NaN where curvatures of the cost are
    equal.

    Args:
        model: any that is smooth about the state. Of an ensemble the first member, of a randomized model one drawn at
            random: give the model underneath for the nominal one.
        state: at rest.
        action: that keeps it there, [A], on the scale of plans, where ±1 are the ends of the actuators' range; None
            for zeros.
        num_steps: how many steps count, >= 1. Few forget what is slow; in coordinates that cannot all be reached, as
            those of links held together by springs, more than some hundreds add up errors.
        state_cost: what is added to the curvature of the cost, >= 0, a scalar or [n]: where the reward is the same in
            all states, deviations cost no more than this says.
        action_cost: what is added to that of the actions, > 0, a scalar or [A]. Raise it where `mean` asks for far
            more than 1 in states that are met: what the actuators cannot do, the value must not promise.

    Returns:
        The regulator. Compile it as `jax.jit(planners.lqr.regulator)(model, state)`.

    Raises:
        ValueError: for a parameter outside its range, discrete actions, or a state unlike those of the model.
    """
    check_model("model", model)
    num_steps = integer("num_steps", num_steps, 1)
    shape = continuous_shape("regulator", 1, action_space(model))[1:]
    key, scenario_key = jax.random.split(jax.random.key(0))
    at: Any = model
    if scenario_count(model) is not None:
        _, models = draw_scenarios(model, scenario_key, scenario_count(model) or 1)
        at = jax.tree.map(lambda leaf: leaf[0], models)
    _check_state(at, state)
    x = coordinates(at, state)
    size = len(x)
    costs = jnp.concatenate(
        [
            real("state_cost", state_cost, minimum=0.0, shape=(size,)),
            real("action_cost", action_cost, above=0.0, shape=shape),
        ]
    )
    limit = action_limit(at, reuse_noise(state))
    ends = {"minimum": -1.0, "maximum": 1.0} if bounded(at) else {}
    still = jnp.zeros(shape) if action is None else real("action", action, shape=shape, **ends)
    if limit is not None:  # at the end of their range actuators have half a slope, beyond it none
        most = jnp.broadcast_to(limit, shape)
        still = inside(still, (-most, most))

    def follow(z: Float[Array, " z"]) -> Step:
        moved = with_coordinates(at, reuse_noise(state), z[:size])
        return checked_step(at.step(jax.random.clone(key), moved, z[size:]), moved)

    def cost(z: Float[Array, " z"]) -> Float[Array, ""]:
        return -follow(z).reward

    def both(z: Float[Array, " z"]) -> Float[Array, " y"]:
        after = follow(z)
        return jnp.append(coordinates(at, after.state), -after.reward)

    z = jnp.concatenate([x, still])
    step, first = follow(z), _derivatives(both, z)
    f_z, c_z = first[:, :-1].T, first[:, -1]
    c_zz = _derivatives(lambda z: _derivatives(cost, z), z)
    weights = jnp.concatenate([jnp.ones(1), jnp.cumprod(jnp.full(num_steps - 1, step.discount))])
    # in deviations scaled by γ^(t/2) curvatures are those of the first step: none is discounted to nothing
    ahead = Expansion(
        x=_repeated(x, num_steps),
        f_z=_repeated(jnp.sqrt(step.discount) * f_z, num_steps),
        c_z=jnp.sqrt(weights)[:, None] * c_z,
        c_zz=_repeated(nearest_convex(0.5 * (c_zz + c_zz.T)) + jnp.diag(costs), num_steps),
        counts=jnp.ones(num_steps, bool),
        lasts=jnp.ones(num_steps, bool),
        v_x=jnp.zeros(size),
        v_xx=jnp.zeros((size, size)),
        at=None,
    )
    solved = backward(ahead, _repeated(still, num_steps), jnp.zeros(()), limits=None)
    earned = weights.sum() * step.reward - (solved.slope + 0.5 * solved.bend)
    drift = jnp.abs(coordinates(at, step.state) - x).max()
    found = still + solved.steps[0], solved.gains[0], solved.gradient, solved.curvature, earned
    action, gain, gradient, curvature, earned = (jnp.where(solved.solved, one, jnp.nan) for one in found)
    return Regulator(at, x, action, gain, gradient, curvature, earned, drift)


def _check_state(model: Model, state: State) -> None:
    """Raise a `ValueError` unless a state has coordinates, and is like those that the model's `init` gives."""
    own = None
    with contextlib.suppress(Exception):  # a model may have no `init` of its own
        own = jax.eval_shape(model.init, jax.random.key(0))
    if own is not None and (found := difference("state", own, state)) is not None:
        raise ValueError(found)
    if coordinates(model, state).size == 0:
        raise ValueError(f"state must have coordinates to linearise in, got {state!r}")


def _derivatives(function: Callable[[Array], Array], z: Float[Array, " z"]) -> Float[Array, "z ..."]:
    """By each entry of z, one after the other: of a simulator that compiles faster than all at once."""
    return jax.lax.map(lambda tangent: jax.jvp(function, (z,), (tangent,))[1], jnp.eye(len(z)))


def _repeated(leaf: Array, num: int) -> Array:
    return jnp.broadcast_to(leaf, (num, *leaf.shape))
