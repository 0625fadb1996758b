"""MuJoCo's C engine: many rollouts at once, in threads of its own."""

import dataclasses
import os
import threading
from typing import Any

import numpy as np

from .mujoco_file import Robot, quiet


@dataclasses.dataclass(frozen=True)
class Engine:
    """The engine of a robot as part of a compiled program.

    Attributes:
        robot: the model of the file.
        threads: how many rollouts it follows at the same time.
    """

    robot: Robot
    threads: int

    def rollout(self, physics: Any, controls: Any, warmstart: Any, mocap: Any) -> tuple[np.ndarray, np.ndarray]:
        """Follow N rollouts of T steps of the engine.

        Args:
            physics: where they start, MuJoCo's full physics state, [N, S].
            controls: [N, T, nu].
            warmstart: accelerations at which the solver begins, [N, nv].
            mocap: places and rotations of bodies that are moved from outside, [N, 7 nmocap].

        Returns:
            Physics after each step, [N, T, S], and what sensors said before it, [N, T, nsensordata]. Where a
            simulation has diverged, both are NaN from there on.
        """
        mj = self.robot.mj
        number, steps = controls.shape[:2]
        state = np.empty((number, steps, physics.shape[-1]))
        sensordata = np.empty((number, steps, mj.nsensordata))
        if number == 0:
            return state, sensordata
        inputs = np.empty((number, steps, mj.nu + mocap.shape[-1]))
        inputs[..., : mj.nu], inputs[..., mj.nu :] = controls, mocap[:, None, :]
        physics = np.ascontiguousarray(physics, dtype=np.float64)
        with self._pool as pool, quiet():
            pool.rollout.rollout(
                [mj] * number,
                pool.data,
                nstep=steps,
                control_spec=pool.spec,
                initial_state=physics,
                initial_warmstart=np.ascontiguousarray(warmstart, dtype=np.float64),
                control=inputs,
                state=state,
                sensordata=sensordata,
                skip_checks=True,
            )
        # MuJoCo begins anew, or stands still, where a simulation diverges: only the clock shows it
        timestep = mj.opt.timestep
        expected = physics[:, :1] + timestep * np.arange(1, steps + 1)
        lost = np.maximum.accumulate(np.abs(state[..., 0] - expected) > 0.5 * timestep, axis=1)
        if lost.any():
            state[lost] = np.nan
            sensordata[lost] = np.nan
        return state, sensordata

    @property
    def _pool(self) -> "_Pool":
        """The threads of this engine, made when they are first needed."""
        pool: Any = self.__dict__.get("_own_pool")
        if pool is None:
            pool = self.__dict__.setdefault("_own_pool", _Pool(self.robot.mj, self.threads))
        return pool

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles keep: not the threads."""
        return {"robot": self.robot, "threads": self.threads}


class _Pool:
    """Threads, and the data of each; used by one rollout at a time."""

    def __init__(self, mj: Any, threads: int) -> None:
        import mujoco
        from mujoco.rollout import Rollout

        self.lock = threading.Lock()
        self.data = [mujoco.MjData(mj) for _ in range(threads)]
        self.rollout = Rollout(nthread=threads if threads > 1 else 0)
        spec = mujoco.mjtState.mjSTATE_CTRL
        if mj.nmocap:
            spec = spec | mujoco.mjtState.mjSTATE_MOCAP_POS | mujoco.mjtState.mjSTATE_MOCAP_QUAT
        self.spec = int(spec)

    def __enter__(self) -> "_Pool":
        self.lock.acquire()
        return self

    def __exit__(self, *error: object) -> None:
        self.lock.release()


def available_cores() -> int:
    """How many cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
