"""`mirrax train`: learn a model of an environment while planning with it, for a person who watches."""

import contextlib
import dataclasses
import shlex
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrax.cli.configuration import Configuration, configure
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
    from mirrax.learning.store import ABOUT

    with one_clear_line(), contextlib.ExitStack() as to_the_end:
        chosen, model = _configured(command)
        out = command.out
        if out is None:
            out = Path("runs") / f"{Path(chosen.title).stem.replace(':', '.')}-{chosen.name}-learned"
        if (out / ABOUT).exists():
            raise ValueError(f"out must be a folder without a training, got {str(out)!r}; to go on: {_again(out)}")
        _claim(out, to_the_end)
        kept = to_the_end.pop_all()
    about = {"arguments": list(arguments), "mujoco": metadata.version("mujoco"), **chosen.origin}
    with kept:
        _drive(command, chosen, model, out, about, resume=False)


def go_on(command: "Train") -> None:
    """Go on with a training that was ended before its time, or for more episodes.

    Args:
        command: with the folder to go on in; of all else only the number of episodes may be given.
    """
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.cli.commands import Train
    from mirrax.cli.main import parse
    from mirrax.cli.own_models import check_unchanged
    from mirrax.learning.store import Store

    out = command.resume
    assert out is not None
    with one_clear_line(), contextlib.ExitStack() as to_the_end:
        given = {field.name: getattr(command, field.name) for field in dataclasses.fields(Train)}
        usual = {field.name: field.default for field in dataclasses.fields(Train)}
        given |= given.pop("planner_options") or {}
        for name, value in given.items():
            if name not in ("resume", "episodes", "tensorboard") and value != usual.get(name):
                flag = "MODEL" if name == "model" else f"--{name.replace('_', '-')}"
                raise ValueError(f"{flag} must be left to the training that goes on, got {value!r} beside --resume")
        about = Store(out).about()
        first = parse(["train", *about["arguments"]])
        assert isinstance(first, Train)
        episodes = first.episodes if command.episodes is None else command.episodes
        first = dataclasses.replace(first, episodes=episodes, tensorboard=first.tensorboard or command.tensorboard)
        chosen, model = _configured(first, Path(about.get("folder") or ""))
        check_unchanged(about, chosen.origin, same_mujoco=about.get("mujoco") == metadata.version("mujoco"))
        _claim(out, to_the_end)
        kept = to_the_end.pop_all()
    with kept:
        _drive(first, chosen, model, out, about, resume=True)


def _again(out: Path) -> str:
    """What to type to go on."""
    return f"mirrax train --resume {shlex.quote(str(out))}"


def _claim(out: Path, stack: contextlib.ExitStack) -> None:
    """Make the folder, for one process."""
    from mirrax.results.files import claimed

    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"out must be a folder to write to, got {str(out)!r}: {error.strerror}") from error
    stack.enter_context(claimed(out))


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
        hidden=_sizes(command.hidden),
        num_members=command.members,
        num_particles=command.particles,
        sampling=command.sampling,
        terminate=LEARNED if command.learn_ends else None,
    )
    return chosen, model


def _sizes(words: str) -> tuple[int, ...]:
    try:
        return tuple(int(word) for word in words.split(","))
    except ValueError as error:
        raise ValueError(f"hidden must be numbers of units with commas between them, got {words!r}") from error


def _drive(
    command: "Train", chosen: Configuration, model: Any, out: Path, about: dict[str, Any], *, resume: bool
) -> None:
    """Train to the end, or as far as the user lets it."""
    import jax
    from rich.console import Console

    from mirrax import learning
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.learning.training_report import write_training_report

    console, began = Console(), time.monotonic()
    episodes = 10 if command.episodes is None else command.episodes
    status = console.status("") if console.is_terminal else None
    write = None

    def leave(number: int) -> None:
        if status is not None:
            console.show_cursor(True)
        print(f"\nended by signal {number}; go on with: {_again(out)}", file=sys.stderr, flush=True)

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
        try:
            with one_clear_line():
                if command.tensorboard:
                    write = learning.tensorboard(out / "tensorboard")
                training = learning.train(
                    chosen.model,
                    chosen.alone,
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
        except OSError as error:
            print(f"mirrax: error: could not write to {out}: {error.strerror or error}", file=sys.stderr)
            print(f"what was written stays; go on with: {_again(out)}", file=sys.stderr)
            raise SystemExit(1) from error
    best = training.records[training.best_number]
    console.print(f"best: {best.earned:.1f} in episode {best.number}", highlight=False)
    console.print(str(page), highlight=False, soft_wrap=True)
