"""One PACS for each module, since it takes long to start; tests keep apart by their studies."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.dicom_node.peers import Orthanc, free_port


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory, peer: Callable[[str], str]) -> Iterator[Orthanc]:
    folder = tmp_path_factory.mktemp("orthanc")
    pacs = Orthanc(peer("Orthanc"), folder, dicom_port=free_port(), http_port=free_port())
    with pacs.running():
        yield pacs
