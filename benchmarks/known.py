"""What is known of a model that is learnt: its reward and its ends, and a twin of it that is faster to plan with."""

from typing import Any

import jax

from mirrax import dynamics
from mirrax.dynamics.track import OnTrack

# whose reward does not depend on where a step leads
OF_STATE_AND_ACTION = ("pendulum", "cartpole", "double_cartpole", "acrobot")
CHEETAH = "halfcheetah"
KNOWN = (*OF_STATE_AND_ACTION, CHEETAH)
_FORWARD, _EFFORT = 8, 0.1  # of the half cheetah: which observation is its speed, and what actions cost
_SUBSTEPS, _APART = 5, 0.1  # of a step of MuJoCo's half cheetah; how far apart episodes begin


def known_of(name: str, env: Any) -> dict[str, Any]:
    """The reward and the ends of an environment, as functions of what is observed of it, for `dynamics.learned`.

    Args:
        name: of the model, one of `KNOWN`.
        env: the environment.
    """
    if name == CHEETAH:
        return {"reward": _running, "terminate": None}
    terminate = env.left if isinstance(env, OnTrack) else None
    return {"reward": jax.tree_util.Partial(_reward, env), "terminate": terminate}


def fast_twin(name: str, env: Any, backend: str | None) -> Any:
    """The environment, or one of the same physics on MuJoCo's C engine, which is many times faster on CPUs than MJX.

    Args:
        name: of the model.
        env: the environment.
        backend: its physics.
    """
    if (name, backend) != (CHEETAH, "mjx"):
        return env
    file = env.env.unwrapped.sys.mj_model
    return dynamics.mujoco(file, reward=_running_on_c, reset=_anywhere_near, substeps=_SUBSTEPS)


def _running(seen: Any, action: Any, after: Any) -> Any:
    """The reward of Brax's half cheetah: the mean of the speed before and after a step, less the effort."""
    return 0.5 * (seen[_FORWARD] + after[_FORWARD]) - _EFFORT * (action**2).sum()


def _running_on_c(data: Any, action: Any) -> Any:
    """The same, with the speed after a step."""
    return data.qvel[0] - _EFFORT * (action**2).sum()


def _anywhere_near(key: Any, data: Any) -> Any:
    """Where Brax's half cheetah begins."""
    place_key, speed_key = jax.random.split(key)
    apart = jax.random.uniform(place_key, data.qpos.shape, minval=-_APART, maxval=_APART)
    return data.replace(qpos=data.qpos + apart, qvel=_APART * jax.random.normal(speed_key, data.qvel.shape))


def _reward(env: Any, state: Any, action: Any, after: Any) -> Any:
    return env.step(jax.random.key(0), state, action).reward  # of which no more is computed than the reward takes
