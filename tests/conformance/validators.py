"""The validators, each as a function from file to its complaints."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.waiting import LIMIT_S

PIXELMED_JAR = Path("/usr/share/java/pixelmed.jar")

XPATH_LIMITS = (
    "xpathExprOpLimit",
    "xpathTotalOpLimit",
    "xpathExprGrpLimit",
    "entityExpansionLimit",
    "totalEntitySizeLimit",
    "maxGeneralEntitySizeLimit",
)
"""Java refuses the validator's large rules unless each of these is lifted; the validator then still exits with 0."""


def dciodvfy_errors(program: str, path: Path) -> list[str]:
    """Lines of dicom3tools' dciodvfy that begin with Error; warnings are not counted."""
    _, lines = run([program, "-new", str(path)])
    assert not any(line.startswith("usage") for line in lines), lines
    return [line for line in lines if line.startswith("Error")]


def pixelmed_errors(java: str, path: Path) -> list[str]:
    """Lines of PixelMed's DicomSRValidator that begin with Error. It must say that it came to its end."""
    quick = ["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]  # it ends before better compilation pays
    flags = [*quick, "-Xss64m", "-Djava.awt.headless=true", *(f"-Djdk.xml.{limit}=0" for limit in XPATH_LIMITS)]
    _, lines = run([java, *flags, "-cp", str(PIXELMED_JAR), "com.pixelmed.validate.DicomSRValidator", str(path)])
    assert "IOD validation complete" in lines, lines[-20:]
    assert "Found Root Template TID_1500 (MeasurementReport)" in lines, lines[-20:]
    return [line for line in lines if line.startswith("Error")]


def dsrdump_errors(program: str, path: Path) -> list[str]:
    """Lines of DCMTK's dsrdump that begin with E: or F:; a report that it cannot read makes it fail."""
    status, lines = run([program, str(path)])
    return [line for line in lines if line.startswith(("E:", "F:"))] + ([f"exit status {status}"] if status else [])


def dcmpschk_errors(program: str, path: Path) -> list[str]:
    """Lines of DCMTK's dcmpschk on a presentation state that begin with E: or F:. It must say that it passed."""
    _, lines = run([program, str(path)])
    errors = [line for line in lines if line.startswith(("E:", "F:"))]
    return errors if any("Test passed" in line for line in lines) else [*errors, "test not passed"]


def run(command: Sequence[str]) -> tuple[int, list[str]]:
    """Exit status and all lines of a program; validators tell by either."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, errors="replace", timeout=LIMIT_S)
    return done.returncode, (done.stdout + done.stderr).splitlines()
