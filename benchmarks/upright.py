"""What is left to earn near an upright pose that a robot of a MuJoCo file is to hold."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from mirrax import dynamics
from mirrax.benchmarks.task import Beyond

_SCALE = 10.0  # of a cost beyond the horizon, from where on it is no quadratic any more, in reward units


def upright_regulator(*angles: str) -> Beyond:
    """What is left to earn from near the reference pose, where all is 0 and the robot is upright.

    It is the linear-quadratic regulator's, by MuJoCo's own finite differences; it takes less time than MJX's
    derivatives. Far away, where a quadratic would say too much, it goes on as a logarithm.

    Args:
        *angles: joints whose full turns do not count.
    """

    def make(model: Any) -> Callable[[Any], Any]:
        mj = model.robot.mj
        turns = np.array([mj.jnt_dofadr[mj.joint(name).id] for name in angles])
        curvature = jnp.asarray(_curvature(model), float)

        def value(state: Any) -> Any:
            x = dynamics.coordinates(model, state)
            x = x.at[turns].set(jnp.arctan2(jnp.sin(x[turns]), jnp.cos(x[turns])))
            with jax.default_matmul_precision("highest"):
                return -_SCALE * jnp.log1p(0.5 * x @ curvature @ x / _SCALE)

        return value

    return Beyond("the regulator of the upright pose", make)


def _curvature(model: Any) -> np.ndarray:
    """Of the cost that the regulator leaves, in a state: Σ over the steps that follow, without an end."""
    import mujoco

    mj, size = model.robot.mj, 2 * model.robot.mj.nv
    data = mujoco.MjData(mj)  # the reference pose
    one, push = np.zeros((size, size)), np.zeros((size, mj.nu))
    mujoco.mjd_transitionFD(mj, data, 1e-6, True, one, push, None, None)
    after, moved = np.eye(size), np.zeros((size, mj.nu))
    for _ in range(model.substeps):
        after, moved = one @ after, one @ moved + push
    upright, still = model.first(), jnp.zeros(mj.nu)

    @jax.jit
    def cost(x: Any, control: Any) -> Any:
        state = upright.replace(qpos=x[: mj.nv], qvel=x[mj.nv :])
        return -model.task.earned(dynamics.named(model, state), control)

    state_cost = np.asarray(jax.hessian(cost, 0)(jnp.zeros(size), still), float)
    action_cost = np.asarray(jax.hessian(cost, 1)(jnp.zeros(size), still), float)
    # rewards are of the state after a step: what the present one costs is paid already
    return scipy.linalg.solve_discrete_are(after, moved, state_cost, action_cost) - state_cost
