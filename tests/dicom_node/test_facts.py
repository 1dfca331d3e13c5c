from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dicom_node.conditions import FACT_KEYWORDS, ROUTING_KEYWORDS
from dicom_node.facts import FACTS, Header, read_header
from dicom_node.network.file_meta import NotPart10, read_file_meta
from dicom_node.refusals import Unparsable
from tests.encoded import (
    CT_IMAGE_STORAGE,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    Encoding,
    ct_image,
)

NATIVE = (EXPLICIT_LITTLE, IMPLICIT_LITTLE, EXPLICIT_BIG)


def _read(**changes: object) -> Header:
    return read_header(ct_image(**changes), EXPLICIT_LITTLE)  # type: ignore[arg-type]


@pytest.mark.parametrize("transfer_syntax_uid", NATIVE)
def test_a_header_reads_alike_in_every_native_syntax(transfer_syntax_uid: str) -> None:
    header = read_header(ct_image(transfer_syntax_uid=transfer_syntax_uid), transfer_syntax_uid)
    assert header.sop_class_uid == CT_IMAGE_STORAGE
    assert (header.study_instance_uid, header.series_instance_uid) == ("1.2.3", "1.2.3.4")
    assert (header.patient_name, header.patient_id, header.accession_number) == ("Canary^Yellow", "CANARY-1", "ACC1")
    assert (header.study_date, header.study_description) == ("20260102", "CHEST")
    assert header.facts["ImagePositionPatient"] == [0.0, 0.0, 2.5]
    assert header.facts["PixelSpacing"] == [0.7, 0.8]
    assert (header.facts["Rows"], header.facts["Columns"], header.facts["InstanceNumber"]) == (4, 6, 1)
    assert header.facts["Modality"] == "CT"
    assert header.facts["has_pixel_data"] is True
    assert "notes" not in header.facts
    assert json.loads(json.dumps(header.facts)) == header.facts


def test_every_attribute_that_a_route_can_ask_for_is_kept() -> None:
    assert set(ROUTING_KEYWORDS) - set(FACT_KEYWORDS) <= set(FACTS)


def test_a_text_of_several_values_is_a_list_and_a_description_with_a_backslash_is_one_text() -> None:
    facts = _read(
        ImageType=["ORIGINAL", "PRIMARY", "AXIAL"], ConvolutionKernel=["B70f", "2"], SeriesDescription="a b"
    ).facts
    assert facts["ImageType"] == ["ORIGINAL", "PRIMARY", "AXIAL"]
    assert facts["ConvolutionKernel"] == ["B70f", "2"]
    assert facts["SeriesDescription"] == "a b"


def test_an_empty_or_absent_attribute_is_no_fact() -> None:
    facts = _read(Modality="", InstanceNumber=None, ImageType=b"", PixelData=None).facts
    assert not {"Modality", "InstanceNumber", "ImageType"} & set(facts)
    assert facts["has_pixel_data"] is False


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("InstanceNumber", b"one "),
        ("InstanceNumber", b"1.5 "),
        ("InstanceNumber", b"99999999999 "),
        ("InstanceNumber", b"\xff\xfe"),
        ("SliceThickness", b"NaN "),
        ("SliceThickness", b"1e999 "),
        ("ImagePositionPatient", b"1\\2\\x "),
        ("BitsStored", b"\x01\x00\x02"),
        ("ImageType", b"A\\" * 200),
    ],
)
def test_a_value_that_breaks_its_vr_is_left_out_with_a_note(keyword: str, value: bytes) -> None:
    facts = _read(**{keyword: value}).facts
    assert keyword not in facts
    assert [note for note in facts["notes"] if note.startswith(keyword)]
    assert facts["Modality"] == "CT"


def test_an_integer_string_written_as_decimal_is_that_integer() -> None:
    assert _read(InstanceNumber=b"12.0").facts["InstanceNumber"] == 12


def test_control_characters_and_endless_text_do_not_reach_the_facts() -> None:
    facts = _read(SeriesDescription=b"red\x1b[31m\r\nline" + b"x" * 40_000).facts
    assert facts["SeriesDescription"].startswith("red[31mline")
    assert len(facts["SeriesDescription"]) == 1024


@pytest.mark.parametrize("transfer_syntax_uid", NATIVE)
def test_the_priority_of_a_request_is_known_from_the_data_set_or_from_an_item_of_its_request_attributes(
    transfer_syntax_uid: str,
) -> None:
    encoding = Encoding(transfer_syntax_uid)

    def read(**values: object) -> Any:
        identity = {"SOPClassUID": CT_IMAGE_STORAGE, "SOPInstanceUID": "1.2.3.4.5", "StudyInstanceUID": "1.2.3"}
        payload = encoding.data_set(**identity, SeriesInstanceUID="1.2.3.4", **values)
        return read_header(payload, transfer_syntax_uid).facts

    items = [encoding.data_set(RequestedProcedureID="R1"), encoding.data_set(RequestedProcedurePriority="STAT")]
    assert read(RequestAttributesSequence=items)["RequestedProcedurePriority"] == "STAT"
    assert read(RequestedProcedurePriority="HIGH")["RequestedProcedurePriority"] == "HIGH"
    both = read(RequestedProcedurePriority="LOW", RequestAttributesSequence=items)
    assert both["RequestedProcedurePriority"] == "LOW"
    step = [encoding.data_set(ScheduledProcedureStepPriority="HIGH")]
    assert read(RequestAttributesSequence=step)["ScheduledProcedureStepPriority"] == "HIGH"
    assert "RequestedProcedurePriority" not in read(RequestAttributesSequence=[])


def test_an_unknown_character_set_is_noted_and_read_all_the_same() -> None:
    header = _read(SpecificCharacterSet="ISO_IR 999", PatientName="Müller^Änne".encode("latin_1"))
    assert header.patient_name == "Müller^Änne"
    assert any(note.startswith("SpecificCharacterSet") for note in header.facts["notes"])


def test_bytes_that_are_no_text_of_their_character_set_are_read_as_latin() -> None:
    header = _read(SpecificCharacterSet="ISO_IR 192", PatientName=b"A\xffB\xfe")
    assert header.patient_name == "AÿBþ"


@pytest.mark.filterwarnings("error")
def test_an_escape_sequence_that_was_not_announced_is_noted() -> None:
    header = _read(SpecificCharacterSet="ISO 2022 IR 100", PatientName=b"A^\x1b$BABCD\x1b(B ")
    assert header.patient_name.startswith("A^")


@pytest.mark.parametrize("transfer_syntax_uid", NATIVE)
@pytest.mark.parametrize("shared_orientation", [True, False])
def test_an_enhanced_object_gives_its_frames_and_the_geometry_of_the_first(
    transfer_syntax_uid: str, shared_orientation: bool
) -> None:
    encoding = Encoding(transfer_syntax_uid)
    axial = {"PlaneOrientationSequence": [encoding.data_set(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])]}
    measures = {"PixelMeasuresSequence": [encoding.data_set(SliceThickness=3, PixelSpacing=[0.5, 0.6])]}
    shared = encoding.data_set(**measures, **(axial if shared_orientation else {}))
    frames = [
        encoding.data_set(
            PlanePositionSequence=[encoding.data_set(ImagePositionPatient=[0, 0, z])],
            **({} if shared_orientation else axial),
        )
        for z in (1.5, 4.5)
    ]
    payload = ct_image(
        transfer_syntax_uid=transfer_syntax_uid,
        ImagePositionPatient=None,
        ImageOrientationPatient=None,
        PixelSpacing=None,
        NumberOfFrames=2,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
    )
    facts = read_header(payload, transfer_syntax_uid).facts
    assert facts["frames"] == {"orientations": [[1, 0, 0, 0, 1, 0]], "positions": [[0, 0, 1.5], [0, 0, 4.5]]}
    assert facts["ImageOrientationPatient"] == [1, 0, 0, 0, 1, 0]
    assert facts["ImagePositionPatient"] == [0, 0, 1.5]
    assert (facts["SliceThickness"], facts["PixelSpacing"]) == (3, [0.5, 0.6])
    assert facts["NumberOfFrames"] == 2


NAMES = {
    "chrArab.dcm": "قباني^لنزار",
    "chrFren.dcm": "Buc^Jérôme",
    "chrGerm.dcm": "Äneas^Rüdiger",
    "chrGreek.dcm": "Διονυσιος",
    "chrH31.dcm": "Yamada^Tarou=山田^太郎=やまだ^たろう",
    "chrH32.dcm": "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    "chrHbrw.dcm": "שרון^דבורה",
    "chrI2.dcm": "Hong^Gildong=洪^吉洞=홍^길동",
    "chrJapMulti.dcm": "やまだ^たろう",
    "chrKoreanMulti.dcm": "김희중",
    "chrRuss.dcm": "Люкceмбypг",
    "chrX1.dcm": "Wang^XiaoDong=王^小東",
    "chrX2.dcm": "Wang^XiaoDong=王^小东",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_in_the_character_sets_of_the_world_are_read(shared_data: Path, name: str) -> None:
    file = (shared_data / "pydicom_charset" / name).read_bytes()
    meta = read_file_meta(file)
    header = read_header(file[meta.data_set_at :], meta.transfer_syntax_uid)
    assert header.patient_name.rstrip("=") == NAMES[name]


def test_no_real_header_raises_anything_but_that_it_is_unparsable(shared_data: Path) -> None:
    read = 0
    for path in sorted(shared_data.rglob("*")):
        if not path.is_file():
            continue
        file = path.read_bytes()
        try:
            meta = read_file_meta(file)
            header = read_header(memoryview(file)[meta.data_set_at :], meta.transfer_syntax_uid)
        except (NotPart10, Unparsable):
            continue
        json.dumps(header.facts, allow_nan=False)
        read += 1
    assert read > 450


def test_the_geometry_of_real_enhanced_objects_is_known_without_their_pixels(shared_data: Path) -> None:
    for path in sorted((shared_data / "enhanced_mr_dcm_qa_enh").rglob("*.dcm")):
        file = path.read_bytes()
        meta = read_file_meta(file)
        facts = read_header(memoryview(file)[meta.data_set_at :], meta.transfer_syntax_uid).facts
        assert len(facts["frames"]["positions"]) == facts["NumberOfFrames"]
        assert len(facts["frames"]["orientations"]) == 1
        assert all(len(position) == 3 for position in facts["frames"]["positions"])
        assert len(facts["PixelSpacing"]) == 2
