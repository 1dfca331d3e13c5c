"""`dicom-node models shadow | compare`: a version runs beside the active one, and how the two compare."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from dicom_node.errors import NodeError
from dicom_node.model_change_commands import DEFAULT_CONFIG, ConfigPath, Name, What, Without, opened
from dicom_node.model_commands import commands, out
from dicom_node.progress import doing

if TYPE_CHECKING:
    from dicom_node.config import Config
    from dicom_node.stores import Stores

__all__ = ["commands"]  # with all others of models

EXIT_NOTHING = 3


@commands.command()
def shadow(
    what: What,
    config: ConfigPath = DEFAULT_CONFIG,
    *,
    off: Annotated[bool, typer.Option("--off", help="End it; a NAME alone will do.")] = False,
    without_golden_cases: Without = False,
) -> None:
    """Run a version beside the active one: after each of its jobs, on the same images. Nothing of it is sent.

    First its golden cases are run; exit code 1, and no change, where one fails. `compare` shows how the two differ.
    """
    from dicom_node.shadow_changes import begin, end

    with opened(config) as (loaded, stores, versions):
        if off:
            version, ended = end(stores, versions, what.partition("@")[0])
            waited = f"; {ended} of its jobs had not started" if ended else ""
            out.print(Text(f"{version.key} does not run beside another version any more{waited}", "green"))
            return
        begun = begin(loaded, stores, versions, what, without_golden_cases=without_golden_cases)
    for reason in begun.refusals:
        out.print(Text.assemble(("refused: ", "bold red"), f"{begun.version.key}: {reason}"), soft_wrap=True)
    if begun.refusals:
        raise typer.Exit(1)
    words = f"{begun.version.key} runs beside {begun.beside.key}; dicom-node models compare {begun.version.name}"
    out.print(Text(words, "green"), soft_wrap=True)


@commands.command()
def compare(
    name: Name,
    config: ConfigPath = DEFAULT_CONFIG,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    study: Annotated[
        str | None,
        typer.Option(help="With --write: Accession Number or Study Instance UID of a study that both analysed."),
    ] = None,
    write: Annotated[
        Path | None, typer.Option(help="A folder for SEG and SR of both on that study, made anew, to be looked at.")
    ] = None,
) -> None:
    """How versions that ran beside each other compare, output by output, and where they differ most. Exit code 3: none did."""
    from dicom_node.shadow_compare import comparison_of, document
    from dicom_node.shadow_looks import compared
    from dicom_node.shadow_write import jobs_on

    if "@" in name:
        raise NodeError(f"{name}: give the name alone; all of its versions that ran beside another are compared")
    if (study is None) != (write is None):
        raise NodeError("--study and --write belong together: which study, and where its objects are written")
    with opened(config) as (loaded, stores, _):
        found = comparison_of(stores.shadows, name)
        if study is not None and write is not None:
            _write(loaded, stores, jobs_on(found, study), write)
            return
    if as_json:
        sys.stdout.write(json.dumps(document(found), indent=2) + "\n")
    else:
        out.print(compared(found))
    if not found.against:
        raise typer.Exit(EXIT_NOTHING)


def _write(config: Config, stores: Stores, job_ids: Iterable[int], folder: Path) -> None:
    from dicom_node.kept_packages import package_with
    from dicom_node.shadow_write import write_results

    package_of = package_with(config, stores.models.versions())
    with doing() as told:
        for job_id in job_ids:
            for path in write_results(config, stores, job_id, folder, package_of=package_of, told=told):
                out.print(Text.assemble(("written: ", "green"), str(path)), soft_wrap=True)
