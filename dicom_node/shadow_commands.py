"""`dicom-node models shadow | compare`: a version runs beside the active one, and how the two compare."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer
from rich.text import Text

from dicom_node.errors import NodeError
from dicom_node.model_change_commands import DEFAULT_CONFIG, ConfigPath, Name, What, Without, opened
from dicom_node.model_commands import commands, out

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
) -> None:
    """How versions that ran beside each other compare, output by output, and where they differ most. Exit code 3: none did."""
    from dicom_node.shadow_compare import comparison_of, document
    from dicom_node.shadow_looks import compared

    if "@" in name:
        raise NodeError(f"{name}: give the name alone; all of its versions that ran beside another are compared")
    with opened(config) as (_, stores, _):
        found = comparison_of(stores.shadows, name)
    if as_json:
        sys.stdout.write(json.dumps(document(found), indent=2) + "\n")
    else:
        out.print(compared(found))
    if not found.against:
        raise typer.Exit(EXIT_NOTHING)
