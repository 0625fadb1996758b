"""`mirrax value`: learn what lies beyond a planner's horizon, for a person who watches."""

import contextlib
import dataclasses
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrax.cli.configuration import Configuration
from mirrax.cli.going_on import Opened, again, begun, folder_title, out_of_space, planned, resumed, sizes_of
from mirrax.cli.interruption import interruptible

if TYPE_CHECKING:
    from mirrax.cli.learning_commands import Value
    from mirrax.learning import UpdateRecord

REPORT = "report.html"
_ROUNDS, _EPISODES = 20, 4
_NO_END = 1_000_000  # rounds, where the clock ends them


def value(command: "Value", arguments: Sequence[str]) -> None:
    """Learn; a user's mistake is one clear line, and exits with 2.

    Args:
        command: what to do.
        arguments: the words that it was read from, with which the training can be set up again.
    """
    with begun("value", command, arguments, _configured, _folder_name) as opened:
        _learn(opened, resume=False)


def go_on(command: "Value") -> None:
    """Go on with a training that was ended before its time, or for longer.

    Args:
        command: with the folder to go on in; of all else only the number of rounds and the minutes may be given.
    """
    with resumed("value", command, ("rounds", "minutes", "tensorboard"), _configured) as opened:
        limits = {"rounds": command.rounds, "minutes": command.minutes}
        if any(limit is not None for limit in limits.values()):  # else those that it had
            opened = opened._replace(command=dataclasses.replace(opened.command, **limits))
        _learn(opened, resume=True)


def _folder_name(chosen: Configuration, _: Any) -> str:
    return f"{folder_title(chosen.title)}-{chosen.name}-value"


def _configured(command: "Value", folder: Path = Path()) -> tuple[Configuration, dict[str, Any]]:
    """What to drive and how to plan, and how to learn; paths of a model of the user's own begin at `folder`."""
    from mirrax.dynamics.checks import integer, number

    for name in ("envs", "round_steps", "members", "save_every"):
        integer(name, getattr(command, name))
    if command.rounds is not None:
        integer("rounds", command.rounds)
    if command.minutes is not None:
        number("minutes", command.minutes, above=0.0)
    number("discount", command.discount, minimum=0.0, below=1.0)
    chosen = planned(command, folder, valued=True, beyond=False)
    options = {
        "num_envs": command.envs,
        "num_steps": command.round_steps,
        "episode_steps": chosen.num_steps,
        "discount": command.discount,
        "num_members": command.members,
        "hidden": sizes_of(command.hidden),
        "save_every": command.save_every,
    }
    return chosen, options


def _learn(opened: Opened, *, resume: bool) -> None:
    """Learn to the end, or as far as the user lets it."""
    import jax
    from rich.console import Console

    from mirrax import learning
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.learning.learnt_report import play, write_value_report

    command, chosen, options, out, about = opened
    console, onwards = Console(), again("value", out)
    rounds = command.rounds or (_ROUNDS if command.minutes is None else _NO_END)
    status = console.status("") if console.is_terminal else None
    write, worked = None, False

    def leave(number: int) -> None:
        if status is not None:
            console.show_cursor(True)
        print(f"\nended by signal {number}; go on with: {onwards}", file=sys.stderr, flush=True)

    def done(record: "UpdateRecord") -> None:
        nonlocal worked
        worked = True
        console.print(_told(record, rounds), highlight=False, soft_wrap=True)
        if write is not None:
            write(record)
        if status is not None:
            status.update(f"round {record.number + 2}")

    with interruptible(patience=lambda: 0, leave=leave), contextlib.ExitStack() as shown:
        if status is not None:
            shown.enter_context(status)
            status.update("compiling, and the first round")
        with one_clear_line(), out_of_space(out, f"what was written stays; go on with: {onwards}"):
            if command.tensorboard:
                write = learning.tensorboard(out / "tensorboard")
            began, planner = time.monotonic(), chosen.make()
            training = learning.learn_value(
                chosen.model,
                planner,
                jax.random.key(command.seed),
                num_rounds=rounds,
                max_seconds=None if command.minutes is None else 60.0 * command.minutes,
                out=out,
                resume=resume,
                about=about,
                progress=done,
                **options,
            )
            took = time.monotonic() - began
            if status is not None:
                status.update("a few episodes with the value, and the report")
            key, imagined = jax.random.key(command.seed + 1), training.beyond(chosen.model)
            sizes = {"num_episodes": _EPISODES, "num_steps": chosen.num_steps}
            played = play(chosen.model, planner, key, imagined=imagined, **sizes)
            summary = {
                "Model": chosen.title,
                "Planner": f"{chosen.name}, horizon {chosen.settings['horizon']}",
                "Value": f"discount {command.discount:g}, {command.members} networks, layers of {command.hidden}",
                "Seed": str(command.seed),
                "Took": f"{took:.0f} s",
            }
            page, title = out / REPORT, f"{chosen.title}, the value of {chosen.name}"
            write_value_report(page, chosen.model, training, played, title=title, summary=summary)
    if not worked:
        console.print("all rounds were done: --rounds or --minutes beside --resume give it more", highlight=False)
    mean = f"{played.returns.mean():.1f}, mean of {len(played.returns)} episodes"
    console.print(f"return with the value: {mean}", highlight=False)
    console.print(str(page), highlight=False, soft_wrap=True)
    console.print(f"plan with it: {_with_it(command, chosen, out)}", highlight=False, soft_wrap=True)


def _told(record: "UpdateRecord", rounds: int) -> str:
    """A round as a line."""
    of = "" if rounds == _NO_END else f" of {rounds}"
    earned = "no episode is over yet"
    if record.num_episodes:
        ended = f", {record.num_ended} of {record.num_episodes} ended" if record.num_ended else ""
        earned = f"return {record.earned:.1f} in {record.episode_length:.0f} steps{ended}"
    error = f"value error {record.numbers['value_error']:.3g}"
    return f"round {record.number + 1}{of}: {earned}, {error} ({record.seconds:.0f} s)"


def _with_it(command: "Value", chosen: Configuration, out: Path) -> str:
    """What to type to plan with the value, by the same planner."""
    from mirrax.cli.flags import NOTHING

    given = {name: getattr(command, name) for name in ("task", "engine", "backend")}
    given |= {"planner": chosen.name, "horizon": chosen.settings["horizon"]}
    given |= {**(command.planner_options or {}), "terminal_value": out}
    words = ["mirrax", "run", str(command.model)]
    for name, word in given.items():
        if word is not None:
            word = ",".join(map(str, word)) if isinstance(word, tuple) else None if word is NOTHING else word
            words += [f"--{name.replace('_', '-')}", str(word)]
    return shlex.join(words)
