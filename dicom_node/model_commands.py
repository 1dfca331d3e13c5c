"""`dicom-node models ...`: make a package and check one. What changes models is in `model_change_commands`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.text import Text

from dicom_node.errors import NodeError
from dicom_node.terminal import table_of

commands = typer.Typer(
    help="Models: make a package, check one, and change which version of a model does what.", no_args_is_help=True
)
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
    public_key: Annotated[
        Path | None,
        typer.Option(help="Its signature must be by the holder of this key (PEM, elliptic curve).", exists=True),
    ] = None,
    certificate: Annotated[
        list[Path] | None,
        typer.Option(
            help="Or by one for whom these certificates (PEM) vouch: the root, and those between it and whoever signs; "
            "may be given several times.",
            exists=True,
        ),
    ] = None,
) -> None:
    """Hold a package against all that can be known before it is used: signature, manifest, digests, weights, golden cases.

    The signature is verified where you say whose it must be, as config.yaml says it in models[].signature; nothing else of the
    package is read then unless it holds. Exit code 1 where a step fails.
    """
    from inference.check import check_package
    from inference.signed import Signers

    if public_key is not None and certificate:
        raise NodeError("--public-key and --certificate both say whose signature it must be: give one of them")
    signers = Signers(public_key, tuple(certificate or ())) if public_key is not None or certificate else None
    table, ok = table_of(str(folder), "step", "", "what was found"), True
    for finding in check_package(folder, device, signers):
        mark = Text("ok", "green") if finding.holds else Text("failed", "bold red")
        table.add_row(finding.step, mark, Text(finding.words))
        ok = ok and finding.holds
    out.print(table)
    if not ok:
        raise typer.Exit(1)
