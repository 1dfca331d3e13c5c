"""One golden case in a worker, where jobs run: what it finds there is what jobs would find."""

from __future__ import annotations

from pathlib import Path

from dicom_node.attempt import RESTART, GoldenOutcome, GoldenSpec
from inference.devices import chosen_device
from inference.golden import run_case
from inference.golden_verdict import Verdict
from inference.package import load_exactly


def run_case_of(spec: GoldenSpec) -> GoldenOutcome:
    """Never raises: a case that cannot be run is one that failed."""
    name = f"case {spec.case + 1}"
    try:
        package = load_exactly(Path(spec.package_folder), spec.package_sha256, RESTART)
        case = package.manifest.golden[spec.case]
        name = case.name
        wanted = package.device_for(spec.device)
        return GoldenOutcome(run_case(package, case, spec.device), chosen_device(wanted).type)
    except Exception as error:  # noqa: BLE001 - a model may fail in any way, and each must be told
        return GoldenOutcome(Verdict(name, (f"{type(error).__name__}: {error}",), 0.0), spec.device)
