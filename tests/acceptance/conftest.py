"""One PACS for each module, since it takes long to start; tests keep apart by their studies."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.orthanc import Orthanc


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, peer: Callable[[str], str]) -> Iterator[Orthanc]:
    with Orthanc(peer("Orthanc"), tmp_path_factory.mktemp("orthanc")).running() as pacs:
        yield pacs
