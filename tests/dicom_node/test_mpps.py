"""Procedure steps and availability, told by a real SCU to a running acceptor: what is answered, kept and announced."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pynetdicom.dimse_primitives import N_CREATE, N_SET

from dicom_node.completeness import Rules
from dicom_node.evidence import Evidence
from dicom_node.network import status
from dicom_node.refusals import NoticeRefused
from dicom_node.reject import Reject
from dicom_node.routing import Routing
from dicom_node.settle import Settle
from storage.errors import StorageUnavailable
from storage.records.announced import Announcement
from storage.records.received import Series
from tests.dicom_node.acceptors import AcceptorsUnderTest
from tests.dicom_node.modality import IAN, MPPS, Modality, association_of, notify
from tests.dicom_node.raw_scu import associated
from tests.dicom_node.serving import Serving, serving
from tests.encoded import EXPLICIT_LITTLE, Encoding
from tests.key_objects import key_object
from tests.made_rows import open_house
from tests.waiting import eventually

SERIES = "1.2.3.4"
IMAGES = [f"1.2.3.4.{number}" for number in range(5)]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Serving]:
    with serving(tmp_path) as running:
        yield running


def _said(served: Serving, modality: Modality) -> dict[str | None, Announcement]:
    """By series; None for the study as a whole."""
    said = served.house.announcements.of_study(modality.study_instance_uid)
    assert len({one.series_instance_uid for one in said}) == len(said)
    return {one.series_instance_uid: one for one in said}


def _is_whole(served: Serving, modality: Modality) -> bool:
    of_study = served.house.studies.series_of(modality.study_instance_uid)
    return [one.instance_count for one in of_study] == [len(IMAGES)]


# --- a procedure step as it goes ----------------------------------------------------------------------------------


def test_a_step_that_is_completed_after_the_last_image_on_associations_of_their_own(served: Serving) -> None:
    modality = Modality()
    with association_of(served.port) as association:
        assert modality.begin(association).Status == 0x0000
        (said,) = served.house.announcements.of_study(modality.study_instance_uid)
        assert (said.kind, said.state, said.series_instance_uid, said.source) == ("mpps", "in progress", None, "CT1")
    with association_of(served.port) as association:
        modality.store(association, SERIES, IMAGES)
    with association_of(served.port) as association:
        assert modality.set(association, "COMPLETED", {SERIES: IMAGES}).Status == 0x0000
        found = _said(served, modality)
        assert found[SERIES].sop_instance_uids == tuple(IMAGES)
        assert {one.state for one in found.values()} == {"completed"}
    assert eventually(lambda: _is_whole(served, modality))
    texts = [event.text for event in served.events("procedure_step")]
    assert texts == ["procedure step in progress at CT1", "procedure step completed at CT1: 1 series, 5 instances"]


def test_a_step_whose_images_go_between_its_requests_on_one_association(served: Serving) -> None:
    modality = Modality()
    with association_of(served.port) as association:
        modality.begin(association)
        modality.store(association, SERIES, IMAGES[:2])
        modality.set(association, None, {SERIES: IMAGES[:2]})
        assert _said(served, modality)[SERIES].state == "in progress"
        modality.store(association, SERIES, IMAGES[2:4])
        modality.set(association, "COMPLETED", {SERIES: IMAGES})
        modality.store(association, SERIES, IMAGES[4:])
    assert [one.Status for one in modality.answers] == [0x0000] * 3
    assert _said(served, modality)[SERIES].instance_count == len(IMAGES)
    assert eventually(lambda: _is_whole(served, modality))


def test_a_step_that_is_completed_without_its_series_keeps_those_that_it_told_before(served: Serving) -> None:
    modality = Modality()
    with association_of(served.port) as association:
        modality.begin(association)
        modality.set(association, "IN PROGRESS", {SERIES: IMAGES, "1.2.3.5": ["1.2.3.5.1"]})
        modality.set(association, "COMPLETED", None)
    found = _said(served, modality)
    assert {uid: (one.state, one.instance_count) for uid, one in found.items()} == {
        None: ("completed", None),
        SERIES: ("completed", 5),
        "1.2.3.5": ("completed", 1),
    }


def test_of_series_that_are_told_again_the_last_telling_stands(served: Serving) -> None:
    modality = Modality()
    with association_of(served.port) as association:
        modality.begin(association)
        modality.set(association, None, {SERIES: IMAGES[:1], "1.2.3.5": ["1.2.3.5.1"]})
        modality.set(association, "DISCONTINUED", {SERIES: IMAGES[:3]})
    found = _said(served, modality)
    assert found.keys() == {None, SERIES}
    assert (found[SERIES].state, found[SERIES].sop_instance_uids) == ("discontinued", tuple(IMAGES[:3]))


def test_what_a_step_announces_is_apart_from_what_another_one_of_the_study_does(served: Serving) -> None:
    first, second = Modality(sop_instance_uid="1.9.1"), Modality(sop_instance_uid="1.9.11")
    second.study_instance_uid = first.study_instance_uid
    with association_of(served.port) as association:
        for modality, series in ((first, "1.5"), (second, "1.6")):
            modality.begin(association)
            modality.set(association, None, {series: [f"{series}.1"]})
        first.set(association, "COMPLETED", {"1.5": ["1.5.1", "1.5.2"]})
    said = served.house.announcements.of_study(first.study_instance_uid)
    assert sorted((one.key, one.state) for one in said) == [
        ("1.9.1 -", "completed"),
        ("1.9.1 1.5", "completed"),
        ("1.9.11 -", "in progress"),
        ("1.9.11 1.6", "in progress"),
    ]


def test_a_step_of_20000_images_fits(served: Serving) -> None:
    modality = Modality()
    images = [f"1.2.826.0.1.3680043.8.498.12345678901234567890.1234567890.{number}" for number in range(20_000)]
    with association_of(served.port) as association:
        modality.begin(association)
        assert modality.set(association, "COMPLETED", {SERIES: images}).Status == 0x0000
    assert _said(served, modality)[SERIES].sop_instance_uids == tuple(images)


# --- what is answered ---------------------------------------------------------------------------------------------


def test_a_step_without_a_uid_is_given_one(served: Serving) -> None:
    with associated(served.port, [(MPPS, EXPLICIT_LITTLE)]) as scu:
        request = N_CREATE()
        request.MessageID = 3
        request.AffectedSOPClassUID = MPPS
        scheduled = Encoding().data_set(StudyInstanceUID="1.2.3")
        request.AttributeList = BytesIO(
            Encoding().data_set(PerformedProcedureStepStatus="IN PROGRESS", ScheduledStepAttributesSequence=[scheduled])
        )
        response = scu.ask(request, (MPPS, EXPLICIT_LITTLE))
    assert isinstance(response, N_CREATE)
    assert response.Status == 0x0000
    uid = str(response.AffectedSOPInstanceUID)
    assert served.house.performed_steps.get(uid)
    assert [one.key for one in served.house.announcements.of_study("1.2.3")] == [f"{uid} -"]


BROKEN: list[tuple[dict[str, object], int]] = [
    ({"PerformedProcedureStepStatus": "COMPLETED"}, 0x0106),
    ({"PerformedProcedureStepStatus": "HALF WAY"}, 0x0106),
    ({"PerformedProcedureStepStatus": None}, 0x0120),
    ({"PerformedProcedureStepStatus": ""}, 0x0121),
    ({"ScheduledStepAttributesSequence": None}, 0x0120),
]


def test_creations_that_break_a_rule_leave_nothing_and_are_counted(served: Serving) -> None:
    modality = Modality()
    with association_of(served.port) as association:
        for changes, code in BROKEN:
            answer = modality.begin(association, **changes)
            assert (answer.Status, bool(answer.ErrorComment)) == (code, True)
        assert modality.begin(association).Status == 0x0000  # the association goes on, and the UID is free
    counted = {("N-CREATE", 0x0106, 2), ("N-CREATE", 0x0120, 2), ("N-CREATE", 0x0121, 1)}
    assert eventually(lambda: {(one.kind, one.status, one.count) for one in served.house.answers.all()} == counted)


def test_a_step_is_created_once_and_changed_until_it_has_ended(served: Serving) -> None:
    modality, other = Modality(), Modality()
    with association_of(served.port) as association:
        assert modality.begin(association).Status == 0x0000
        assert modality.begin(association).Status == 0x0111
        assert other.set(association, "COMPLETED", {}).Status == 0x0112
        assert modality.set(association, "OVER", {}).Status == 0x0106
        assert modality.set(association, "DISCONTINUED", {SERIES: IMAGES}).Status == 0x0000
        answer = modality.set(association, "COMPLETED", {SERIES: IMAGES[:1]})
    assert (answer.Status, answer.ErrorID) == (0x0110, 0xA710)
    assert answer.ErrorComment == "Performed Procedure Step Object may no longer be updated"
    assert _said(served, modality)[SERIES].state == "discontinued"
    assert len(served.events("procedure_step")) == 2
    assert served.events("request_failed") == []


def _n_set(data_set: bytes | None, sop_class_uid: str = MPPS) -> N_SET:
    request = N_SET()
    request.MessageID = 4
    request.RequestedSOPClassUID = sop_class_uid
    request.RequestedSOPInstanceUID = "1.2.3.9"
    request.ModificationList = None if data_set is None else BytesIO(data_set)
    return request


def test_a_request_that_cannot_be_read_is_a_failure_without_an_alarm(served: Serving) -> None:
    with associated(served.port, [(MPPS, EXPLICIT_LITTLE)]) as scu:
        nested = b"\x40\x00\x40\x03SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 200
        for payload in (b"\x01", b"\xff" * 500, nested):
            response = scu.ask(_n_set(payload), (MPPS, EXPLICIT_LITTLE))
            assert response
            assert response.Status == 0x0110
    assert served.events("request_failed") == []


def test_a_request_without_a_data_set_is_aborted_not_left_waiting(served: Serving) -> None:
    with associated(served.port, [(MPPS, EXPLICIT_LITTLE)]) as scu:
        assert scu.ask(_n_set(None), (MPPS, EXPLICIT_LITTLE)) is None


def test_a_step_in_the_context_of_another_service_is_no_such_class(served: Serving) -> None:
    context = (IAN, EXPLICIT_LITTLE)
    with associated(served.port, [context]) as scu:
        request = N_CREATE()
        request.MessageID = 3
        request.AffectedSOPClassUID = MPPS
        request.AffectedSOPInstanceUID = "1.2.3.9"
        request.AttributeList = BytesIO(Encoding().data_set(PerformedProcedureStepStatus="IN PROGRESS"))
        response = scu.ask(request, context)
        assert response
        assert response.Status == 0x0118
        response = scu.ask(_n_set(Encoding().data_set(PerformedProcedureStepStatus="COMPLETED")), context)
        assert response
        assert response.Status == 0x0211


def test_a_step_that_storage_cannot_take_is_not_answered_with_success(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_more: object) -> bool:
        raise StorageUnavailable("disk full")

    modality = Modality()
    with association_of(served.port) as association:
        modality.begin(association)
        with monkeypatch.context() as failing:
            failing.setattr(served.house.performed_steps, "change", fail)
            assert modality.set(association, "COMPLETED", {SERIES: IMAGES}).Status == 0x0213
        assert modality.set(association, "COMPLETED", {SERIES: IMAGES}).Status == 0x0000


def test_a_step_whose_announcements_cannot_be_written_is_not_there_either(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object) -> None:
        raise StorageUnavailable("disk full")

    modality = Modality()
    with association_of(served.port) as association:
        with monkeypatch.context() as failing:
            failing.setattr("storage.performed_steps.write_announcements", fail)
            assert modality.begin(association).Status == 0x0213
        assert served.house.performed_steps.get(modality.sop_instance_uid) is None
        assert modality.begin(association).Status == 0x0000


def test_every_refusal_of_a_notice_has_a_status_with_a_meaning() -> None:
    assert set(NoticeRefused.__subclasses__()) == set(status.NOTICE_STATUS)
    for code in status.NOTICE_STATUS.values():
        assert status.meaning_of(code) != "not in the standard"
        assert not status.is_warning(code)


# --- availability -------------------------------------------------------------------------------------------------


def test_an_archive_tells_what_it_has(served: Serving) -> None:
    with association_of(served.port, calling_ae_title="PACS1") as association:
        assert notify(association, "1.2.3", {SERIES: IMAGES, "1.2.3.5": ["1.2.3.5.1"]}).Status == 0x0000
    said = served.house.announcements.of_study("1.2.3")
    assert {(one.kind, one.source, one.state) for one in said} == {("ian", "PACS1", "completed")}
    assert {one.series_instance_uid: one.sop_instance_uids for one in said} == {
        SERIES: tuple(IMAGES),
        "1.2.3.5": ("1.2.3.5.1",),
    }
    assert [event.text for event in served.events("instances_available")] == ["PACS1 has 6 instances of 2 series"]


def test_what_an_archive_has_no_more_is_not_announced(served: Serving) -> None:
    with association_of(served.port, calling_ae_title="PACS1") as association:
        assert notify(association, "1.2.3", {SERIES: IMAGES}, availability="UNAVAILABLE").Status == 0x0000
    assert served.house.announcements.of_study("1.2.3") == ()


# --- what it is for ----------------------------------------------------------------------------------------------


class Judge:
    """Judges the series that a served acceptor took in; time is no help while the association that brings it is open."""

    def __init__(self, served: Serving) -> None:
        house = served.house
        self._house = house
        evidence = Evidence(house.studies, house.instances, house.announcements, house.habits)
        rules = Rules(settle_s=0, quiet_s=3600)
        self._settle = Settle(evidence, lambda *_: Routing((), ()), lambda _title: rules)
        self._reject = Reject(house.rejection_notes, served.objects, house.studies, house.jobs, settle_s=0)

    def finds_whole(self, study_instance_uid: str, series: str = SERIES) -> bool:
        self._reject.step()
        self._settle.step()
        return any(
            one.series_instance_uid == series and one.state == "whole"
            for one in self._house.studies.series_of(study_instance_uid)
        )


def test_a_series_is_whole_when_its_step_is_completed_and_every_image_came(served: Serving) -> None:
    modality, judge = Modality(), Judge(served)
    with association_of(served.port) as association:
        modality.begin(association)
        modality.store(association, SERIES, IMAGES[:4])
        with association_of(served.port) as another:
            modality.set(another, "COMPLETED", {SERIES: IMAGES})
        assert eventually(lambda: [one.instance_count for one in _series(served, modality)] == [4])
        assert not judge.finds_whole(modality.study_instance_uid)
        modality.store(association, SERIES, IMAGES[4:])
        assert eventually(lambda: judge.finds_whole(modality.study_instance_uid))
    (series,) = _series(served, modality)
    assert (series.instance_count, series.expected_count) == (5, 5)
    assert "all 5 images came that the completed performed procedure step of CT1 lists" in str(series.evidence)


def test_a_series_is_whole_when_every_image_came_that_an_archive_told_of(served: Serving) -> None:
    modality, judge = Modality(), Judge(served)
    with association_of(served.port) as association:
        modality.store(association, SERIES, IMAGES)
        assert notify(association, modality.study_instance_uid, {SERIES: IMAGES}).Status == 0x0000
        assert eventually(lambda: judge.finds_whole(modality.study_instance_uid))


def test_what_is_rejected_while_a_series_arrives_is_not_waited_for(served: Serving) -> None:
    modality, judge = Modality(), Judge(served)
    note = key_object({SERIES: [IMAGES[1], IMAGES[4]]}, study_instance_uid=modality.study_instance_uid)
    with association_of(served.port) as association:
        modality.begin(association)
        modality.store(association, SERIES, IMAGES[:3])
        assert association.send_c_store(note).Status == 0x0000
        assert eventually(lambda: served.house.rejection_notes.unread(1))
        modality.set(association, "COMPLETED", {SERIES: IMAGES})
        assert not judge.finds_whole(modality.study_instance_uid)
        modality.store(association, SERIES, IMAGES[3:])
        assert eventually(lambda: judge.finds_whole(modality.study_instance_uid))
    series = next(one for one in _series(served, modality) if one.series_instance_uid == SERIES)
    assert (series.revision, series.instance_count) == (1, 3)


def _series(served: Serving, modality: Modality) -> tuple[Series, ...]:
    return served.house.studies.series_of(modality.study_instance_uid)


# --- durability ---------------------------------------------------------------------------------------------------


def test_what_was_answered_outlives_a_kill(tmp_path: Path) -> None:
    under_test = AcceptorsUnderTest(tmp_path, 1)
    modality, late = Modality(), Modality()
    with under_test.running():
        with association_of(under_test.port) as association:
            assert modality.begin(association).Status == 0x0000
            assert modality.set(association, "COMPLETED", {SERIES: IMAGES}).Status == 0x0000
            assert late.begin(association).Status == 0x0000
            assert notify(association, modality.study_instance_uid, {SERIES: IMAGES}).Status == 0x0000
            first = under_test.pid("acceptor-1")
            os.kill(first, signal.SIGKILL)
        assert eventually(lambda: under_test.restarts and under_test.pid("acceptor-1") != first)
        with association_of(under_test.port) as association:
            assert modality.set(association, "COMPLETED", {}).Status == 0x0110
            assert late.set(association, "COMPLETED", {SERIES: IMAGES}).Status == 0x0000
    house = open_house(under_test.data_folder)
    try:
        for one in (modality, late):
            step = house.performed_steps.get(one.sop_instance_uid)
            assert step
            assert (step.status, step.study_instance_uids) == ("COMPLETED", (one.study_instance_uid,))
        kinds = [one.kind for one in house.announcements.of_study(modality.study_instance_uid)]
        assert sorted(kinds) == ["ian", "mpps", "mpps"]
    finally:
        house.database.close()
