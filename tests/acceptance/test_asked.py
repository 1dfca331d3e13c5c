"""A PACS that is asked how many there are: a node whose waits are so long that nothing else can settle a series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import storescu
from tests.acceptance.studies import made_study
from tests.orthanc import Orthanc
from tests.waiting import PATIENCE_S, wait_until

pytestmark = [pytest.mark.long, pytest.mark.timeout(PATIENCE_S)]


def test_a_series_is_whole_when_as_many_came_as_orthanc_has(peer: Callable[[str], str], tmp_path: Path) -> None:
    study = made_study(tmp_path, "asked")
    orthanc = Orthanc(peer("Orthanc"), tmp_path / "orthanc", more={"DicomAlwaysAllowFind": True})
    find = {"ae_title": "PACS1", "address": "127.0.0.1", "port": orthanc.dicom_port, "has_whole_series": True}
    node = NodeUnderTest(
        tmp_path,
        configuration(sources=[{"ae_titles": ["CT1"], "find": find}], completeness={"settle_s": 3600, "quiet_s": 3600}),
    )

    def evidence() -> str:
        account = node.account(study.uid)
        return (account.series[0].evidence or "") if account else ""

    with orthanc.running(), node.running():
        orthanc.store(peer("dcmsend"), study.files)
        storescu(peer("storescu"), node.port, *study.files[:38])
        wait_until(lambda: node.stores.announcements.of_study(study.uid))
        assert not evidence()
        storescu(peer("storescu"), node.port, *study.files[38:])
        wait_until(lambda: node.job_states(study.uid))
    assert evidence().startswith("40 of 40 at PACS1; ")
