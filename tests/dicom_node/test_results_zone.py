"""One offset governs all dates and times of an object: that of the study."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO

import pytest
from pydicom import Dataset, dcmread

from dicom_node.results.encode import TYPES, encode
from dicom_node.results.zone import of_study, zone
from tests.conformance.reports import CREATED, made_volume, report_on

IN_WINTER_S = 1_796_122_800.0
"""2026-12-01 12:00 in Berlin."""


@pytest.fixture
def in_berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def study(**values: str) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("text", "hours"),
    [("+0100", 1), ("-0330", -3.5), ("+1400", 14), ("-1200", -12), ("+0000", 0), ("-0000", 0), ("+0545", 5.75)],
)
def test_an_offset_is_read(text: str, hours: float) -> None:
    stated = zone(text)
    assert stated is not None
    assert stated.utcoffset(None) == timedelta(hours=hours)


@pytest.mark.parametrize("text", ["", "+1", "0100", "+01:00", "+1500", "-1201", "+0160", "+0١00", "Z", "+0100 "])
def test_what_the_standard_does_not_allow_is_no_offset(text: str) -> None:
    assert zone(text) is None


@pytest.mark.usefixtures("in_berlin")
@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (study(TimezoneOffsetFromUTC="-0330", StudyDate="20260704"), "2026-12-01T07:30:00-03:30"),
        (study(StudyDate="20261201", StudyTime="101500"), "2026-12-01T12:00:00+01:00"),
        # A study of July says its hours in summer time, and one offset must do for both.
        (study(StudyDate="20260704", StudyTime="101500.25"), "2026-12-01T13:00:00+02:00"),
        (study(StudyDate="20260704", StudyTime="10"), "2026-12-01T13:00:00+02:00"),
        (study(StudyDate="", StudyTime="1015"), "2026-12-01T12:00:00+01:00"),
        (study(StudyDate="18750704", StudyTime="101500"), "2026-12-01T11:53:00+00:53"),
        (study(StudyDate="00010101", StudyTime="000000"), "2026-12-01T12:00:00+01:00"),
        (study(), "2026-12-01T12:00:00+01:00"),
    ],
)
def test_a_moment_stands_in_the_zone_of_the_study(source: Dataset, expected: str) -> None:
    assert of_study(IN_WINTER_S, source).isoformat() == expected


@pytest.mark.parametrize("stated", ["-0330", "+0545", None])
@pytest.mark.parametrize("kind", TYPES)
def test_every_object_states_its_zone_and_its_times_stand_in_it(kind: str, stated: str | None) -> None:
    datasets, volume = made_volume("axial")
    for dataset in datasets:
        dataset.TimezoneOffsetFromUTC = stated
    for result in encode(report_on(datasets, volume, kinds=(kind,))):
        read = dcmread(BytesIO(result.payload))
        offset = zone(read.TimezoneOffsetFromUTC)
        assert offset is not None
        assert read.TimezoneOffsetFromUTC == (stated or "+0100")
        said = CREATED.astimezone(offset)
        # A presentation state has a date of its own in place of the content's (PS3.3 C.11.10).
        content = "PresentationCreation" if kind == "gsps" else "Content"
        for part in (content, "Series", "InstanceCreation"):
            assert read[f"{part}Date"].value + read[f"{part}Time"].value == said.strftime("%Y%m%d%H%M%S")
        assert (read.StudyDate, read.StudyTime) == ("20260304", "101500")
        for element in read.iterall():
            if element.VR == "DT" and element.value:
                assert str(element.value).endswith(read.TimezoneOffsetFromUTC), element.keyword
