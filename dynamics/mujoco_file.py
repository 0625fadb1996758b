"""MuJoCo models from files, strings or objects, and what they say of themselves by name."""

import contextlib
import copy
import dataclasses
import functools
import hashlib
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .checks import integer, unknown

FREE, BALL, SLIDE, HINGE = 0, 1, 2, 3  # mujoco.mjtJoint
_HOME = "home"  # the keyframe that files by convention begin in


@dataclasses.dataclass(frozen=True, eq=False)
class Robot:
    """A MuJoCo model as part of a compiled program: two of the same content are equal, wherever they came from.

    Attributes:
        mj: the `mujoco.MjModel`, not to be changed any more.
    """

    mj: Any

    @functools.cached_property
    def digest(self) -> bytes:
        """A fingerprint of the content."""
        import mujoco

        content = np.empty(mujoco.mj_sizeModel(self.mj), np.uint8)
        mujoco.mj_saveModel(self.mj, None, content)
        return hashlib.sha256(content.tobytes()).digest()

    def __eq__(self, other: object) -> bool:
        """Whether both have the same content."""
        return isinstance(other, Robot) and (self.mj is other.mj or self.digest == other.digest)

    def __hash__(self) -> int:
        """Of the content."""
        return hash(self.digest)

    def __repr__(self) -> str:
        """In short."""
        return f"Robot({model_name(self.mj)!r}, nq={self.mj.nq}, nv={self.mj.nv}, nu={self.mj.nu})"


def load_model(model: Any) -> Any:
    """Load a MuJoCo model.

    Args:
        model: the path of an MJCF or URDF file (or a binary `.mjb`), the XML itself as a string, a
            `mujoco.MjModel`, or a `mujoco.MjSpec`.

    Returns:
        A `mujoco.MjModel`, a copy of its own.

    Raises:
        ValueError: in one line, if there is no such file, or MuJoCo does not take it (a missing mesh, a name that
            does not exist, a keyframe of the wrong size, ...).
    """
    import mujoco

    if isinstance(model, mujoco.MjModel):
        return copy.deepcopy(model)
    if isinstance(model, mujoco.MjSpec):
        with _in_one_line("MjSpec"):
            return model.compile()
    if isinstance(model, str) and model.lstrip().startswith("<"):
        with _in_one_line("XML"):
            return mujoco.MjModel.from_xml_string(model)
    if not isinstance(model, str | os.PathLike):
        raise ValueError(
            f"model must be a path, an XML string, a mujoco.MjModel or a mujoco.MjSpec, got {type(model).__name__}"
        )
    path = Path(model)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "which does not exist"
        raise ValueError(f"model must be the path of an MJCF file, got {str(path)!r}, {what}")
    with _in_one_line(str(path)):
        if path.suffix == ".mjb":
            return mujoco.MjModel.from_binary_path(str(path))
        return mujoco.MjModel.from_xml_path(str(path))


@contextlib.contextmanager
def _in_one_line(what: str) -> Iterator[None]:
    """MuJoCo's complaints of a file, in one line that names it."""
    try:
        with quiet():
            yield
    except Exception as error:  # of every class, by version and cause
        said = " ".join(str(error).removeprefix("XML Error:").split())
        raise ValueError(f"model must be one that MuJoCo takes, got {what}: {said}") from error


def with_options(mj: Any, options: Mapping[str, Any]) -> Any:
    """A copy of a model with other options of its engine.

    Args:
        mj: a `mujoco.MjModel`.
        options: names of `mujoco.MjOption` (`iterations`, `ls_iterations`, `timestep`, `solver`, ...) and
            their values; and `contacts`, whether there are any.

    Returns:
        The copy.

    Raises:
        ValueError: for a name or a value that MuJoCo does not know.
    """
    import mujoco

    if not isinstance(options, Mapping):
        raise ValueError(f"planning_options must be a dictionary of MuJoCo's options, got {options!r}")
    changed = copy.deepcopy(mj)
    known = ["contacts", *sorted(name for name in dir(changed.opt) if not name.startswith("_"))]
    for name, value in options.items():
        if name not in known:
            raise unknown("option of MuJoCo", name, known, of="planning_options")
        if name == "contacts":
            if not isinstance(value, bool):
                raise ValueError(f"planning_options['contacts'] must be True or False, got {value!r}")
            flag = int(mujoco.mjtDisableBit.mjDSBL_CONTACT)
            changed.opt.disableflags = changed.opt.disableflags & ~flag | (0 if value else flag)
            continue
        enum = {"integrator": mujoco.mjtIntegrator, "solver": mujoco.mjtSolver, "cone": mujoco.mjtCone}.get(name)
        if enum is not None:
            short = {key.rpartition("_")[2].lower(): int(kind) for key, kind in enum.__members__.items()}
            if isinstance(value, str) and value.lower() in short:
                value = short[value.lower()]
            if isinstance(value, bool) or not isinstance(value, int) or int(value) not in short.values():
                raise ValueError(f"planning_options[{name!r}] must be one of {', '.join(short)}, got {value!r}")
        if name.endswith("iterations"):
            value = integer(f"planning_options[{name!r}]", value)
        try:
            setattr(changed.opt, name, value)
        except (TypeError, ValueError) as error:
            raise ValueError(f"planning_options[{name!r}] must be as MuJoCo takes it, got {value!r}") from error
    if not changed.opt.timestep > 0:
        raise ValueError(f"planning_options['timestep'] must be > 0, got {changed.opt.timestep:g}")
    return changed


def without_contacts(mj: Any) -> Any:
    """A model in which geoms touch nothing where contacts are off: MJX goes through all pairs nevertheless.

    Args:
        mj: a `mujoco.MjModel`.

    Returns:
        A copy; the model itself where contacts are on.
    """
    import mujoco

    if not mj.opt.disableflags & int(mujoco.mjtDisableBit.mjDSBL_CONTACT):
        return mj
    mj = copy.deepcopy(mj)
    mj.geom_contype[:] = mj.geom_conaffinity[:] = 0
    return mj


def model_name(mj: Any) -> str:
    """The name that a file gives its model, "MuJoCo Model" where it gives none."""
    return bytes(mj.names).split(b"\0", 1)[0].decode()


def names_of(mj: Any, kind: str) -> list[str]:
    """The names of all elements of a kind, in their order; "" for one without.

    Args:
        mj: a `mujoco.MjModel`.
        kind: "body", "joint", "actuator", "sensor", "site", "geom", "tendon", "key", ...
    """
    import mujoco

    sort = getattr(mujoco.mjtObj, f"mjOBJ_{kind.upper()}")
    number = {"body": "nbody", "joint": "njnt", "actuator": "nu", "key": "nkey", "camera": "ncam"}.get(
        kind, f"n{kind}"
    )
    return [mujoco.mj_id2name(mj, sort, i) or "" for i in range(getattr(mj, number))]


def find(mj: Any, kind: str, name: str) -> int:
    """The number of a named element.

    Raises:
        ValueError: if there is none, with those that there are.
    """
    names = names_of(mj, kind)
    if not isinstance(name, str) or not name or name not in names:
        raise unknown("keyframe" if kind == "key" else kind, name, [known for known in names if known])
    return names.index(name)


def actuator_labels(mj: Any) -> list[str]:
    """The names of the actuators, or of what they drive, or their numbers; no two are the same."""
    joints, tendons, sites = (names_of(mj, kind) for kind in ("joint", "tendon", "site"))
    driven = {0: joints, 1: joints, 3: tendons, 4: sites}  # mujoco.mjtTrn
    labels = []
    for i, name in enumerate(names_of(mj, "actuator")):
        others, target = driven.get(int(mj.actuator_trntype[i]), []), int(mj.actuator_trnid[i, 0])
        labels.append(name or (others[target] if 0 <= target < len(others) else "") or f"actuator {i}")
    return told_apart(labels)


def told_apart(names: list[str]) -> list[str]:
    """Names with a number behind them, where two are the same."""
    return [f"{x} {names[: i + 1].count(x)}" if names.count(x) > 1 else x for i, x in enumerate(names)]


def keyframe_state(mj: Any, keyframe: str | int | None) -> Any:
    """A `mujoco.MjData` where episodes begin: a keyframe, or the reference pose.

    Args:
        mj: a `mujoco.MjModel`.
        keyframe: its name or number; None for the one called "home", or the reference pose where there is none.

    Raises:
        ValueError: if there is no such keyframe.
    """
    import mujoco

    data = mujoco.MjData(mj)
    names = names_of(mj, "key")
    if keyframe is None:
        number = names.index(_HOME) if _HOME in names else None
    elif isinstance(keyframe, str):
        number = find(mj, "key", keyframe) if names else _no_keyframe(keyframe)
    else:
        number = integer("keyframe", keyframe, 0)
        if number >= mj.nkey:
            raise ValueError(f"keyframe must be a number below {mj.nkey}, the file's keyframes, got {keyframe!r}")
    if number is None:
        mujoco.mj_resetData(mj, data)
    else:
        mujoco.mj_resetDataKeyframe(mj, data, number)
    mujoco.mj_forward(mj, data)
    return data


def _no_keyframe(name: str) -> int:
    raise ValueError(f"keyframe must be one of the file's, which has none, got {name!r}")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence MuJoCo's warnings, which it also writes to a file in the current folder."""
    import mujoco

    with _SILENCE.lock:  # one handler for the process: of several at a time, the last one puts it back
        if not _SILENCE.depth:
            _SILENCE.before = mujoco.get_mju_user_warning()
            mujoco.set_mju_user_warning(lambda message: None)
        _SILENCE.depth += 1
    try:
        yield
    finally:
        with _SILENCE.lock:
            _SILENCE.depth -= 1
            if not _SILENCE.depth:
                mujoco.set_mju_user_warning(_SILENCE.before)


class _Silence:
    """How many want MuJoCo to be silent."""

    def __init__(self) -> None:
        self.lock, self.depth, self.before = threading.Lock(), 0, None


_SILENCE = _Silence()
