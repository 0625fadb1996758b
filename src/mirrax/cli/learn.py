"""`mirrax learn`: learn a policy, for a person who watches."""

import contextlib
import dataclasses
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrax.cli.configuration import Environment, find_environment
from mirrax.cli.going_on import Opened, again, begun, folder_title, out_of_space, resumed, sizes_of
from mirrax.cli.interruption import interruptible

if TYPE_CHECKING:
    from mirrax.cli.learning_commands import Learn
    from mirrax.learning import UpdateRecord

REPORT = "report.html"
_UPDATES, _LINES, _EPISODES = 300, 20, 4


def learn(command: "Learn", arguments: Sequence[str]) -> None:
    """Learn; a user's mistake is one clear line, and exits with 2.

    Args:
        command: what to do.
        arguments: the words that it was read from, with which the training can be set up again.
    """
    with begun("learn", command, arguments, _configured, _folder_name) as opened:
        _learn(opened, resume=False)


def go_on(command: "Learn") -> None:
    """Go on with a training that was ended before its time, or for more updates.

    Args:
        command: with the folder to go on in; of all else only the number of updates may be given.
    """
    with resumed("learn", command, ("updates", "tensorboard"), _configured) as opened:
        _learn(opened, resume=True)


def _folder_name(env: Environment, algorithm: Any) -> str:
    return f"{folder_title(env.title)}-{algorithm.name}"


def _configured(command: "Learn", folder: Path = Path()) -> tuple[Environment, Any]:
    """What to drive, and how to learn; paths of a model of the user's own begin at `folder`."""
    from mirrax.benchmarks.devices import use_cores
    from mirrax.cli.algorithm_flags import check_algorithm, make_algorithm

    check_algorithm(command.algorithm)
    use_cores(1)
    hidden = sizes_of(command.hidden)
    algorithm = make_algorithm(command.algorithm, command.algorithm_options or {}, hidden)
    return find_environment(command, folder), algorithm


def _learn(opened: Opened, *, resume: bool) -> None:
    """Learn to the end, or as far as the user lets it."""
    import jax
    from rich.console import Console

    from mirrax import learning, planners
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.dynamics import action_space
    from mirrax.learning.learnt_report import play, write_policy_report

    command, env, algorithm, out, about = opened
    console, onwards = Console(), again("learn", out)
    updates = _UPDATES if command.updates is None else command.updates
    status = console.status("") if console.is_terminal else None
    every, earned, write = max(1, updates // _LINES), [], None

    def leave(number: int) -> None:
        if status is not None:
            console.show_cursor(True)
        print(f"\nended by signal {number}; go on with: {onwards}", file=sys.stderr, flush=True)

    def done(record: "UpdateRecord") -> None:
        nonlocal earned
        earned += [record.earned] * record.num_episodes
        told = f"update {record.number + 1} of {updates}: "
        told += f"return {sum(earned) / len(earned):.1f}" if earned else "no episode is over yet"
        told += "".join(f", {name.replace('_', ' ')} {value:.3g}" for name, value in record.numbers.items())
        if status is not None:
            status.update(told)
        if (record.number + 1) % every == 0 or record.number + 1 == updates:
            console.print(f"{told} ({record.seconds:.0f} s)", highlight=False, soft_wrap=True)
            earned = []
        if write is not None:
            write(record)

    with interruptible(patience=lambda: 0, leave=leave), contextlib.ExitStack() as shown:
        if status is not None:
            shown.enter_context(status)
            status.update("compiling, and the first update")
        with one_clear_line(), out_of_space(out, f"what was written stays; go on with: {onwards}"):
            if command.tensorboard:
                write = learning.tensorboard(out / "tensorboard")
            policy = algorithm.first_policy(action_space(env.model), None)
            began = time.monotonic()
            training = learning.learn_policy(
                env.model,
                algorithm,
                jax.random.key(command.seed),
                num_updates=updates,
                num_envs=command.envs,
                num_steps=command.update_steps,
                episode_steps=env.num_steps,
                policy=dataclasses.replace(policy, hidden=sizes_of(command.hidden)),
                out=out,
                resume=resume,
                save_every=command.save_every,
                about=about,
                progress=done,
            )
            took = time.monotonic() - began
            if status is not None:
                status.update("a few episodes of the policy, and the report")
            key = jax.random.key(command.seed + 1)
            acting = planners.controller(training.policy)
            played = play(env.model, acting, key, num_episodes=_EPISODES, num_steps=env.num_steps)
            summary = {
                "Model": env.title,
                "Algorithm": algorithm.name,
                "Networks": f"hidden layers of {command.hidden}",
                "Seed": str(command.seed),
                "Took": f"{took:.0f} s",
            }
            page, title = out / REPORT, f"{env.title}, learned by {algorithm.name}"
            write_policy_report(page, env.model, training, played, title=title, summary=summary)
    mean = float(played.returns.mean())
    if math.isfinite(mean):
        console.print(f"return without noise: {mean:.1f}, mean of {len(played.returns)} episodes", highlight=False)
    console.print(str(page), highlight=False, soft_wrap=True)
    console.print(f"let it act: mirrax run {command.model} --policy {out}", highlight=False, soft_wrap=True)
