"""`mirrax list`: the planners, and the models with what drives them unless one says otherwise."""

import inspect


def list_all() -> None:
    """Print the planners and the models."""
    from rich.console import Console
    from rich.table import Table

    from mirrax import planners
    from mirrax.benchmarks import robots, suite_tasks
    from mirrax.benchmarks.measured import MEASURED
    from mirrax.benchmarks.tasks import TASKS

    def table(title: str, *, headings: tuple[str, ...] = ()) -> Table:
        made = Table(
            title=title,
            title_justify="left",
            title_style="bold",
            box=None,
            show_header=bool(headings),
            header_style="",
            pad_edge=False,
        )
        made.add_column("", style="cyan", no_wrap=True)
        made.add_column("")
        for heading in headings:
            made.add_column(
                heading, no_wrap=heading == headings[0], justify="left" if heading == headings[0] else "right"
            )
        return made

    lines = table("Planners")
    for factory in planners.PLANNERS:
        lines.add_row(factory.__name__, (inspect.getdoc(factory) or "").split("\n")[0])
    models = table("Models", headings=("planner", "succeeds", "ms / plan", "ms / step"))
    for name, task in [*sorted(TASKS.items()), *robots.TASKS.items()]:
        known = MEASURED.get(name)
        numbers = (
            ("", "", "")
            if known is None
            else (f"{known.successes} of {known.episodes}", f"{known.plan_ms:g}", f"{known.step_ms:g}")
        )
        models.add_row(name, task.summary, task.planner, *numbers)
    suite = f"{len(suite_tasks.SUITE)} of the control suite: CheetahRun, CartpoleSwingup, ... (mirrax[playground])"
    models.add_row(f"{suite_tasks.PREFIX}NAME", suite, "icem", "", "", "")
    models.add_row("FILE.xml", "your own robot: `mirrax new FILE.xml` writes its task", "icem", "", "", "")
    models.add_row("MODULE:FUNCTION", "your own Python, a function that returns a model", "icem", "", "", "")
    for one in (lines, models):
        Console().print(one, "")
    Console().print(
        "succeeds: whole episodes in which this planner stays up and holds the goal; ms on one CPU core.\n"
        "`mirrax run MODEL` takes it, --planner another; `mirrax run --planner NAME --help` shows its options.",
        highlight=False,
    )
