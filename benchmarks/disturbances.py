"""What a planner does not know of: pushes, and masses that are not those of its model."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from mirrax.dynamics import Model
from mirrax.dynamics.base import State
from mirrax.dynamics.brax import BraxModel
from mirrax.dynamics.coordinates import coordinates, with_coordinates

# where the first velocity stands in the states of the analytic models
_VELOCITIES = {"Acrobot": 2, "CartPole": 2, "DoubleCartPole": 3, "Pendulum": 1, "PointMass": 2}
_SOFT = ("spring", "positional")  # backends whose joints give way, and whose masses are not those of the file
_LINK = 13  # numbers of a link: position, quaternion, angular velocity, velocity


def push(model: Model, state: State, size: Any) -> State:
    """The state after a sudden push.

    Args:
        model: one of `TASKS`.
        state: of the model.
        size: how much faster all of a robot is along x then, m/s; of an analytic model the cart or the point along x,
            m/s, or the first angle, rad/s.

    Returns:
        The state.

    Raises:
        ValueError: if it is not known which of the state's numbers are velocities.
    """
    x = coordinates(model, state)
    if isinstance(model, BraxModel) and model.sys is not None:
        physics = state.pipeline_state
        if hasattr(physics, "x_i"):  # of every link
            links = len(x) // _LINK
            entries = 10 * links + 3 * jnp.arange(links)
        else:  # of the root
            entries = jnp.array([len(physics.q)])
    elif type(model).__name__ in _VELOCITIES:
        entries = jnp.array([_VELOCITIES[type(model).__name__]])
    else:
        raise ValueError(f"push must be 0 for {type(model).__name__}, whose velocities are not known")
    return with_coordinates(model, state, x.at[entries].add(size))


def heavier(model: Model, share: float) -> Any:
    """The same model with other masses (and inertias, in proportion).

    Args:
        model: whose masses are called so (`mass`, `pole_mass`, `masses`, Brax's and MuJoCo's).
        share: by which they grow; negative to make them smaller.

    Returns:
        The model.

    Raises:
        ValueError: if no mass was found, or none would be left.
    """
    if share <= -1.0:
        raise ValueError(f"mass must be greater than -1, got {share}")
    found = []
    if isinstance(model, BraxModel) and model.sys is not None and model.env.unwrapped.backend in _SOFT:
        model = dataclasses.replace(model, sys=_plain(model.sys))

    def scaled(path: tuple[Any, ...], leaf: Any) -> Any:
        names = [str(getattr(key, "name", getattr(key, "key", ""))) for key in path]
        if names[-1].endswith(("mass", "masses", "body_inertia")) or names[-2:] == ["inertia", "i"]:
            found.append(names[-1])
            return leaf * (1.0 + share)
        return leaf

    made = jax.tree_util.tree_map_with_path(scaled, model)
    if not found:
        raise ValueError(f"mass must be 0 for {type(model).__name__}, which has none")
    return made


def _plain(sys: Any) -> Any:
    """The same Brax system, with masses as the engine takes them: m^(1 − scale), which for some robots is 1."""
    inertia = sys.link.inertia
    mass = inertia.mass ** (1.0 - sys.spring_mass_scale)
    diagonal = jnp.diagonal(inertia.i, axis1=-2, axis2=-1) ** (1.0 - sys.spring_inertia_scale)
    link = sys.link.replace(inertia=inertia.replace(mass=mass, i=jax.vmap(jnp.diag)(diagonal)))
    none = jnp.zeros_like(sys.spring_mass_scale)
    return sys.replace(link=link, spring_mass_scale=none, spring_inertia_scale=none)
