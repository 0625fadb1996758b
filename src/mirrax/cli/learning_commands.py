"""The commands that learn, and what each takes."""

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import tyro

from mirrax.cli.reading import OptionalInt, option, read_as


@dataclasses.dataclass(frozen=True)
class Train:
    """Learn a model of an environment while planning with it; write metrics, checkpoints and report.html.

    The first episodes are by chance. Before each of the others networks are fitted to all that has happened so far,
    and a planner drives the environment by them.
    """

    model: Annotated[str | None, tyro.conf.Positional, option("MODEL")] = None
    """What to drive, and to learn: as in `mirrax run`."""
    planner: Annotated[str | None, option("NAME")] = "vi_mpc"
    """Name of a planner; `mirrax list` shows them."""
    horizon: OptionalInt = None
    """Steps that plans look ahead."""
    task: Annotated[Path | None, read_as(Path, what="the name of a file"), option("FILE")] = None
    """Of a MuJoCo file: a Python file with its reward."""
    engine: Annotated[str | None, option("NAME")] = None
    """What simulates a MuJoCo file: mujoco, mjx or brax."""
    backend: Annotated[str | None, option("NAME")] = None
    """Physics of Brax: spring, positional, generalized; of its environments mjx, too."""
    episodes: OptionalInt = None
    """How many episodes there are in all; 10 unless given."""
    random_episodes: Annotated[int, read_as(int)] = 1
    """How many of them are by chance."""
    steps: OptionalInt = None
    """Length of an episode, in steps."""
    members: Annotated[int, read_as(int)] = 5
    """How many networks there are."""
    hidden: Annotated[str, option("INT[,...]")] = "64,64"
    """Sizes of their hidden layers, with commas between them."""
    sampling: Annotated[str, option("NAME")] = "ts_inf"
    """ts_inf: one network for a whole plan. ts1: another one at each step."""
    particles: OptionalInt = None
    """In how many scenarios a plan is tried; as many as there are networks unless given."""
    noisy: Annotated[bool, option("")] = True
    """Let plans meet the noise that networks expect, else the networks' means."""
    reward: Annotated[str | None, option("FUNCTION")] = None
    """The reward, module:function of observation, action within [-1, 1] and next observation; learnt unless given."""
    ends: Annotated[str | None, option("FUNCTION")] = None
    """Whether an episode ends, module:function of the next observation, instead of learning that."""
    learn_ends: Annotated[bool, option("")] = True
    """Learn when episodes end, too."""
    seed: Annotated[int, read_as(int)] = 0
    """Seed of everything random."""
    out: Annotated[Path | None, read_as(Path), option("DIR")] = None
    """Folder to write to; runs/MODEL-PLANNER-learned unless given."""
    resume: Annotated[Path | None, read_as(Path), option("DIR")] = None
    """Go on with the training in this folder; of other options takes --episodes."""
    tensorboard: Annotated[bool, option("")] = False
    """Write events of TensorBoard, too."""
    planner_options: tyro.conf.Suppress[Any] = None
    """Options of the planner, by name; `parse` fills it."""


@dataclasses.dataclass(frozen=True)
class Learn:
    """Learn a policy, one distribution over actions for all states; write metrics, checkpoints and report.html.

    `mirrax run MODEL --policy DIR` lets it act, `--planner smc --policy DIR` plans from it, and `--planner icem
    --terminal-value DIR` plans with its value beyond the horizon.
    """

    model: Annotated[str | None, tyro.conf.Positional, option("MODEL")] = None
    """What to drive: as in `mirrax run`."""
    algorithm: Annotated[str, option("NAME")] = "v_mpo"
    """How to learn: policy_gradient, soft_q_learning, mpo, v_mpo; of actions that are vectors ppo, sac."""
    task: Annotated[Path | None, read_as(Path, what="the name of a file"), option("FILE")] = None
    """Of a MuJoCo file: a Python file with its reward."""
    engine: Annotated[str | None, option("NAME")] = None
    """What simulates a MuJoCo file: mujoco, mjx or brax."""
    backend: Annotated[str | None, option("NAME")] = None
    """Physics of Brax: spring, positional, generalized; of its environments mjx, too."""
    updates: OptionalInt = None
    """How many updates there are in all; 300 unless given."""
    envs: Annotated[int, read_as(int)] = 16
    """How many copies of the environment are driven at once."""
    update_steps: Annotated[int, read_as(int)] = 32
    """How many steps of each there are in an update."""
    steps: OptionalInt = None
    """Length of an episode, in steps."""
    hidden: Annotated[str, option("INT[,...]")] = "64,64"
    """Sizes of the hidden layers of the networks, with commas between them."""
    save_every: Annotated[int, read_as(int)] = 100
    """After how many updates there is a checkpoint."""
    seed: Annotated[int, read_as(int)] = 0
    """Seed of everything random."""
    out: Annotated[Path | None, read_as(Path), option("DIR")] = None
    """Folder to write to; runs/MODEL-ALGORITHM unless given."""
    resume: Annotated[Path | None, read_as(Path), option("DIR")] = None
    """Go on with the training in this folder; of other options takes --updates."""
    tensorboard: Annotated[bool, option("")] = False
    """Write events of TensorBoard, too."""
    algorithm_options: tyro.conf.Suppress[Any] = None
    """Options of the algorithm, by name; `parse` fills it."""


@dataclasses.dataclass(frozen=True)
class Distil:
    """Learn a plan network, a Gaussian over plans for each state, from what a planner does; write it and report.html.

    `mirrax run MODEL --policy DIR` lets it act, and `--planner NAME --policy DIR` plans from it.
    """

    model: Annotated[str | None, tyro.conf.Positional, option("MODEL")] = None
    """What to drive: as in `mirrax run`."""
    planner: Annotated[str | None, option("NAME")] = "vi_mpc"
    """Name of a planner that samples plans; `mirrax list` shows them."""
    horizon: OptionalInt = None
    """Steps that plans look ahead."""
    task: Annotated[Path | None, read_as(Path, what="the name of a file"), option("FILE")] = None
    """Of a MuJoCo file: a Python file with its reward."""
    engine: Annotated[str | None, option("NAME")] = None
    """What simulates a MuJoCo file: mujoco, mjx or brax."""
    backend: Annotated[str | None, option("NAME")] = None
    """Physics of Brax: spring, positional, generalized; of its environments mjx, too."""
    episodes: Annotated[int, read_as(int)] = 10
    """How many episodes of the planner to learn from; every second one by plans that are drawn, off the best way."""
    steps: OptionalInt = None
    """Length of an episode, in steps."""
    hidden: Annotated[str, option("INT[,...]")] = "64,64"
    """Sizes of the hidden layers of the network, with commas between them."""
    epochs: Annotated[int, read_as(int)] = 200
    """The greatest number of passes over what the planner has done."""
    seed: Annotated[int, read_as(int)] = 0
    """Seed of everything random."""
    out: Annotated[Path | None, read_as(Path), option("DIR")] = None
    """Folder to write to; runs/MODEL-PLANNER-distilled unless given."""
    planner_options: tyro.conf.Suppress[Any] = None
    """Options of the planner, by name; `parse` fills it."""


@dataclasses.dataclass(frozen=True)
class Value:
    """Learn what lies beyond a planner's horizon from its own episodes; write metrics, checkpoints and report.html.

    A round drives copies of the environment by planning with the value there is, at first 0, and fits the value to
    what came of it (POLO). `mirrax run MODEL --planner NAME --terminal-value DIR` plans with it.
    """

    model: Annotated[str | None, tyro.conf.Positional, option("MODEL")] = None
    """What to drive: as in `mirrax run`."""
    planner: Annotated[str | None, option("NAME")] = "vi_mpc"
    """Name of a planner; `mirrax list` shows them. It plans without the value that the model's task has, and without
    steps of coming to rest, unless you give them."""
    horizon: OptionalInt = None
    """Steps that plans look ahead."""
    task: Annotated[Path | None, read_as(Path, what="the name of a file"), option("FILE")] = None
    """Of a MuJoCo file: a Python file with its reward."""
    engine: Annotated[str | None, option("NAME")] = None
    """What simulates a MuJoCo file: mujoco, mjx or brax."""
    backend: Annotated[str | None, option("NAME")] = None
    """Physics of Brax: spring, positional, generalized; of its environments mjx, too."""
    rounds: OptionalInt = None
    """How many rounds there are in all; 20 unless given, or with --minutes as many as these have room for."""
    minutes: Annotated[float | None, read_as(float), option("FLOAT")] = None
    """Of wall-clock time, with compilation, after which no round begins."""
    envs: Annotated[int, read_as(int)] = 4
    """How many copies of the environment are driven at once."""
    round_steps: Annotated[int, read_as(int)] = 128
    """How many steps of each there are in a round."""
    steps: OptionalInt = None
    """Length of an episode, in steps; what its last state is worth counts still."""
    discount: Annotated[float, read_as(float)] = 0.99
    """Of the value and of plans, per step: the value looks some 1/(1 - discount) steps ahead."""
    members: Annotated[int, read_as(int)] = 5
    """How many networks there are, whose mean the value is."""
    hidden: Annotated[str, option("INT[,...]")] = "64,64"
    """Sizes of their hidden layers, with commas between them."""
    save_every: Annotated[int, read_as(int)] = 10
    """After how many rounds there is a checkpoint."""
    seed: Annotated[int, read_as(int)] = 0
    """Seed of everything random."""
    out: Annotated[Path | None, read_as(Path), option("DIR")] = None
    """Folder to write to; runs/MODEL-PLANNER-value unless given."""
    resume: Annotated[Path | None, read_as(Path), option("DIR")] = None
    """Go on with the training in this folder; of other options takes --rounds and --minutes, in the place of both
    that it had. The minutes before count."""
    tensorboard: Annotated[bool, option("")] = False
    """Write events of TensorBoard, too."""
    planner_options: tyro.conf.Suppress[Any] = None
    """Options of the planner, by name; `parse` fills it."""
