"""`dicom-node models ...`: which version of a model is active, which is tried on a share of the studies, and which is off."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from dicom_node.config_in_use import config_of_node
from dicom_node.model_commands import commands, out
from dicom_node.room import size_in_words
from dicom_node.terminal import table_of

if TYPE_CHECKING:
    from dicom_node.config import Config
    from dicom_node.model_changes import Changed, Changes
    from dicom_node.stores import Stores
    from dicom_node.versions import Versions

__all__ = ["commands"]  # with those that make and check packages

ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.", envvar="DICOM_NODE_CONFIG")]
DEFAULT_CONFIG = Path("config.yaml")
What = Annotated[str, typer.Argument(help="NAME@VERSION of a version that is known, or the folder of a package.")]
Name = Annotated[str, typer.Argument(help="Name of the model.")]
Without = Annotated[
    bool, typer.Option("--without-golden-cases", help="It has none, as bundles have none, and is to run all the same.")
]


@commands.command()
def activate(what: What, config: ConfigPath = DEFAULT_CONFIG, *, without_golden_cases: Without = False) -> None:
    """Make a version the active one: for what is queued, and all that comes. First its golden cases are run.

    Exit code 1, and no change, where one fails, or where it is worse than the active version on the cases of that one.
    """
    with _changes(config) as changes:
        changed = changes.activate(what, without_golden_cases=without_golden_cases)
        _show(changed)
        before = f", in place of {changed.former.key}" if changed.former else ""
        _say(f"{changed.version.key} is active{before}")


@commands.command()
def rollback(name: Name, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Make the version active again that was before; effective on the next job, and for what is queued."""
    with _changes(config) as changes:
        version, former = changes.rollback(name)
    _say(f"{version.key} is active, in place of {former.key}")


@commands.command()
def canary(
    what: What,
    share: Annotated[float, typer.Option(help="Percent of the studies; 0 ends it.", min=0, max=100)],
    config: ConfigPath = DEFAULT_CONFIG,
    *,
    without_golden_cases: Without = False,
) -> None:
    """Have a version analyse a share of the studies in place of the active one; under the same conditions as `activate`."""
    with _changes(config) as changes:
        if share == 0:
            ended = changes.end_canary(what.partition("@")[0])
            _say(f"{ended.key} takes no study any more")
            return
        changed = changes.canary(what, share / 100, without_golden_cases=without_golden_cases)
        _show(changed)
        _say(f"{changed.version.key} takes {share:g} % of the studies")


@commands.command()
def disable(
    name: Name,
    config: ConfigPath = DEFAULT_CONFIG,
    reason: Annotated[str, typer.Option(help="Why, for those who look at the node.")] = "by hand",
) -> None:
    """Kill switch, effective at once: what runs is stopped, nothing starts, and what it found is not sent any more."""
    with _changes(config) as changes:
        changes.disable(name, reason)
    _say(f"{name} is disabled; dicom-node models enable {name} lets it run again, and its results go")


@commands.command()
def enable(name: Name, config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Undo `disable`: its jobs run, and what it found is sent."""
    with _changes(config) as changes:
        changes.enable(name)
    _say(f"{name} is enabled")


@commands.command()
def add(
    what: Annotated[str, typer.Argument(help="The folder of a package.")], config: ConfigPath = DEFAULT_CONFIG
) -> None:
    """Keep a version, so that it can be activated, or what it found be reproduced. It runs nothing until then."""
    with _changes(config) as changes:
        version = changes.add(what)
    _say(f"{version.key} is kept, with the content {version.content_sha256}")


@commands.command()
def remove(
    version: Annotated[
        list[str], typer.Argument(help="NAME@VERSION of a version that has no role; several may be given.")
    ],
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Delete the copies of versions that nothing needs any more. What they found stays, and says by which version it was found.

    Refused while a version is active, canary or shadow, is what a rollback returns to, or jobs of it wait or run.
    """
    with _changes(config) as changes:
        for key in version:
            removed, freed_bytes = changes.remove(key)
            _say(f"{removed.key} is removed, which frees {size_in_words(freed_bytes)}")


@commands.command(name="list")
def list_models(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Show every version that is known, what it does, how its golden cases went last, and what it is for."""
    from dicom_node.model_list import lines_of

    with opened(config) as (loaded, stores, versions):
        lines = lines_of(loaded, stores.models, versions)
    table = table_of("models", "model", "runtime", "does", "golden cases", "intended use")
    table.columns[0].no_wrap = True
    for line in lines:
        style = "bold red" if line.is_wrong else ""
        table.add_row(line.key, line.runtime, Text(line.does, style), Text(line.golden), Text(line.intended_use))
    out.print(table)
    for line in lines:
        for word in line.remarks:
            out.print(Text(word, "yellow"), soft_wrap=True)


def _show(changed: Changed) -> None:
    """What was held against what. Ends the command where the version is refused."""
    judgement = changed.judgement
    if judgement.verdicts:
        table = table_of(f"golden cases of {changed.version.key}", "case", "", "what came of it")
        for verdict in judgement.verdicts:
            table.add_row(verdict.case, _mark(holds=verdict.passed), Text(verdict.words))
        out.print(table)
    if judgement.compared and changed.former:
        title = f"against {changed.former.key}, on its golden cases"
        table = table_of(title, "case", "figure", "before", "now", "bound", "")
        for item in judgement.compared:
            sign = "<=" if item.lower_is_better else ">="
            now = item.words or f"{item.now:.6g}"
            bound = f"{sign} {item.bound:.6g}"
            table.add_row(item.case, item.figure, f"{item.before:.6g}", now, bound, _mark(holds=item.holds))
        out.print(table)
    for reason in judgement.refusals:
        out.print(Text.assemble(("refused: ", "bold red"), f"{changed.version.key}: {reason}"), soft_wrap=True)
    if judgement.refusals:
        raise typer.Exit(1)


def _mark(*, holds: bool) -> Text:
    return Text("ok", "green") if holds else Text("failed", "bold red")


def _say(words: str) -> None:
    out.print(Text(words, "green"), soft_wrap=True)


@contextmanager
def _changes(config: Path) -> Iterator[Changes]:
    from dicom_node.model_changes import Changes

    with opened(config) as (loaded, stores, versions):
        yield Changes(loaded, stores.models, versions)


@contextmanager
def opened(config: Path) -> Iterator[tuple[Config, Stores, Versions]]:
    from dicom_node.stores import open_stores
    from dicom_node.versions import versions_of

    loaded = config_of_node(config)
    stores = open_stores(loaded)
    try:
        stores.database.migrate()
        yield loaded, stores, versions_of(loaded, stores)
    finally:
        stores.database.close()
