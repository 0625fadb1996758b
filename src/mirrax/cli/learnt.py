"""What has been learnt, in a run: policies and plan networks act, or tell planners where to look; values go on.

A policy is the proposal of `smc`, the prior of planners that have one, and draws some of the plans of other sampling
planners.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from mirrax.benchmarks.task import Task
    from mirrax.cli.commands import Run

RESTING = ("rest_steps", "rest_speed", "rest_distance")  # options of coming to rest in the last steps of a plan
ALONE = "policy"  # what a policy by itself is called, where else there is the name of a planner


class Guide(NamedTuple):
    """What a planner is told by a policy, or a plan network.

    Attributes:
        options: arguments of its factory.
        around: makes of the planner the one that is told.
        horizon: of the planner; None for any.
        without: options of the task that do not go with it.
    """

    options: Mapping[str, Any]
    around: Callable[[Any], Any]
    horizon: int | None = None
    without: tuple[str, ...] = ()


NOBODY = Guide({}, lambda planner: planner)


def guide(learnt: Any, planner: str) -> Guide:
    """How a planner is told what has been learnt.

    Args:
        learnt: a policy, or a plan network.
        planner: the name of the planner.

    Raises:
        ValueError: if the planner cannot be told.
    """
    from mirrax import planners
    from mirrax.cli.flags import PLANNERS, takes_loop_options
    from mirrax.planners.factory import options_of
    from mirrax.planners.policies import PlanNetwork

    if isinstance(learnt, PlanNetwork):
        return Guide({}, lambda planner: _primed(planner, learnt), learnt.horizon, (*RESTING, "num_knots"))
    unbounded = getattr(learnt, "unbounded", None)
    policy = learnt if unbounded is None else unbounded()
    own = options_of(getattr(planners, planner))
    if "proposal" in own:
        return Guide({"proposal": policy}, NOBODY.around, without=("std", "std_min", "noise_exponent"))
    if "prior" in own:
        return Guide({"prior": planners.priors.policy_prior(policy)}, NOBODY.around)
    if takes_loop_options(planner):
        return Guide({"policy": policy}, NOBODY.around)
    able = {one.__name__ for one in planners.PLANNERS if {"prior", "proposal"} & options_of(one).keys()}
    unable = [one for one in PLANNERS if not (one in able or takes_loop_options(one))]
    raise ValueError(
        f"policy goes with all planners but {', '.join(unable)}, or alone, without --planner; got --planner {planner}"
    )


def _primed(planner: Any, network: Any) -> Any:
    from mirrax import planners

    try:
        return planners.primed(planner, network)
    except ValueError as error:
        if not str(error).startswith("as_prior must be False"):
            raise
    return planners.primed(planner, network, as_prior=False)  # where it starts, and of smc thereby its prior


def load_policy(command: "Run", model: Any, folder: Path) -> Any:
    """The policy, or the plan network, that the user has named.

    Args:
        command: what the user has said, with a policy.
        model: to drive.
        folder: where paths begin.

    Raises:
        ValueError: if there is none in the folder, it is damaged, or of another model.
    """
    from mirrax.learning.policies import CategoricalPolicy, EnergyPolicy, TanhGaussianPolicy
    from mirrax.planners.policies import PlanNetwork

    assert command.policy is not None
    found = _load("policy", folder / command.policy, command, model)
    found = getattr(found, "policy", found) if not callable(found) else found
    if not isinstance(found, TanhGaussianPolicy | CategoricalPolicy | EnergyPolicy | PlanNetwork):
        raise ValueError(
            f"policy must be the folder of a policy or a plan network, got {str(command.policy)!r}, a value, "
            "which is for --terminal-value"
        )
    return found


def with_value(command: "Run", model: Any, task: "Task", folder: Path) -> "Task":
    """The task, with the value beyond the horizon that the user has named.

    Args:
        command: what the user has said, with a value.
        model: to drive.
        task: of the model.
        folder: where paths begin.

    Raises:
        ValueError: if there is none in the folder, it is damaged, or of another model.
    """
    from mirrax.benchmarks.task import Beyond
    from mirrax.learning.policies import PolicyTraining
    from mirrax.learning.policies.values import Discounting

    assert command.terminal_value is not None
    found = _load("terminal_value", folder / command.terminal_value, command, model)
    value = found.value if isinstance(found, PolicyTraining) else found
    if not isinstance(value, Discounting):
        what = "a training that has learnt none" if isinstance(found, PolicyTraining) else type(found).__name__
        learnt = "which `mirrax value` learns, and `mirrax learn` by v_mpo, not by mpo"
        raise ValueError(
            f"terminal_value must be the folder of a value of states, {learnt}; got {str(command.terminal_value)!r}, "
            f"{what}"
        )
    return dataclasses.replace(task, beyond=Beyond(str(command.terminal_value), lambda model: value, value.discount))


def origin_of(command: "Run", folder: Path) -> dict[str, Any]:
    """Where a policy and a value are, and what they were, for the results of a run.

    Args:
        command: what the user has said.
        folder: where paths begin.

    Returns:
        JSON, as the origin of a model of the user's own; empty where nothing has been learnt.
    """
    from mirrax.learning import saving

    told, prints = {}, {}
    for name in ("policy", "terminal_value"):
        if (path := getattr(command, name)) is not None:
            told[name] = str((folder / path).absolute())
            prints[name] = saving.about(saving.folder_of(folder / path)).get("fingerprint")
    return told | ({"folder": str(folder.absolute()), "fingerprints": prints} if told else {})


def _load(name: str, path: Path, command: "Run", model: Any) -> Any:
    from mirrax import learning
    from mirrax.learning.saving import folder_of
    from mirrax.learning.store import ABOUT

    try:
        folder_of(path)
    except ValueError as error:
        other = {"policy": "distil", "terminal_value": "value"}[name]
        wanted = f"a folder that `mirrax learn` or `mirrax {other}` has written"
        raise ValueError(f"{name} must be {wanted}, got {str(path)!r}") from error
    try:
        found = learning.load(path, model)
    except ImportError as error:
        raise ValueError(str(error)) from error
    try:
        title = json.loads((path / ABOUT).read_text(encoding="utf-8")).get("model")
    except (OSError, ValueError):
        title = None
    if title is not None and title != command.model and Path(title).stem != Path(command.model or "").stem:
        print(f"{name} was learnt on {title}, and is used on {command.model}", file=sys.stderr)
    return found


def check_alone(command: "Run") -> None:
    """Raise a `ValueError` for what does not go with a policy that acts alone."""
    given = {name: value for name, value in (command.planner_options or {}).items() if value is not None}
    given |= {"horizon": command.horizon, "terminal_value": command.terminal_value}
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"--{name.replace('_', '-')} goes with a planner, --planner NAME, got {value} and --policy alone"
            )
    if command.devices not in (None, 1):
        raise ValueError(f"devices must be 1 for a policy, which has no plans to spread, got {command.devices}")
