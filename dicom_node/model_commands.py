"""`dicom-node models ...`: make a package, check one, list those that are installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from dicom_node.config_file import load_config
from dicom_node.terminal import table_of

commands = typer.Typer(help="Models: make a package, check one, list those that are installed.", no_args_is_help=True)
out = Console(markup=False, emoji=False)

Device = Literal["auto", "cpu", "cuda"]


@commands.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the model: lower case letters, digits and _ (or -).")],
    folder: Annotated[
        Path | None, typer.Option("--folder", "-f", help="Where it is written. Without it: a folder of its name, here.")
    ] = None,
) -> None:
    """Write a model package that runs, with all that a package has, to be changed into your own."""
    from inference.scaffold import write_package

    written = write_package(folder or Path(name), name.replace("-", "_"))
    out.print(Text.assemble(("written: ", "green"), str(written)), soft_wrap=True)
    out.print(
        f"Next: put your weights there, say in model.yaml what they need, and run: dicom-node models check {written}"
    )


@commands.command()
def check(
    folder: Annotated[Path, typer.Argument(help="The folder of the package.")],
    device: Annotated[Device, typer.Option(help="Where its golden cases are run.")] = "auto",
) -> None:
    """Hold a package against all that can be known before it is used: manifest, digests, weights, golden cases.

    Exit code 1 where a step fails.
    """
    from inference.check import check_package

    table, ok = table_of(str(folder), "step", "", "what was found"), True
    for finding in check_package(folder, device):
        mark = Text("ok", "green") if finding.holds else Text("failed", "bold red")
        table.add_row(finding.step, mark, Text(finding.words))
        ok = ok and finding.holds
    out.print(table)
    if not ok:
        raise typer.Exit(1)


@commands.command(name="list")
def list_models(
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The configuration file.", envvar="DICOM_NODE_CONFIG")
    ] = Path("config.yaml"),
) -> None:
    """Show the models that are built in, and those that the configuration names, with what they are for."""
    from inference.registry import Registry

    loaded = load_config(config)
    names = {model.name: model for model in loaded.models}
    table = table_of("models", "model", "runtime", "configured", "intended use")
    for package in Registry([model.folder for model in loaded.models if model.folder]):
        model = names.get(package.key) or names.get(package.manifest.name)
        state = "no" if model is None else "yes" if model.enabled else "switched off"
        table.add_row(package.key, package.manifest.runtime.kind, state, Text(package.manifest.intended_use))
    out.print(table)
