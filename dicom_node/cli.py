"""The command line: what admins type. Each command reads config.yaml, does one thing, and says what it did."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from dicom_node import shadow_commands
from dicom_node.config import Config
from dicom_node.config_destinations import DicomDestination
from dicom_node.config_file import load_config
from dicom_node.errors import NodeError
from dicom_node.progress import doing
from inference.errors import InferenceError
from storage.errors import StorageError

EXIT_FAILED = 1
EXIT_NOT_FOUND = 3
EXIT_CANNOT = 2

app = typer.Typer(
    name="dicom-node",
    help="A DICOM-native AI node: studies in by C-STORE, findings back as Structured Reports and Segmentations.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
app.add_typer(shadow_commands.commands, name="models")
# What is printed holds the words of peers: a "[/A]" or ":bug:" in an Accession Number stands for itself.
out = Console(markup=False, emoji=False)
err = Console(stderr=True, markup=False, emoji=False)

ConfigPath = Annotated[Path, typer.Option("--config", "-c", help="The configuration file.", envvar="DICOM_NODE_CONFIG")]
DEFAULT_CONFIG = Path("config.yaml")
StudyKey = Annotated[str, typer.Argument(help="Accession Number, Study Instance UID or Patient ID.")]


def main() -> None:
    """Entry point: whatever a person can mend is told in words, without a traceback."""
    try:
        app()
    except (NodeError, StorageError, InferenceError) as error:
        err.print(Text.assemble(("error:", "bold red"), f" {error}"), soft_wrap=True)
        sys.exit(EXIT_FAILED)


@app.command()
def serve(
    config: ConfigPath = DEFAULT_CONFIG,
    log_format: Annotated[
        Literal["text", "json"] | None, typer.Option(help="Instead of logging.format of the configuration.")
    ] = None,
) -> None:
    """Run the node until it is told to stop (Ctrl-C or SIGTERM)."""
    from dicom_node.app import serve as run_node

    def ready(loaded: Config, said: dict[str, dict[str, Any]]) -> None:
        where = f"{loaded.node.address}:{said['acceptor-1']['port']}"
        err.print(Text.assemble((f"{loaded.node.ae_title} is ready", "green"), f" and listens on {where}"))

    run_node(config, ready, log_format)


@app.command()
def demo(
    study: Annotated[
        Path | None, typer.Option(help="A folder with a chest CT to send, instead of the phantom.")
    ] = None,
    output: Annotated[Path, typer.Option(help="Where the results and the pictures are written.")] = Path("demo-output"),
) -> None:
    """Send a chest CT through a node on this machine and show what comes back."""
    from dicom_node.demo import run_demo

    run_demo(out, study, output)


@app.command()
def check(
    config: ConfigPath = DEFAULT_CONFIG,
    connect: Annotated[bool, typer.Option("--connect", help="Also echo every DICOM peer.")] = False,
) -> None:
    """Say everything that is wrong with the configuration, and what to watch."""
    from dicom_node.config_check import check_config, render
    from dicom_node.versions import problems_of_models

    with problems_of_models(config) as problem_of:
        report = check_config(config, connect=connect, model_problem=problem_of)
    out.print(render(report))
    if not report.ok:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def status(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Show processes, queues, destinations, and what went wrong lately. Exit code 1 when a process is not running."""
    from dicom_node import console
    from dicom_node.status import status_of

    with _stores(config) as (loaded, stores):
        node = status_of(loaded, stores, config)
    out.print(console.status(node))
    if not node.is_well:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def explain(
    key: StudyKey,
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Where is this study, and why? From the first association to the last delivery, with evidence and reasons."""
    from dicom_node import account_looks
    from dicom_node.account_document import document
    from dicom_node.history import account_of, judging
    from dicom_node.status import room_now

    now = time.time()
    with _stores(config) as (loaded, stores):
        accounts = account_of(stores, key, room_now(loaded, stores), judging(loaded, stores, now))
    if as_json:
        _print_json(document(key, accounts, now))
    for item in accounts if not as_json else ():
        out.print(account_looks.account(item))
    if not accounts:
        raise _no_such_study()


@app.command()
def replay(
    new: Annotated[Path, typer.Option("--config", "-c", help="The configuration to try.")],
    since: Annotated[
        str, typer.Option(help="Studies whose first image came since then: 7d, 12h, or 2026-01-31T08:00.")
    ],
    until: Annotated[str | None, typer.Option(help="And until then. Without it: now.")] = None,
    running: Annotated[
        Path, typer.Option("--running", help="The configuration to compare with.", envvar="DICOM_NODE_CONFIG")
    ] = DEFAULT_CONFIG,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """What would another configuration have made of past studies? Reads headers that were recorded, and changes nothing."""
    from dicom_node import replay_looks
    from dicom_node.period import moment_of
    from dicom_node.replay_document import document
    from dicom_node.replay_run import Period, replay_files

    now = time.time()
    period = Period(moment_of("--since", since, now), moment_of("--until", until, now) if until else now, now)
    if period.since >= period.until:
        raise NodeError(f"--since {since}: must lie before --until {until or 'now'}")
    with _progress("replaying studies") as told:
        found = replay_files(running, new, period, told)
    if as_json:
        _print_json(document(found))
    else:
        out.print(replay_looks.replayed(found))


@contextmanager
def _progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error that is told how many are done, of how many; gone at the end."""
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@app.command()
def send(
    folder: Annotated[Path, typer.Argument(exists=True, help="A folder (or file) of DICOM instances.")],
    to: Annotated[str, typer.Option("--to", help="Name of a DICOM destination, or AE@host:port.")],
    config: ConfigPath = DEFAULT_CONFIG,
) -> None:
    """Send the instances of a folder by C-STORE."""
    from dicom_node.destinations import peer_of
    from dicom_node.send_folder import send_folder

    loaded = load_config(config)
    peer = peer_of(_destination(loaded, to), loaded.node.ae_title)
    with _progress(f"sending to {to}") as told:
        report = send_folder(folder, peer, told)
    out.print(report.in_words())
    if report.failed:
        raise typer.Exit(EXIT_FAILED)


@app.command()
def requeue(
    key: StudyKey,
    config: ConfigPath = DEFAULT_CONFIG,
    model: Annotated[str | None, typer.Option(help="Only jobs of this model (name or name@version).")] = None,
    deliveries: Annotated[bool, typer.Option("--deliveries", help="Send the results again, do not analyse.")] = False,
    destination: Annotated[str | None, typer.Option(help="With --deliveries: only to this destination.")] = None,
    *,
    stat: Annotated[bool, typer.Option("--stat", help="Before routine jobs; also jobs that still wait.")] = False,
) -> None:
    """Analyse a study again, or send its results again. Results keep their UIDs, so a PACS shows them once."""
    from dicom_node.requeue import analyse_again, send_again

    with _stores(config) as (loaded, stores):
        if stat and deliveries:
            raise NodeError("--stat is of analyses, and --deliveries sends what was analysed: give one of them")
        names = [item.name for item in loaded.destinations]
        if destination and destination not in names:
            raise NodeError(f"--destination {destination}: no destination has that name; known: {', '.join(names)}")
        if not stores.studies.find(key):
            raise _no_such_study()
        if deliveries:
            count = send_again(stores, key, destination)
            what, hint = (
                "result{} put back into the outbox",
                "delivered or refused; what waits is tried again by itself",
            )
        else:
            count = analyse_again(stores, key, model, stat=stat)
            what, hint = "job{} queued again", "done or failed"
            if stat:
                what, hint = "job{} queued as stat", "done or failed, or waits as a routine job"
    out.print(f"{count} {what.format('' if count == 1 else 's')}")
    if not count:
        err.print(f"{key} has none that is {hint}")
        raise typer.Exit(EXIT_NOT_FOUND)


@app.command()
def reproduce(
    sop_instance_uid: Annotated[str, typer.Argument(help="SOP Instance UID of a result; explain shows them.")],
    config: ConfigPath = DEFAULT_CONFIG,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Where it is run, if not where it was.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Run the job of a result again and compare. Exit code 0: the same came out; 1: it did not; 2: it cannot be run."""
    from dicom_node import reproduce_document, reproduce_looks
    from dicom_node.kept_packages import package_with
    from dicom_node.reproduce import reproduce as run_again

    try:
        with _stores(config) as (loaded, stores), doing() as told:
            package_of = package_with(loaded, stores.models.versions())
            found = run_again(loaded, stores, sop_instance_uid, package_of, told, device=device)
    except (NodeError, StorageError, InferenceError) as error:
        if as_json:
            _print_json(reproduce_document.cannot(str(error)))
        else:
            err.print(Text.assemble(("cannot be run:", "bold red"), f" {error}"), soft_wrap=True)
        raise typer.Exit(EXIT_CANNOT) from error
    if as_json:
        _print_json(reproduce_document.document(found))
    else:
        out.print(reproduce_looks.reproduced(found))
    if found.verdict == "differs":
        raise typer.Exit(EXIT_FAILED)


def _print_json(tree: dict[str, Any]) -> None:
    """For machines: no colours on a terminal, no line folded, and nothing but ASCII, whatever peers wrote."""
    sys.stdout.write(json.dumps(tree, indent=2) + "\n")


def _no_such_study() -> typer.Exit:
    err.print("no study has that Accession Number, Study Instance UID or Patient ID")
    return typer.Exit(EXIT_NOT_FOUND)


@contextmanager
def _stores(config: Path) -> Iterator[tuple[Config, Any]]:
    from dicom_node.config_in_use import config_of_node
    from dicom_node.stores import open_stores

    loaded = config_of_node(config)
    stores = open_stores(loaded)
    try:
        stores.database.migrate()
        yield loaded, stores
    finally:
        stores.database.close()


def _destination(config: Config, name: str) -> DicomDestination:
    from dicom_node.destinations import destination_at

    if "@" in name:
        return destination_at(name)
    known = [item for item in config.destinations if isinstance(item, DicomDestination)]
    for item in known:
        if item.name == name:
            return item
    names = ", ".join(item.name for item in known) or "none"
    raise NodeError(f"--to {name}: no DICOM destination has that name; known: {names}; or write AE@host:port")
