"""What is known of a robot by its MuJoCo model, whatever simulates it: coordinates, names, motion, looks."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .base import State
from .figures import Figure
from .mujoco_coordinates import from_tangent, names, to_tangent
from .mujoco_figure import mujoco_figure
from .mujoco_file import FREE, SLIDE, Robot
from .mujoco_kinematics import frames, velocities
from .rotations import inverse, rotate


class MujocoRobot:
    """A robot of a MuJoCo model. Subclasses say where in their states its data are.

    Attributes:
        robot: the model of the file.
    """

    robot: Robot

    def data_of(self, state: State) -> Any:
        """MuJoCo's data within a state, with `qpos`, `qvel`, `act`, `mocap_pos`, `mocap_quat`."""
        raise NotImplementedError

    def with_data(self, state: State, data: Any) -> State:
        """The state with other data, and all that the engine derives from their places and speeds."""
        raise NotImplementedError

    @property
    def rest_qpos(self) -> Float[Array, " q"]:
        """The joints' positions in the pose of rest, [nq]."""
        raise NotImplementedError

    def coordinates(self, state: Any) -> Float[Array, " n"]:
        """Displacements of the joints (rotations as vectors, rad), speeds, activations of actuators, n = 2 nv + na.

        Rotations are seen from the file's reference pose, see `rotations.logarithm`.
        """
        data = self.data_of(state)
        return jnp.concatenate([to_tangent(self.robot.mj, data.qpos), data.qvel, data.act])

    def with_coordinates(self, state: Any, x: Float[Array, " n"]) -> State:
        """The state with these coordinates, and all that the engine derives from them."""
        nv = self.robot.mj.nv
        qpos = from_tangent(self.robot.mj, x[:nv])
        data = self.data_of(state).replace(qpos=qpos, qvel=x[nv : 2 * nv], act=x[2 * nv :])
        return self.with_data(state, data)

    @property
    def coordinate_names(self) -> tuple[str, ...]:
        """Joints by their names in the file."""
        return names(self.robot.mj)

    def mean_squared_speed(self, state: Any) -> Float[Array, ""]:
        """The mean over the centres of mass of all bodies that move, (m/s)²."""
        moving, data = _moving(self.robot.mj), self.data_of(state)
        speeds = velocities(self.robot.mj, data.qpos, data.qvel)[moving]
        return (speeds**2).sum(-1).mean()

    def mean_squared_displacement(self, state: Any) -> Float[Array, ""]:
        """The mean over all bodies that move, from the pose of rest, m².

        Where on the ground a robot is that can go anywhere, and where it is heading, does not count.
        """
        moving, places = _moving(self.robot.mj), (self.data_of(state).qpos, self.rest_qpos)
        here, there = (_seen(self.robot.mj, qpos)[moving] for qpos in places)
        return ((here - there) ** 2).sum(-1).mean()

    def figure(self) -> Figure | None:
        """The geoms of the file."""
        mj = self.robot.mj

        def poses(state: Any) -> tuple[Float[Array, "B 3"], Float[Array, "B 4"]]:
            data = self.data_of(state)
            found = frames(mj, data.qpos, data.mocap_pos, data.mocap_quat)
            return found.xpos[1:], found.xquat[1:]

        return mujoco_figure(mj, poses)


def _moving(mj: Any) -> np.ndarray:
    """The bodies that joints move."""
    moves = np.zeros(mj.nbody, bool)
    for body in range(1, mj.nbody):
        moves[body] = mj.body_jntnum[body] > 0 or moves[int(mj.body_parentid[body])]
    return np.flatnonzero(moves)


def _seen(mj: Any, qpos: Float[Array, " q"]) -> Float[Array, "N 3"]:
    """The centres of mass, as seen from above the first body that moves, where that can go anywhere."""
    found = frames(mj, qpos)
    if not len(moving := _moving(mj)):
        return found.xipos
    first = int(moving[0])
    joints = [j for j in range(mj.njnt) if mj.jnt_bodyid[j] == first]
    free = [int(mj.jnt_type[j]) for j in joints] == [FREE]
    roams = np.zeros(3)
    if free:
        roams[:2] = 1.0
    for joint in joints:
        if int(mj.jnt_type[joint]) == SLIDE and not mj.jnt_limited[joint]:
            roams[:2] = np.maximum(roams[:2], np.abs(mj.jnt_axis[joint][:2]) > 0)
    centres = found.xipos - found.xpos[first] * roams
    if not free:
        return centres
    # the heading: the rotation about z that is part of the first body's, (w, 0, 0, z) of its quaternion
    w, z = found.xquat[first][0], found.xquat[first][3]
    length = jnp.sqrt(w * w + z * z + jnp.finfo(jnp.result_type(w)).eps)
    heading = jnp.stack([w / length, 0.0 * w, 0.0 * w, z / length])
    return rotate(inverse(heading), centres)
