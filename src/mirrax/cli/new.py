"""`mirrax new`: a task file to start from, with the names and ranges of a MuJoCo file."""

import json
import shlex
import textwrap
from pathlib import Path
from typing import Any

_WIDTH = 110
_JOINTS = {0: "free", 1: "ball", 2: "slide", 3: "hinge"}  # mujoco.mjtJoint


def new(model: Path, out: Path | None) -> None:
    """Write a task file; a user's mistake is one clear line, and exits with 2.

    Args:
        model: the MuJoCo file.
        out: the file to write; None for STEM_task.py in the current folder.
    """
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.dynamics.mujoco_file import load_model

    with one_clear_line():
        mj = load_model(model)
        if mj.nu == 0:
            raise ValueError(f"model must have actuators for a planner to act, got {str(model)!r} without")
        path = Path(f"{model.stem.replace('-', '_').replace(' ', '_')}_task.py") if out is None else out
        if not path.parent.is_dir():
            raise ValueError(f"out must lie in a folder that exists, got {str(path)!r}")
        command = f"mirrax run {shlex.quote(str(model))} --task {shlex.quote(str(path))}"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(task_text(mj, model.name, command))
        except FileExistsError as error:
            raise ValueError(f"out must be a file that does not exist yet, got {str(path)!r}") from error
    print(f"{path}: write into its reward what the robot is to do, then\n{command}")


def task_text(mj: Any, name: str, command: str) -> str:
    """The text of a task file, which runs as it is.

    Args:
        mj: a `mujoco.MjModel`.
        name: of its file.
        command: that runs it.
    """
    from mirrax.cli.own_models import usual_substeps

    duration = float(f"{usual_substeps(mj) * float(mj.opt.timestep):.9g}")
    parts = [
        f'"""What {_in_docstring(name)} is to do. Run it: {_in_docstring(command)}"""\n',
        "import jax\nimport jax.numpy as jnp\n",
        *_contents(mj),
        f"control_dt = {duration!r}  # s between two actions, a multiple of the file's timestep",
        *_ranges(mj),
        *_optional_settings(mj),
        "\n",
        *_reward(mj),
        "\n",
        *_other_functions(mj),
    ]
    return "\n".join(parts) + "\n"


def _contents(mj: Any) -> list[str]:
    """What is in the file, as comments."""
    from mirrax.dynamics.mujoco_file import actuator_labels, names_of

    actuators = [
        f"{label} {_range(mj.actuator_ctrlrange[i]) if mj.actuator_ctrllimited[i] else '(no range)'}"
        for i, label in enumerate(actuator_labels(mj))
    ]
    joints = [
        f"{name or f'number {i}'} ({_JOINTS[int(mj.jnt_type[i])]}"
        f"{f' {_range(mj.jnt_range[i])}' if mj.jnt_limited[i] else ''})"
        for i, name in enumerate(names_of(mj, "joint"))
    ]
    sensors = [
        f"{name or f'number {i}'}{_size(int(mj.sensor_dim[i]))}" for i, name in enumerate(names_of(mj, "sensor"))
    ]
    named = {kind: [name for name in names_of(mj, kind) if name] for kind in ("body", "site", "key")}
    bodies = [name for name in named["body"] if name != "world"]
    lines = [f"# The file has a timestep of {mj.opt.timestep:g} s, and"]
    kinds = (
        ("actuators, in the order of `action`", actuators),
        ("joints, data.joint(name).qpos and .qvel", joints),
        ("bodies, data.body(name).xpos, .xquat, .xmat; .xipos of their centres of mass", bodies),
        ("sites, data.site(name).xpos, .xmat", named["site"]),
        ("sensors, data.sensor(name).data", sensors),
        ("keyframes", named["key"]),
    )
    for title, entries in kinds:
        if entries:
            lines += _comment(f"{title}: {', '.join(entries)}")
    return [*lines, ""]


def _comment(text: str) -> list[str]:
    """A comment of as many lines as it takes; names may have any letters but line breaks."""
    one = " ".join(text.split())
    return textwrap.wrap(one, _WIDTH, initial_indent="#   ", subsequent_indent="#     ", break_on_hyphens=False)


def _range(ends: Any) -> str:
    return f"{ends[0]:.4g} to {ends[1]:.4g}"


def _ranges(mj: Any) -> list[str]:
    """Ranges of actuators that have none, for the user to fill in."""
    from mirrax.dynamics.mujoco_file import actuator_labels

    free = [label for i, label in enumerate(actuator_labels(mj)) if not mj.actuator_ctrllimited[i]]
    if not free:
        return []
    return [
        "# The file gives these actuators no ctrlrange: put in what they can do, (least, greatest) of ctrl.",
        "action_range = {",
        *(f"    {_quoted(label)}: (-1.0, 1.0)," for label in free),
        "}",
    ]


def _optional_settings(mj: Any) -> list[str]:
    from mirrax.dynamics.mujoco_file import names_of

    keys = [name for name in names_of(mj, "key") if name]
    keyframe = [f"# keyframe = {_quoted(keys[0])}  # where episodes begin"] if keys else []
    return [
        *keyframe,
        '# planner, horizon, steps = "icem", 50, 200  # as --planner, --horizon, --steps',
        '# planner_options = {"num_samples": 64}',
    ]


def _reward(mj: Any) -> list[str]:
    """A reward that works, and one line for each sensor."""
    from mirrax.dynamics.mujoco_file import names_of

    ends = [max(map(abs, mj.actuator_ctrlrange[i])) if mj.actuator_ctrllimited[i] else 1.0 for i in range(mj.nu)]
    scale = [float(f"{end:.4g}") or 1.0 for end in ends]
    equal = len(set(scale)) == 1
    divisor = f"{scale[0]:g}" if equal else f"jnp.array([{', '.join(f'{s:g}' for s in scale)}])"
    lines = [
        "def reward(data, action):",
        '    """What a step earns, by the state after it: terms that add up. `action` is in the units of ctrl."""',
        "    return {",
        f'        "effort": -0.01 * jnp.mean((action / {divisor}) ** 2),',
    ]
    for name in (name for name in names_of(mj, "sensor") if name):
        lines.append(f"        # {_quoted(name)}: -jnp.sum(data.sensor({_quoted(name)}).data ** 2),")
    if not mj.nsensor:
        sites, bodies = ([name for name in names_of(mj, kind) if name] for kind in ("site", "body"))
        height = f"data.body({_quoted(bodies[-1])}).xipos[2]"  # at least the world is there
        if sites:
            height = f"data.site({_quoted(sites[-1])}).xpos[2]"
        lines.append(f'        # "height": {height},')
    return [*lines, "    }"]


def _other_functions(mj: Any) -> list[str]:
    """What else a task may say, as comments."""
    from mirrax.dynamics.mujoco_file import names_of

    bodies = [name for name in names_of(mj, "body")[1:] if name]
    low = f"data.body({_quoted(bodies[0])}).xpos[2] < 0.3" if bodies else "jnp.abs(data.qpos).max() > 10.0"
    return [
        "# def terminate(data):",
        '#     """Whether the episode ends, in words -> boolean."""',
        f'#     return {{"it fell": {low}}}',
        "",
        "",
        "# def value(data):",
        '#     """What is earned beyond the horizon."""',
        "#     return 0.0",
        "",
        "",
        "# def reset(key, data):",
        '#     """Where an episode begins."""',
        "#     return data.replace(qvel=data.qvel + 0.01 * jax.random.normal(key, data.qvel.shape))",
    ]


def _quoted(name: str) -> str:
    """A name as Python writes a string."""
    return json.dumps(name, ensure_ascii=False)


def _in_docstring(text: str) -> str:
    """Text that neither ends a docstring nor escapes anything in it."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _size(number: int) -> str:
    """How many numbers something has; nothing for one, which has no axis."""
    return "" if number == 1 else f" [{number}]"
