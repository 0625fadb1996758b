"""`mirrax train`: learn a model of an environment while planning with it, for a person who watches."""

import contextlib
import dataclasses
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrax.cli.configuration import Configuration, configure
from mirrax.cli.going_on import again, claim, claim_new, first_command, out_of_space, sizes_of
from mirrax.cli.interruption import interruptible

if TYPE_CHECKING:
    from mirrax.cli.commands import Train
    from mirrax.learning import EpisodeRecord, FitProgress

REPORT = "report.html"


def train(command: "Train", arguments: Sequence[str]) -> None:
    """Train; a user's mistake is one clear line, and exits with 2.

    Args:
        command: what to do.
        arguments: the words that it was read from, with which the training can be set up again.
    """
    from mirrax.benchmarks.mistakes import one_clear_line

    with one_clear_line(), contextlib.ExitStack() as to_the_end:
        chosen, model = _configured(command)
        out = command.out
        if out is None:
            out = Path("runs") / f"{Path(chosen.title).stem.replace(':', '.')}-{chosen.name}-learned"
        claim_new("train", out, to_the_end)
        kept = to_the_end.pop_all()
    about = {"command": "train", "model": chosen.title, "arguments": list(arguments)}
    about |= {"mujoco": metadata.version("mujoco"), **chosen.origin}
    with kept:
        _drive(command, chosen, model, out, about, resume=False)


def go_on(command: "Train") -> None:
    """Go on with a training that was ended before its time, or for more episodes.

    Args:
        command: with the folder to go on in; of all else only the number of episodes may be given.
    """
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.cli.own_models import check_unchanged
    from mirrax.learning.store import Store

    out = command.resume
    assert out is not None
    with one_clear_line(), contextlib.ExitStack() as to_the_end:
        about = Store(out).about()
        first = first_command("train", command, about, ("episodes", "tensorboard"))
        chosen, model = _configured(first, Path(about.get("folder") or ""))
        check_unchanged(about, chosen.origin, same_mujoco=about.get("mujoco") == metadata.version("mujoco"))
        claim(out, to_the_end)
        kept = to_the_end.pop_all()
    with kept:
        _drive(first, chosen, model, out, about, resume=True)


def _configured(command: "Train", folder: Path = Path()) -> tuple[Configuration, Any]:
    """What to drive and how to plan, and the model to fit; paths of a model of the user's own begin at `folder`."""
    from mirrax.cli.commands import Run
    from mirrax.dynamics import learned
    from mirrax.dynamics.learned.factory import LEARNED

    shared = {field.name for field in dataclasses.fields(Run)} & {field.name for field in dataclasses.fields(command)}
    given = {name: getattr(command, name) for name in shared - {"resume", "out"}}
    chosen = configure(Run(**given, devices=1, beyond=False), folder)
    model = learned(
        chosen.model,
        hidden=sizes_of(command.hidden),
        num_members=command.members,
        num_particles=command.particles,
        sampling=command.sampling,
        terminate=LEARNED if command.learn_ends else None,
    )
    return chosen, model


def _drive(
    command: "Train", chosen: Configuration, model: Any, out: Path, about: dict[str, Any], *, resume: bool
) -> None:
    """Train to the end, or as far as the user lets it."""
    import jax
    from rich.console import Console

    from mirrax import learning
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.learning.training_report import write_training_report

    console, began, onwards = Console(), time.monotonic(), again("train", out)
    episodes = 10 if command.episodes is None else command.episodes
    status = console.status("") if console.is_terminal else None
    write = None

    def leave(number: int) -> None:
        if status is not None:
            console.show_cursor(True)
        print(f"\nended by signal {number}; go on with: {onwards}", file=sys.stderr, flush=True)

    def fitting(number: int, progress: "FitProgress") -> None:
        if status is not None:
            seen = f"epoch {progress.epoch}, loss {progress.loss:.2f}, best {progress.best:.2f}"
            status.update(f"episode {number} of {episodes}: fitting, {seen}")

    def done(record: "EpisodeRecord") -> None:
        how = "by chance"
        if not record.by_chance:
            how = f"{record.epochs} epochs in {record.fit_seconds:.1f} s, loss {record.holdout_loss:.2f}"
        ended = ", ended" if record.ended else ""
        per_step = 1e3 * record.drive_seconds / record.num_steps
        line = f"episode {record.number}: return {record.earned:.1f} in {record.num_steps} steps{ended} ({how}"
        console.print(f"{line}, {per_step:.0f} ms per step)", highlight=False, soft_wrap=True)
        if write is not None:
            write(record)
        if status is not None:
            status.update(f"episode {record.number + 1} of {episodes}")

    with interruptible(patience=lambda: 0, leave=leave), contextlib.ExitStack() as shown:
        if status is not None:
            shown.enter_context(status)
            status.update("compiling, and the first episode")
        with one_clear_line(), out_of_space(out, f"what was written stays; go on with: {onwards}"):
            if command.tensorboard:
                write = learning.tensorboard(out / "tensorboard")
            training = learning.train(
                chosen.model,
                chosen.make(),
                jax.random.key(command.seed),
                model=model,
                num_episodes=episodes,
                num_steps=chosen.num_steps,
                num_random=command.random_episodes,
                out=out,
                resume=resume,
                about=about,
                progress=done,
                fitting=fitting,
            )
            summary = {
                "Model": chosen.title,
                "Planner": f"{chosen.name}, horizon {chosen.settings['horizon']}",
                "Networks": f"{model.num_members}, hidden layers of {command.hidden}, {model.sampling}",
                "Took": f"{time.monotonic() - began:.0f} s",
            }
            page = out / REPORT
            title = f"{chosen.title}, learned by {chosen.name}"
            write_training_report(page, chosen.model, training, title=title, summary=summary)
    best = training.records[training.best_number]
    console.print(f"best: {best.earned:.1f} in episode {best.number}", highlight=False)
    console.print(str(page), highlight=False, soft_wrap=True)
