"""What modalities and archives say of images, read from the bytes that they send."""

from __future__ import annotations

import pytest

from dicom_node import availability, performed
from dicom_node.performed import Change, PerformedSeries, read_change, read_creation
from dicom_node.refusals import (
    InvalidAttributeValue,
    MissingAttribute,
    MissingAttributeValue,
    NoticeRefused,
    TooMuch,
    Unparsable,
)
from storage.records.announced import PerformedStep
from tests.encoded import EXPLICIT_BIG, EXPLICIT_LITTLE, IMPLICIT_LITTLE, Encoding

STEP = PerformedStep("9.1", "CT1", "COMPLETED", 10.0, 20.0, ("1.2.3",))


def _images(uids: range, encoding: Encoding) -> list[bytes]:
    return [encoding.data_set(ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID=f"1.2.3.4.{n}") for n in uids]


def _series(
    uid: str | None = "1.2.3.4", images: range = range(0), others: range = range(0), encoding: Encoding | None = None
) -> bytes:
    encoding = encoding or Encoding()
    return encoding.data_set(
        ProtocolName="CHEST",
        SeriesInstanceUID=uid,
        ReferencedImageSequence=_images(images, encoding),
        ReferencedNonImageCompositeSOPInstanceSequence=_images(others, encoding),
    )


def _creation(**changes: object) -> bytes:
    values: dict[str, object] = {
        "ScheduledStepAttributesSequence": [Encoding().data_set(AccessionNumber="A1", StudyInstanceUID="1.2.3")],
        "PatientName": "Canary^Yellow",
        "PerformedProcedureStepStatus": "IN PROGRESS",
        "PerformedSeriesSequence": [],
    }
    return Encoding().data_set(**(values | changes))


@pytest.mark.parametrize("syntax", [EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG])
def test_a_step_is_read_in_every_transfer_syntax(syntax: str) -> None:
    encoding = Encoding(syntax)
    series = [_series("1.2.3.4", range(2), range(2, 3), encoding), _series("1.2.3.5", encoding=encoding)]
    payload = encoding.data_set(PerformedProcedureStepStatus="COMPLETED", PerformedSeriesSequence=series)
    assert read_change(payload, syntax) == Change(
        "COMPLETED",
        (PerformedSeries("1.2.3.4", ("1.2.3.4.0", "1.2.3.4.1", "1.2.3.4.2")), PerformedSeries("1.2.3.5", None)),
    )


def test_what_is_not_set_stays_as_it_is() -> None:
    payload = Encoding().data_set(PerformedProcedureStepDescription="CHEST")
    assert read_change(payload, EXPLICIT_LITTLE) == Change(None, None)


def test_a_series_that_stands_in_several_items_is_one() -> None:
    payload = _creation(PerformedSeriesSequence=[_series(images=range(2)), _series(images=range(1, 3))])
    (series,) = read_creation(payload, EXPLICIT_LITTLE).series
    assert series.sop_instance_uids == ("1.2.3.4.0", "1.2.3.4.1", "1.2.3.4.2")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"PerformedProcedureStepStatus": None}, MissingAttribute),
        ({"PerformedProcedureStepStatus": ""}, MissingAttributeValue),
        ({"PerformedProcedureStepStatus": "BEGUN"}, InvalidAttributeValue),
        ({"PerformedProcedureStepStatus": "COMPLETED"}, InvalidAttributeValue),
        ({"ScheduledStepAttributesSequence": None}, MissingAttribute),
        ({"ScheduledStepAttributesSequence": []}, MissingAttributeValue),
        ({"ScheduledStepAttributesSequence": [Encoding().data_set(AccessionNumber="A1")]}, MissingAttributeValue),
        ({"ScheduledStepAttributesSequence": [Encoding().data_set(StudyInstanceUID="../x")]}, InvalidAttributeValue),
        ({"PerformedSeriesSequence": [_series(None)]}, MissingAttributeValue),
        ({"PerformedSeriesSequence": [_series()] * 2001}, TooMuch),
    ],
)
def test_a_creation_that_breaks_a_rule_is_refused(changes: dict[str, object], error: type[NoticeRefused]) -> None:
    with pytest.raises(error) as refused:
        read_creation(_creation(**changes), EXPLICIT_LITTLE)
    assert "Canary" not in str(refused.value)


@pytest.mark.parametrize("payload", [b"", _creation()[:-3], b"\xff" * 100, _creation() + b"\x40\x00"])
def test_a_data_set_that_is_cut_short_is_unparsable(payload: bytes) -> None:
    with pytest.raises(Unparsable):
        read_creation(payload, EXPLICIT_LITTLE)


def test_sequences_that_nest_too_deep_are_unparsable() -> None:
    deep = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 200
    with pytest.raises(Unparsable):
        read_change(deep, EXPLICIT_LITTLE)


def test_a_step_announces_its_studies_and_each_series_once() -> None:
    said = performed.announced(STEP, [PerformedSeries("1.5", ("1.5.1", "1.5.2")), PerformedSeries("1.6", None)], at=20)
    assert [(one.key, one.series_instance_uid, one.state, one.instance_count) for one in said] == [
        ("9.1 -", None, "completed", None),
        ("9.1 1.5", "1.5", "completed", 2),
        ("9.1 1.6", "1.6", "completed", None),
    ]
    assert {(one.kind, one.source, one.study_instance_uid, one.at) for one in said} == {("mpps", "CT1", "1.2.3", 20)}


def test_a_step_of_two_studies_announces_its_series_for_both() -> None:
    step = PerformedStep("9.1", "CT1", "DISCONTINUED", 1, 2, ("1.2.3", "1.2.9"))
    said = performed.announced(step, [PerformedSeries("1.5", None)], at=2)
    assert len({one.key for one in said}) == 4
    assert {(one.study_instance_uid, one.series_instance_uid) for one in said} == {
        (study, series) for study in ("1.2.3", "1.2.9") for series in (None, "1.5")
    }


def _available(*uids: tuple[str, str]) -> list[bytes]:
    return [
        Encoding().data_set(InstanceAvailability=how, ReferencedSOPClassUID="1.2", ReferencedSOPInstanceUID=uid)
        for uid, how in uids
    ]


def _notification(*series: bytes, study: str | None = "1.2.3") -> bytes:
    return Encoding().data_set(
        ReferencedPerformedProcedureStepSequence=[], ReferencedSeriesSequence=list(series), StudyInstanceUID=study
    )


def _listed(uid: str, *instances: tuple[str, str]) -> bytes:
    return Encoding().data_set(ReferencedSOPSequence=_available(*instances), SeriesInstanceUID=uid)


def test_of_an_availability_notification_what_can_be_had_counts() -> None:
    payload = _notification(
        _listed("1.5", ("1.5.1", "ONLINE"), ("1.5.2", "NEARLINE"), ("1.5.3", "UNAVAILABLE")),
        _listed("1.6", ("1.6.1", "UNAVAILABLE")),
    )
    told = availability.read_availability(payload, EXPLICIT_LITTLE)
    (said,) = availability.announced(told, "9.2", "PACS1", at=5)
    assert (said.kind, said.key, said.source, said.state) == ("ian", "9.2 1.5", "PACS1", "completed")
    assert (said.sop_instance_uids, said.instance_count) == (("1.5.1", "1.5.2"), 2)


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (_notification(_listed("1.5", ("1.5.1", "ONLINE")), study=None), MissingAttribute),
        (_notification(), MissingAttributeValue),
        (_notification(_listed("1.5", ("1.5.1", "MAYBE"))), InvalidAttributeValue),
        (_notification(_listed("1.5", ("1.5.1", ""))), MissingAttributeValue),
        (_notification(_listed("1.5", ("", "ONLINE"))), MissingAttributeValue),
    ],
)
def test_a_notification_that_breaks_a_rule_is_refused(payload: bytes, error: type[NoticeRefused]) -> None:
    with pytest.raises(error):
        availability.read_availability(payload, EXPLICIT_LITTLE)
