"""`mirrax list`: the planners and the models, with one line each."""

import inspect


def list_all() -> None:
    """Print the planners and the models."""
    from rich.console import Console
    from rich.table import Table

    from mirrax import planners
    from mirrax.benchmarks.tasks import TASKS

    lines = {factory.__name__: (inspect.getdoc(factory) or "").split("\n")[0] for factory in planners.PLANNERS}
    for title, entries in (
        ("Planners", lines),
        ("Models", {name: TASKS[name].summary for name in sorted(TASKS)}),
    ):
        table = Table(
            title=title, title_justify="left", title_style="bold", box=None, show_header=False, pad_edge=False
        )
        table.add_column(style="cyan", no_wrap=True)
        table.add_column()
        for name, text in entries.items():
            table.add_row(name, text)
        Console().print(table, "")
