"""A modality that tells of its procedure step: what it says of a series decides when that is analysed, and as what."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import generate_uid

from tests.acceptance.node import NodeUnderTest, configuration
from tests.acceptance.pacs import read
from tests.acceptance.studies import Study, made_study
from tests.dicom_node.modality import Modality, association_of
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.timeout(PATIENCE_S)


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NodeUnderTest]:
    """What is missing is an alarm after some seconds, and is given up a little later."""
    waits = {"settle_s": 0.5, "quiet_s": 2, "held_s": 1}
    node = NodeUnderTest(tmp_path_factory.mktemp("node"), configuration(completeness=waits))
    with node.running():
        yield node


def images_of(study: Study) -> list[Dataset]:
    return [dcmread(path) for path in study.files]


def listed(images: list[Dataset]) -> dict[str, list[str]]:
    return {str(images[0].SeriesInstanceUID): [str(image.SOPInstanceUID) for image in images]}


def test_a_series_is_analysed_once_its_step_is_completed_though_its_association_is_open(
    node: NodeUnderTest, tmp_path: Path
) -> None:
    images = images_of(made_study(tmp_path, "listed"))
    modality = Modality(study_instance_uid=str(images[0].StudyInstanceUID))
    with association_of(node.port) as association:
        modality.begin(association)
        for image in images:
            assert association.send_c_store(image).Status == 0x0000
        assert node.job_states(modality.study_instance_uid) == []
        modality.set(association, "COMPLETED", listed(images))
        wait_until(lambda: node.settled(modality.study_instance_uid))
    assert node.job_states(modality.study_instance_uid) == ["done"]
    (series,) = node.stores.studies.series_of(modality.study_instance_uid)
    assert (series.state, series.expected_count) == ("whole", len(images))
    assert "images came that the completed performed procedure step of CT1 lists" in str(series.evidence)


def test_what_a_step_lists_and_never_came_is_an_alarm_and_stands_in_the_report(
    node: NodeUnderTest, tmp_path: Path
) -> None:
    images = images_of(made_study(tmp_path, "short"))
    came, missing = len(images), [generate_uid(), generate_uid()]
    modality = Modality(study_instance_uid=str(images[0].StudyInstanceUID))
    ((series_uid, uids),) = listed(images).items()
    with association_of(node.port) as association:
        modality.begin(association)
        modality.set(association, "COMPLETED", {series_uid: [*uids, *missing]})
        for image in images:
            assert association.send_c_store(image).Status == 0x0000
    wait_until(lambda: node.settled(modality.study_instance_uid))
    kinds = [event.kind for event in node.stores.events.of_study(modality.study_instance_uid)]
    assert kinds.index("series_held") < kinds.index("series_incomplete") < kinds.index("job_queued")
    remark = f"analysed {came} of {came + 2} images"
    reports = reports_on(node, modality.study_instance_uid)
    assert [(report.CompletionFlag, report.CompletionFlagDescription) for report in reports] == [("PARTIAL", remark)]
    told = node.cli("explain", modality.study_instance_uid)
    assert f"{came} of {came + 2} images came" in told.stdout


def reports_on(node: NodeUnderTest, study_instance_uid: str) -> list[Dataset]:
    deliveries = node.stores.outbox.of_study(study_instance_uid)
    return [read(node.stores.objects.get(item.result.object_key)) for item in deliveries if item.result.kind == "sr"]
