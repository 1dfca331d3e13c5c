"""The validator that runs in Java."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.conformance.validators import PIXELMED_JAR


@pytest.fixture(scope="session")
def pixelmed(peer: Callable[[str], str]) -> str:
    """The Java that runs it."""
    if not PIXELMED_JAR.exists():
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"{PIXELMED_JAR} is missing: `make peers`")
    return peer("java")
