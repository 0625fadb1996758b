"""MuJoCo's C engine: many rollouts at once, in threads of its own."""

import copy
import dataclasses
import os
import threading
from typing import Any

import numpy as np

from .mujoco_file import Robot, quiet

_GREATEST = 1e10  # beyond, MuJoCo takes numbers for those of a simulation that diverges (mjMAXVAL)


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
        state = np.full((number, steps, physics.shape[-1]), np.nan)
        sensordata = np.full((number, steps, mj.nsensordata), np.nan)
        fine = np.isfinite(physics).all(1) & np.isfinite(warmstart).all(1) & np.isfinite(mocap).all(1)
        moving = slice(1, 1 + mj.nq + mj.nv)
        fine &= (np.abs(np.nan_to_num(physics[:, moving])) < _GREATEST).all(1)
        given = (np.abs(np.nan_to_num(controls, nan=np.inf)) < _GREATEST).all(-1)  # beyond, MuJoCo takes 0 instead
        inputs = np.empty((number, steps, mj.nu + mocap.shape[-1]))
        inputs[..., : mj.nu], inputs[..., mj.nu :] = np.where(given[..., None], controls, 0.0), mocap[:, None, :]
        rows, begin = np.flatnonzero(fine), 0
        where = np.array(physics, dtype=np.float64)
        warmstart = np.ascontiguousarray(warmstart, dtype=np.float64)
        while rows.size and begin < steps:
            after, sensed = self._follow(where[rows], inputs[rows, begin:], warmstart[rows])
            state[rows, begin:], sensordata[rows, begin:] = after, sensed
            # a rollout stands still after a warning, such as of too little memory for contacts, as no step by itself
            # does: go on from there
            expected = where[rows, :1] + mj.opt.timestep * np.arange(1, steps - begin + 1)
            stands = np.abs(after[..., 0] - expected) > 0.5 * mj.opt.timestep
            stands &= (np.abs(np.nan_to_num(after[..., moving], nan=np.inf)) < _GREATEST).all(-1)
            stands[:, 0] = False
            rows = rows[stands.any(1)]
            if rows.size:
                gone = int(stands[stands.any(1)].argmax(1).min())  # steps that all of these have made
                where[rows] = state[rows, begin + gone - 1]
                begin += gone
        lost = ~(np.abs(np.nan_to_num(state[..., moving], nan=np.inf)) < _GREATEST).all(-1) | ~given
        lost = np.maximum.accumulate(lost, axis=1) if steps else lost
        state[lost], sensordata[lost] = np.nan, np.nan
        return state, sensordata

    def _follow(self, physics: Any, inputs: Any, warmstart: Any) -> tuple[np.ndarray, np.ndarray]:
        """Let MuJoCo follow rollouts."""
        number, steps = inputs.shape[:2]
        state = np.empty((number, steps, physics.shape[-1]))
        sensordata = np.empty((number, steps, self.robot.mj.nsensordata))
        with self._pool as pool, quiet():
            pool.rollout.rollout(
                [pool.mj] * number,
                pool.data,
                nstep=steps,
                control_spec=pool.spec,
                initial_state=np.ascontiguousarray(physics),
                initial_warmstart=np.ascontiguousarray(warmstart),
                control=np.ascontiguousarray(inputs),
                state=state,
                sensordata=sensordata,
                skip_checks=True,
            )
        return state, sensordata

    @property
    def _pool(self) -> "_Pool":
        """The threads of this engine, made when they are first needed."""
        pool: Any = self.__dict__.get("_own_pool")
        if pool is None or pool.process != os.getpid():  # threads do not live on in a fork
            pool = self.__dict__["_own_pool"] = _Pool(self.robot.mj, self.threads)
        return pool

    def __getstate__(self) -> dict[str, Any]:
        """What copies and pickles keep: not the threads."""
        return {"robot": self.robot, "threads": self.threads}


class _Pool:
    """Threads, and the data of each; used by one rollout at a time."""

    def __init__(self, mj: Any, threads: int) -> None:
        import mujoco
        from mujoco.rollout import Rollout

        self.lock, self.process = threading.Lock(), os.getpid()
        # a simulation that diverges is to be seen to, not to begin anew at the reference pose
        self.mj = copy.deepcopy(mj)
        self.mj.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_AUTORESET)
        self.data = [mujoco.MjData(self.mj) for _ in range(threads)]
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
