"""`mirrax distil`: learn a plan network from what a planner does, for a person who watches."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from mirrax.cli.configuration import Configuration
from mirrax.cli.going_on import Opened, begun, folder_title, out_of_space, planned, sizes_of
from mirrax.cli.interruption import interruptible

if TYPE_CHECKING:
    from mirrax.cli.learning_commands import Distil
    from mirrax.learning import FitProgress

REPORT = "report.html"
_EPISODES = 4  # of the network alone


def distil(command: "Distil", arguments: Sequence[str]) -> None:
    """Distil; a user's mistake is one clear line, and exits with 2.

    Args:
        command: what to do.
        arguments: the words that it was read from.
    """
    with begun("distil", command, arguments, _configured, _folder_name, resumes=False) as opened:
        _distil(opened)


def _folder_name(chosen: Configuration, _: Any) -> str:
    return f"{folder_title(chosen.title)}-{chosen.name}-distilled"


def _configured(command: "Distil") -> tuple[Configuration, Any]:
    """What to drive and how to plan, and the network."""
    import jax

    from mirrax.cli.flags import takes_loop_options
    from mirrax.dynamics.checks import integer
    from mirrax.planners.policies import plan_network

    chosen = planned(command)
    if not takes_loop_options(chosen.name):
        raise ValueError(f"planner must be one that samples plans, such as vi_mpc or smc, got {chosen.name}")
    integer("episodes", command.episodes)
    integer("epochs", command.epochs)
    network = plan_network(chosen.settings["horizon"], hidden=sizes_of(command.hidden))
    return chosen, network.init(chosen.model, jax.jit(chosen.model.init)(jax.random.key(0)))


def _distil(opened: Opened) -> None:
    """Let the planner drive, learn what it did, and write it."""
    import jax
    from rich.console import Console

    from mirrax import learning, planners
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.learning.learnt_report import play, write_distilled_report
    from mirrax.learning.saving import LEARNT
    from mirrax.learning.store import Store

    command, chosen, network, out, about = opened
    console, store = Console(), Store(out)
    status = console.status("") if console.is_terminal else None

    def leave(number: int) -> None:
        if status is not None:
            console.show_cursor(True)
        print(f"\nended by signal {number}: nothing was learnt yet", file=sys.stderr, flush=True)

    def fitting(progress: "FitProgress") -> None:
        store.complete({"epoch": progress.epoch, "loss": progress.loss}, synced=False)
        if status is not None:
            status.update(f"epoch {progress.epoch} of {progress.max_epochs}: loss {progress.loss:.3f}")

    with interruptible(patience=lambda: 0, leave=leave), contextlib.ExitStack() as shown:
        if status is not None:
            shown.enter_context(status)
            status.update("compiling, and the first episode")
        with one_clear_line(), out_of_space(out, "nothing was learnt: make room, and distil again"):
            store.begin(about)
            drive_key, fit_key, play_key = jax.random.split(jax.random.key(command.seed), 3)
            returns: list[float] = []
            targets: list[learning.PlanTargets] = []
            for number, (earned, found) in enumerate(_episodes(chosen, drive_key, command.episodes)):
                returns.append(earned)
                targets.append(found)
                store.complete({"episode": number, "earned": earned, "states": len(found.mean)})
                how = ", by plans that are drawn" if number % 2 else ""
                console.print(f"episode {number}: return {earned:.1f}{how}", highlight=False)
                if status is not None:
                    status.update(f"episode {number + 1} of {command.episodes}")
            network, report = learning.distil(
                network, targets[0].joined(*targets[1:]), fit_key, max_epochs=command.epochs, progress=fitting
            )
            learning.save(out / LEARNT, network)
            controller = planners.controller(network)
            played = play(chosen.model, controller, play_key, num_episodes=_EPISODES, num_steps=chosen.num_steps)
            summary = {
                "Model": chosen.title,
                "Planner": f"{chosen.name}, horizon {network.horizon}",
                "Network": f"hidden layers of {command.hidden}",
                "Seed": str(command.seed),
                "Took": f"{report.seconds:.0f} s, without the planner's episodes",
            }
            page, title = out / REPORT, f"{chosen.title}, distilled from {chosen.name}"
            write_distilled_report(page, chosen.model, report, returns, played, title=title, summary=summary)
    loss = f"loss {report.first_loss:.2f} at first, {report.holdout_loss.min():.2f} in epoch {report.best_epoch}"
    console.print(loss, highlight=False)
    mean = f"{played.returns.mean():.1f}, mean of {len(played.returns)} episodes"
    console.print(f"return of the network alone: {mean}", highlight=False)
    console.print(str(page), highlight=False, soft_wrap=True)
    with_it = f"--planner {chosen.name} --policy {out}"
    console.print(f"plan with it: mirrax run {command.model} {with_it}", highlight=False, soft_wrap=True)


def _episodes(chosen: Configuration, key: Any, count: int) -> Iterator[tuple[float, Any]]:
    """What the planner earns in episodes, and what it has found in the states of each.

    Every second episode is by plans that are drawn: it shows what to do off the best way.
    """
    import jax

    from mirrax import learning, planners
    from mirrax.dynamics import bounded

    keep, model = ("weights", "samples"), chosen.task.imagined(chosen.model)
    teachers = chosen.make(keep=keep), chosen.make(keep=keep, execute="sample")
    play = jax.jit(planners.episode, static_argnames="num_steps")
    limit = 1.0 if bounded(model) else None
    for number in range(count):
        own_key = jax.random.fold_in(key, number)
        happened = play(teachers[number % 2], model, model, own_key, num_steps=chosen.num_steps)
        yield float(happened.rewards.sum()), learning.episode_targets(happened, limit=limit)
