"""What takes a while says what it does, on standard error; nothing of it stays, and on no terminal nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

err = Console(stderr=True, markup=False, emoji=False)


@contextmanager
def doing() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar that is told what is done, how far it is, and of how much; None where nobody knows."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task("", total=None)
        yield lambda what, done, of: progress.update(task, description=what, completed=done, total=of)
