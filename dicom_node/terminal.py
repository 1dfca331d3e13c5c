"""What fits a terminal of 80 columns: moments, tables, and entries with long words below them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

_INDENT = 4

STYLES = {
    "alarm": "bold red",
    "warning": "yellow",
    "info": "",
    "failed": "bold red",
    "refused": "bold red",
    "skipped": "dim",
    "done": "green",
    "delivered": "green",
    "running": "cyan",
    "ready": "cyan",
    "waiting": "yellow",
    "arriving": "cyan",
    "whole": "green",
    "incomplete": "yellow",
    "held": "bold red",
    "superseded": "dim",
    "substituted": "yellow",
    "quarantined": "bold red",
    "withdrawn": "dim",
}


def moment(at: float | None) -> str:
    """Local time to the millisecond; nothing for what has not happened."""
    return datetime.fromtimestamp(at).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] if at else ""


def apart(parts: Iterable[RenderableType]) -> RenderableType:
    """One below the other, an empty line after each but the last."""
    return Group(*[line for part in parts for line in (part, "")][:-1])


def table_of(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """Short words that stand in columns, and below them what is long: a UID, a reason, evidence."""

    words: Sequence[Text]
    below: Sequence[RenderableType]


def listing(title: str, entries: Sequence[Entry]) -> RenderableType:
    """Entries one below the other. They fit a terminal of 80 columns, which a table with a UID in it does not."""
    widths = [max(map(cell_len, map(str, column))) for column in zip(*(entry.words for entry in entries), strict=True)]
    lines: list[RenderableType] = [Text(title, "bold")]
    for entry in entries:
        padded = [_padded(word, width) for word, width in zip(entry.words, widths, strict=True)]
        lines.append(Text("  ").join(padded))
        lines += [Padding(text, (0, 0, 0, _INDENT)) for text in entry.below if text]
    return Group(*lines)


def _padded(word: Text, width: int) -> Text:
    return Text.assemble(word, " " * (width - word.cell_len))


def count(number: int, noun: str, plural: str | None = None) -> Text:
    return Text(f"{number} {noun if number == 1 else plural or noun + 's'}")
