"""`mirrax run`: one planner drives one model, for a person who watches."""

import contextlib
import dataclasses
import functools
import json
import os
import shlex
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mirrax.cli.configuration import Configuration, configure
from mirrax.cli.folders import folder_of
from mirrax.cli.interruption import interruptible, nobody_may_listen

if TYPE_CHECKING:
    from mirrax.cli.commands import Run
    from mirrax.results.journal import Journal


def _again(out: Path) -> str:
    """What to type to go on."""
    return f"mirrax run --resume {shlex.quote(str(out))}"


def run(command: "Run", arguments: Sequence[str]) -> None:
    """Run the command; a user's mistake is one clear line, and exits with 2.

    Args:
        command: what to do.
        arguments: the words that it was read from, with which the run can be set up again.
    """
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.cli.own_models import engine_of
    from mirrax.report import known_duration
    from mirrax.results.files import claimed
    from mirrax.results.journal import make_room
    from mirrax.results.parameters import described

    with one_clear_line(), contextlib.ExitStack() as to_the_end:
        chosen = configure(command)
        out, made = folder_of(command, chosen)
        to_the_end.enter_context(claimed(out))
        if (moved := make_room(out)) is not None:
            print(f"an unfinished run was moved; to go on with it: {_again(moved)}", flush=True)
        kept = to_the_end.pop_all()
    header = {
        "run": uuid.uuid4().hex,
        "model": chosen.title,
        "engine": engine_of(chosen.model),
        **chosen.origin,
        "planner": chosen.name,
        "backend": getattr(getattr(chosen.model, "env", None), "backend", None),
        "arguments": list(arguments),
        "settings": {name: described(value) for name, value in chosen.settings.items()},
        "parameters": described(chosen.planner),
        "seed": command.seed,
        "num_steps": chosen.num_steps,
        "plans_every": command.plans_every,
        "dt": known_duration(chosen.model),
        "versions": _versions(),
        "environment": _environment(),
        "device": _device(chosen),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    with kept:
        _drive(chosen, out, header, made=made)


def resume(command: "Run") -> None:
    """Go on with a run that was ended before its time, as if it had not been.

    Args:
        command: with the folder to go on in; of all else only the number of steps may be given.
    """
    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.cli.commands import Run
    from mirrax.cli.main import parse
    from mirrax.cli.own_models import check_unchanged
    from mirrax.results.files import claimed
    from mirrax.results.journal import Journal
    from mirrax.results.parameters import described

    with one_clear_line(), contextlib.ExitStack() as to_the_end:
        out = command.resume
        assert out is not None
        given = {field.name: getattr(command, field.name) for field in dataclasses.fields(Run)}
        usual = {field.name: field.default for field in dataclasses.fields(Run)}
        given |= given.pop("planner_options") or {}
        for name, value in given.items():
            if name not in ("resume", "steps") and value != usual.get(name):
                flag = "MODEL" if name == "model" else f"--{name.replace('_', '-')}"
                raise ValueError(f"{flag} must be left to the run that goes on, got {str(value)!r} beside --resume")
        try:
            to_the_end.enter_context(claimed(out))
            journal = Journal.open(out)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ValueError(_nothing_to_resume(out)) from error
        header = journal.header
        first = parse(["run", *header["arguments"]])
        assert isinstance(first, Run)
        steps = header["num_steps"] if command.steps is None else command.steps
        first = dataclasses.replace(first, steps=steps, devices=header["settings"]["devices"])
        if header.get("folder") is not None:  # a model of the user's own, whose engine may be the machine's choice
            first = dataclasses.replace(first, engine=header["engine"])
        chosen = configure(first, Path(header.get("folder") or ""))
        same_mujoco = header["versions"].get("mujoco") == _versions()["mujoco"]
        check_unchanged(header, chosen.origin, same_mujoco=same_mujoco)
        if steps < journal.num_steps:
            raise ValueError(f"steps must be at least the {journal.num_steps} that are done, got {steps}")
        if header["parameters"] != json.loads(json.dumps(described(chosen.planner))):
            raise ValueError("resume must find the planner as it was; a version, or a setting of JAX, has changed it")
        header["settings"]["steps"] = header["num_steps"] = steps
        for name, before, now in [
            *((name, header["versions"].get(name), version) for name, version in _versions().items()),
            *((name, header["environment"].get(name), value) for name, value in _environment().items()),
            ("device", header["device"], _device(chosen)),
        ]:
            if before != now:
                print(f"{name} is {now}, was {before}: what follows may differ in rounding", file=sys.stderr)
        kept = to_the_end.pop_all()
    with kept:
        _drive(chosen, out, header, journal)


def _nothing_to_resume(out: Path) -> str:
    """Why a folder without an unfinished run has nothing to go on from."""
    from mirrax import results

    with contextlib.suppress(ValueError):
        done = results.load(out)
        meant = done.about["num_steps"]
        had = f"has all of its {meant} steps" if done.num_steps == meant else "has come to the end of its episode"
        return f"{out} {had}: there is nothing to go on from; for a longer run start a new one, with --steps"
    return f"resume must be the folder of an unfinished run, got {str(out)!r}"


def _drive(
    chosen: Configuration,
    out: Path,
    header: dict[str, Any],
    journal: "Journal | None" = None,
    made: Sequence[Path] = (),
) -> None:
    """Run to the end, or as far as the user lets it; what ends it from outside leaves what happened so far.

    Folders that were `made` for it go again, the innermost first, where it is ended before there is anything in them.
    """
    import numpy as np

    from mirrax.benchmarks.mistakes import one_clear_line
    from mirrax.cli.beginning import check_first, known_mistakes, leaving_nothing, remove_empty
    from mirrax.cli.closed_loop import compile_loop
    from mirrax.cli.progress import ProgressLine
    from mirrax.cli.results import print_summary, write_results
    from mirrax.results.journal import Journal, is_unfinished

    progress = ProgressLine(f"{header['model']}, {chosen.name}", chosen.num_steps)
    patience = 0  # how many signals to wait through: none where there is nothing to save

    def leave(number: int) -> None:
        progress.abandon(number)
        if is_unfinished(out):
            print(f"go on with: {_again(out)}", file=sys.stderr, flush=True)
        remove_empty(made)

    with (
        interruptible(patience=lambda: patience, leave=leave) as asked_to_end,
        _out_of_space(out),
        contextlib.ExitStack() as files,
    ):
        with progress, _out_of_memory():
            progress.compiling()
            with known_mistakes(), leaving_nothing(made):
                loop = compile_loop(
                    chosen.planner,
                    chosen.model,
                    seed=chosen.seed,
                    prepare=chosen.task.imagined,
                    replan_every=chosen.replan_every,
                )
            header |= {"compile_s": loop.compile_s, "start": _listed(loop.at_start)} | loop.names
            after, done = loop.start, np.zeros(0, object)
            if journal is not None:
                files.callback(journal.close)
                with one_clear_line():
                    after = journal.restore(after)
                journal.write_header()
                done = journal.steps()
            first, ended = len(done), any(step["ended"] for step in done)
            progress.begin(loop.compile_s, [float(step["reward"]) for step in done])
            del done
            for moment in () if ended else loop.run(chosen.num_steps, after, first):
                if journal is None:
                    with one_clear_line(), leaving_nothing(made):
                        check_first(moment.step, loop.names, functools.partial(chosen.model.value, moment.after[0]))
                    journal = Journal.create(out, header, moment.step, {"plan": moment.plan})
                    files.callback(journal.close)
                patience = 1  # the step under way
                keep = journal.num_steps % header["plans_every"] == 0
                journal.append(moment.step, {"plan": moment.plan} if keep else None)
                journal.save(moment.after)
                ended = moment.step["ended"]
                if asked_to_end():
                    break
                progress.show(moment.step)
        assert journal is not None
        journal.check()
        interrupted = bool(asked_to_end()) and not ended and journal.num_steps < chosen.num_steps
        summary = write_results(out, journal, loop.looks, interrupted=interrupted)
        if not interrupted:
            journal.remove()
        if not interrupted:
            print_summary(out, summary)
            return
        with nobody_may_listen():
            print_summary(out, summary)
            print(f"go on with: {_again(out)}")
        raise SystemExit(128 + asked_to_end())


@contextlib.contextmanager
def _out_of_memory() -> Iterator[None]:
    """A run that is too great for the machine is one clear line."""
    import jax

    from mirrax.benchmarks.mistakes import one_clear_line

    try:
        yield
    except (OverflowError, MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        with one_clear_line():
            raise ValueError(f"this does not fit the machine: {' '.join(str(error).split())[:200]}") from error


@contextlib.contextmanager
def _out_of_space(out: Path) -> Iterator[None]:
    """A disk that is full is one clear line, and exits with 1."""
    try:
        yield
    except OSError as error:
        from mirrax.results.journal import is_unfinished

        if not _is_of(error, out):
            raise
        print(f"mirrax: error: could not write to {out}: {error.strerror or error}", file=sys.stderr)
        if is_unfinished(out):
            print(f"what was written stays; go on with: {_again(out)}", file=sys.stderr)
        raise SystemExit(1) from error


def _is_of(error: OSError, out: Path) -> bool:
    """Whether it is the disk with this folder that refuses; a pipe, or a file elsewhere, is another matter."""
    if isinstance(error, BrokenPipeError) or error.errno is None:
        return False
    name = error.filename  # of a file that is open already there is none
    return not isinstance(name, str) or out.resolve() in (Path(name).resolve(), *Path(name).resolve().parents)


def _listed(arrays: Mapping[str, Any]) -> dict[str, Any]:
    return {name: array.tolist() for name, array in arrays.items()}


def _versions() -> dict[str, str]:
    packages = ("mirrax", "jax", "jaxlib", "brax", "mujoco", "mujoco-mjx")
    return {"python": sys.version.split()[0]} | {name: metadata.version(name) for name in packages}


def _environment() -> dict[str, Any]:
    """What else decides about rounding, as far as one can see."""
    import jax

    return {"jax_enable_x64": bool(jax.config.read("jax_enable_x64")), "XLA_FLAGS": os.environ.get("XLA_FLAGS", "")}


def _device(chosen: Configuration) -> str:
    import jax

    return f"{jax.devices()[0].device_kind} × {chosen.settings['devices']}"
