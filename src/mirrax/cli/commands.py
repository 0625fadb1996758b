"""The commands of the command line, and what each takes; those that learn are in `learning_commands`."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

import tyro

from mirrax.cli.reading import OptionalInt, option, read_as

Benchmark = Literal[
    "speed",
    "busy",
    "blocks",
    "derivatives",
    "agreement",
    "returns",
    "survival",
    "open_loop",
    "peers",
    "contention",
    "engines",
    "constraints",
    "faults",
    "suite",
    "learning",
    "amortised",
    "policies",
    "values",
]
BENCHMARKS: tuple[str, ...] = get_args(Benchmark)


@dataclasses.dataclass(frozen=True)
class Run:
    """Drive a model with a planner in closed loop; write result.json, arrays.npz and report.html.

    What is not given is taken from settings that work for the model, which may differ from the defaults below;
    result.json has them.
    """

    model: Annotated[str | None, tyro.conf.Positional, option("MODEL")] = None
    """Name of a model (`mirrax list` shows them); or a MuJoCo file, with --task; or a function of yours that makes a
    model, package.module:function."""
    planner: Annotated[str | None, option("NAME")] = None
    """Name of a planner; `mirrax list` shows them. Unless given, one that suits the model."""
    horizon: OptionalInt = None
    """Steps that plans look ahead."""
    task: Annotated[Path | None, read_as(Path, what="the name of a file"), option("FILE")] = None
    """Of a MuJoCo file: a Python file with its reward; `mirrax new` writes one to start from."""
    engine: Annotated[str | None, option("NAME")] = None
    """What simulates a MuJoCo file: mujoco (the fastest on CPUs), mjx (accelerators, derivatives) or brax (Brax's
    own, without sensors); unless given mujoco or mjx, as suits the machine. Named models have their own."""
    backend: Annotated[str | None, option("NAME")] = None
    """Physics of Brax: spring, positional, generalized; of its environments mjx, too."""
    steps: OptionalInt = None
    """Length of the episode, in steps."""
    seed: Annotated[int, read_as(int)] = 0
    """Seed of everything random. For the same numbers give --devices, too: else the machine's load decides."""
    out: Annotated[Path | None, read_as(Path), option("DIR")] = None
    """Folder to write to; runs/MODEL-PLANNER unless given. Results that are there are replaced in the end."""
    resume: Annotated[Path | None, read_as(Path), option("DIR")] = None
    """Go on with the run that was ended before its time in this folder; of other options takes --steps. A run that is
    complete has nothing to go on from."""
    plans_every: Annotated[int, read_as(int), option("INT")] = 10
    """How often a plan is kept in arrays.npz, in steps."""
    replan_every: Annotated[int, read_as(int), option("INT")] = 1
    """How many steps are by one planning. Between plannings the plan is executed, by ilqr and iterative_policy with
    feedback."""
    devices: OptionalInt = None
    """Devices to spread the plans over; as many as have a core and work to share unless given."""
    beyond: Annotated[bool, option("")] = True
    """Give the planner the value beyond its horizon that the model's task has, if it has one."""
    policy: Annotated[Path | None, read_as(Path), option("DIR")] = None
    """What `mirrax learn` or `mirrax distil` has learnt: with --planner its prior (of smc its proposal; of planners
    without a prior it draws some of the plans), without it acts alone."""
    terminal_value: Annotated[Path | None, read_as(Path), option("DIR")] = None
    """What `mirrax value` or `mirrax learn` has learnt, whose value is the planner's beyond its horizon."""
    planner_options: tyro.conf.Suppress[Any] = None
    """Options of the planner, by name; `parse` fills it."""


@dataclasses.dataclass(frozen=True)
class New:
    """Write a task file for a MuJoCo file, to start from: a reward, and all names and ranges as comments."""

    model: Annotated[Path, read_as(Path, what="the name of a file"), tyro.conf.Positional, option("FILE")]
    """A MuJoCo file, such as robot.xml."""
    out: Annotated[Path | None, read_as(Path, what="the name of a file"), option("FILE")] = None
    """The file to write; robot_task.py in this folder unless given. One that is there stays."""


@dataclasses.dataclass(frozen=True)
class Compare:
    """Show several runs side by side: a table, what differs in their settings, and a page of charts."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, option("DIR [DIR ...]")]
    """Folders of results, two at least."""
    out: Annotated[Path | None, read_as(Path), option("FILE")] = None
    """The page to write; compare.html in the folder that all of them lie in unless given."""


@dataclasses.dataclass(frozen=True)
class List:
    """Show the planners, and the models with what drives them, how it does and what it costs."""

    map: Annotated[bool, option("")] = False
    """Show all algorithms on the map instead: iterative or amortised, over plans or policies, with equation and
    file."""


@dataclasses.dataclass(frozen=True)
class Bench:
    """Run a benchmark and print its table; `mirrax bench NAME --help` shows its options."""

    name: Annotated[Benchmark, tyro.conf.Positional]
    """speed: the loop against a bare scan. busy: the same planning on an idle and on a busy machine. blocks: what
    blocks and devices gain, model by model. derivatives: iLQR per solve, and slopes of plans against returns.
    agreement: where derivatives agree with finite differences. returns: what planners earn for equal numbers of model
    steps. survival: whole episodes, and how many are survived. open_loop: how good an open-loop plan each planner
    finds. peers: cost of hydrax's tasks at its settings. contention: runs over chosen, one and all devices, idle and
    beside other work. engines: steps per second of Brax, MJX and MuJoCo's C engine. constraints: what constraints
    keep, and penalties do not. faults: what a run loses when it is ended from outside. suite: returns on MuJoCo
    Playground's control suite and on robots of MJCF files, beside those of doing nothing and of chance. learning:
    curves of planning with a model that is learnt meanwhile, beside the true one. amortised: returns of planners with
    fewer plans, primed with a network that was distilled from them, and the share of plannings that it saves.
    policies: learning curves of amortised policies, algorithm by algorithm. values: whole episodes with learnt values
    beyond the horizon, beside PPO that has learnt as long."""
