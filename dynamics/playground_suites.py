"""The environments that come with Playground: their names, configurations, and what they need."""

from collections.abc import Iterator, Mapping
from typing import Any

import jax

from .checks import choice, number, unknown
from .mujoco_file import quiet
from .mujoco_warp import quiet_imports


def playground_names() -> tuple[str, ...]:
    """The names of Playground's environments: the control suite first, then what needs a download.

    Raises:
        ModuleNotFoundError: if Playground is not installed.
    """
    return tuple(name for suite in _suites() for name in suite.ALL_ENVS)


def made(name: str, config: Mapping[str, Any]) -> Any:
    """A registered environment.

    Args:
        name: which.
        config: in the place of entries of its configuration, nested ones as dictionaries.

    Raises:
        ValueError: for a name or an entry that does not exist, a value that it does not take, or a missing robot.
        ModuleNotFoundError: if Playground is not installed.
    """
    suites = _suites()
    suite = next((suite for suite in suites if name in suite.ALL_ENVS), None)
    if suite is None:
        raise unknown("environment of Playground", name, playground_names())
    if suite is not suites[0]:  # the control suite
        _check_downloaded(name)
    settings = suite.get_default_config(name)
    given = dict(_flat(config))
    known = [entry for entry, _ in _flat(settings.to_dict())]
    if (wrong := next((entry for entry in given if entry not in known), None)) is not None:
        raise unknown("entry", wrong, known, of=f"the configuration of {name}")
    if (wrong := next((name for name in config if name not in settings), None)) is not None:  # with no entries
        raise unknown("entry", wrong, known, of=f"the configuration of {name}")
    _check_steps(settings, given, counted=suite is suites[-1])
    if given.get("impl") is not None:
        choice("impl", given["impl"], ("jax", "warp"))
    if "impl" in known and jax.default_backend() == "cpu":
        given = {"impl": "jax"} | given
    try:
        with quiet(), quiet_imports():
            return suite.load(name, config=settings, config_overrides=given)
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        entries = ", ".join(f"{entry}={value!r}" for entry, value in given.items())
        raise ValueError(f"config must be as {name} takes it, got {entries}: {error}") from error


def _check_steps(settings: Any, given: dict[str, Any], counted: bool) -> None:
    """Raise a `ValueError` for durations of steps that are none, and for what has an effect in training alone.

    Args:
        settings: the usual configuration.
        given: entries in its place; durations become numbers of Python, as Playground wants them.
        counted: whether environments of this suite end after `episode_length` steps.
    """
    instead = {"action_repeat": "take dynamics.action_repeat(model, number)"}
    if not counted:
        instead["episode_length"] = "whoever acts says how many steps"
    for entry, hint in instead.items():
        if entry in given and given[entry] != settings.get(entry):
            raise ValueError(
                f"{entry} must be left as it is, {settings.get(entry)}, for Playground's training alone reads it, "
                f"got {given[entry]!r}: {hint}"
            )
    durations = {entry: given.get(entry, settings.get(entry)) for entry in ("ctrl_dt", "sim_dt")}
    if not set(durations) & set(given):
        return
    step, timestep = (number(entry, value, above=0.0) for entry, value in durations.items())
    count = round(step / timestep)
    if count < 1 or abs(count * timestep - step) > 1e-6 * step:
        raise ValueError(
            f"ctrl_dt must be a multiple of sim_dt, {timestep:g} s, got {step:g}: {max(count, 1) * timestep:g} is one"
        )
    given |= {entry: value for entry, value in (("ctrl_dt", step), ("sim_dt", timestep)) if entry in given}


def _flat(config: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Nested entries, with dots between names."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _check_downloaded(name: str) -> None:
    from mujoco_playground._src import mjx_env

    if not mjx_env.MENAGERIE_PATH.exists():
        raise ValueError(
            f"name_or_env must be an environment whose robot is there, got {name!r}, which needs MuJoCo Menagerie in "
            f"{mjx_env.MENAGERIE_PATH}: git clone https://github.com/google-deepmind/mujoco_menagerie to this folder "
            f"and check out {mjx_env.MENAGERIE_COMMIT_SHA}, or let Playground do it once: python -c 'from "
            "mujoco_playground._src import mjx_env; mjx_env.ensure_menagerie_exists()'"
        )


def _suites() -> tuple[Any, ...]:
    """Import Playground, which takes seconds (only who uses it pays), without the chatter of its imports."""
    try:
        with quiet_imports():
            from mujoco_playground._src import dm_control_suite, locomotion, manipulation
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"environments of Playground need {error.name}: pip install 'mirrax[playground]'", name=error.name
        ) from error
    return dm_control_suite, locomotion, manipulation
