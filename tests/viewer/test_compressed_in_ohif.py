"""Which compressed forms of our objects OHIF shows, out of an Orthanc that holds them so: the table in docs/results.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Error

from dicom_node.compression import compressed
from dicom_node.lossless import Method
from tests.viewer.every_object import Study, study_in_ohif
from tests.viewer.test_every_object_in_ohif import LOOKS
from tests.waiting import PATIENCE_S

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]

SHOWN: dict[Method, tuple[str, ...]] = {
    "rle": ("seg_labelmap", "sc"),
    "jpeg2000": ("seg_labelmap", "sc"),
    "deflated": (),
}
UNSEEN: dict[Method, tuple[str, ...]] = {"rle": (), "jpeg2000": (), "deflated": ("seg", "sc")}
"""Where OHIF learns to, the table has to change."""


@pytest.fixture(scope="module", params=SHOWN)
def packed(
    request: pytest.FixtureRequest, peer: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Method, Study]]:
    def pack(part10: bytes) -> bytes:
        form = compressed(part10, [request.param])
        return form.part10 if form else part10

    with study_in_ohif(peer, tmp_path_factory.mktemp(request.param), pack) as study:
        yield request.param, study


def test_ohif_shows_what_is_compressed(packed: tuple[Method, Study]) -> None:
    method, study = packed
    shown = {row: is_shown(study, row) for row in (*SHOWN[method], *UNSEEN[method])}
    assert shown == dict.fromkeys(SHOWN[method], True) | dict.fromkeys(UNSEEN[method], False)


def is_shown(study: Study, row: str) -> bool:
    study.viewer.errors.clear()
    try:
        study.show(row)
        return LOOKS[row](study, row) and study.viewer.errors == []
    except Error:
        return False
    finally:
        study.viewer.screenshot(study.folder / f"{row}.png")
