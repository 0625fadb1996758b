"""`mirrax train`: learn a model of an environment while planning with it, for a person who watches."""

import contextlib
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrax.cli.configuration import Configuration
from mirrax.cli.going_on import Opened, again, begun, folder_title, out_of_space, planned, resumed, sizes_of
from mirrax.cli.interruption import interruptible

if TYPE_CHECKING:
    from mirrax.cli.learning_commands import Train
    from mirrax.learning import EpisodeRecord, FitProgress

REPORT = "report.html"


def train(command: "Train", arguments: Sequence[str]) -> None:
    """Train; a user's mistake is one clear line, and exits with 2.

    Args:
        command: what to do.
        arguments: the words that it was read from, with which the training can be set up again.
    """
    with begun("train", command, arguments, _configured, _folder_name) as opened:
        _drive(opened, resume=False)


def go_on(command: "Train") -> None:
    """Go on with a training that was ended before its time, or for more episodes.

    Args:
        command: with the folder to go on in; of all else only the number of episodes may be given.
    """
    with resumed("train", command, ("episodes", "tensorboard"), _configured) as opened:
        _drive(opened, resume=True)


def _folder_name(chosen: Configuration, _: Any) -> str:
    return f"{folder_title(chosen.title)}-{chosen.name}-learned"


def _configured(command: "Train", folder: Path = Path()) -> tuple[Configuration, Any]:
    """What to drive and how to plan, and the model to fit; paths of a model of the user's own begin at `folder`."""
    from mirrax.cli.own_functions import own_function
    from mirrax.dynamics import learned
    from mirrax.dynamics.learned.factory import LEARNED

    chosen = planned(command, folder, beyond=False)
    own: dict[str, Any] = {"reward": LEARNED, "ends": LEARNED if command.learn_ends else None}
    for name in own:
        if (word := getattr(command, name)) is None:
            continue
        if name == "ends" and not command.learn_ends:
            raise ValueError(
                f"ends must be left out beside --no-learn-ends, with which no episode ends, got {word!r}"
            )
        own[name], source = own_function(name, word, folder)
        prints = {**chosen.origin.get("fingerprints", {}), **source["fingerprints"]}
        chosen = chosen._replace(origin={**chosen.origin, **source, "fingerprints": prints})
    model = learned(
        chosen.model,
        hidden=sizes_of(command.hidden),
        num_members=command.members,
        num_particles=command.particles,
        sampling=command.sampling,
        noisy=command.noisy,
        reward=own["reward"],
        terminate=own["ends"],
    )
    return chosen, model


def _drive(opened: Opened, *, resume: bool) -> None:
    """Train to the end, or as far as the user lets it."""
    import jax
    from rich.console import Console

    from mirrax import learning
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.learning.training_report import write_training_report

    command, chosen, model, out, about = opened
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
