"""An object that breaks one rule of structure is found out by that rule; each test breaks one thing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from io import BytesIO

import pytest
from highdicom._standard_utils import get_iod_module_map, get_module_attribute_map, get_sop_class_iod_map
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.result_kinds import ResultKind
from dicom_node.results.check_structure import check_structure
from dicom_node.results.dicom_file import DicomFile
from dicom_node.results.encode import TYPES, encode
from dicom_node.results.required import IODS, MODULES
from dicom_node.results.scene import Scene, Segmentation, scene_of
from dicom_node.results.skimmed import skim
from dicom_node.results.sources import Reference
from dicom_node.results.writing import Written
from tests.conformance.places import placed_findings
from tests.conformance.reports import made_report, made_volume, report_on

KINDS: tuple[ResultKind, ...] = (
    "seg",
    "sr",
    "sr_text",
    "sc",
    "gsps",
    "key_images",
    "parametric_map",
    "pdf",
)
Change = Callable[[Dataset], object]


@cache
def made() -> tuple[Scene, dict[str, bytes]]:
    """A report's scene, as it is when the Segmentation has been made, and its objects."""
    datasets, volume = made_volume("axial")
    report = report_on(datasets, volume, placed_findings(volume), kinds=KINDS)
    results = encode(report)
    assert [result.faults for result in results] == [()] * (len(KINDS) + 1)
    seg = results[0]
    reference = Reference(seg.sop_class_uid, seg.sop_instance_uid)
    scene = scene_of(report).besides("seg", Segmentation(seg.series_instance_uid, reference))
    return scene, {result.kind: result.payload for result in results}


def faults_of(kind: str, change: Change) -> list[str]:
    scene, payloads = made()
    dataset = dcmread(BytesIO(payloads[kind]))
    change(dataset)
    buffer = BytesIO()
    dataset.save_as(buffer)
    return check_structure(scene, kind, DicomFile(buffer.getvalue()))


def set_to(keyword: str, value: object) -> Change:
    return lambda dataset: setattr(dataset, keyword, value)


def without(keyword: str) -> Change:
    return lambda dataset: delattr(dataset, keyword)


def all_items(dataset: Dataset) -> list[Dataset]:
    found = [dataset]
    for item in found:
        found += [inner for element in item if element.VR == "SQ" for inner in element.value]
    return found


def set_value_of(code: str, keyword: str, value: str) -> Change:
    """Of the content item whose concept has the code."""

    def change(dataset: Dataset) -> None:
        for item in all_items(dataset):
            if "ConceptNameCodeSequence" in item and item.ConceptNameCodeSequence[0].CodeValue == code:
                setattr(item, keyword, value)

    return change


@pytest.mark.parametrize("kind", KINDS)
def test_an_unbroken_object_has_no_fault(kind: str) -> None:
    assert faults_of(kind, lambda _: None) == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_attribute_of_type_1_or_2_is_missed(kind: ResultKind) -> None:
    """All but those by which the file itself is read."""
    scene, payloads = made()
    dataset = dcmread(BytesIO(payloads[kind]))
    keywords = {
        keyword for module in IODS[kind].modules for keyword in (*MODULES[module].type_1, *MODULES[module].type_2)
    }
    assert len(keywords) > 20
    for keyword in sorted(keywords):
        kept = dataset[keyword]
        del dataset[keyword]
        buffer = BytesIO()
        dataset.save_as(buffer)
        dataset.add(kept)
        faults = check_structure(scene, kind, DicomFile(buffer.getvalue()))
        assert any(fault.startswith(f"{keyword} (") and "is missing" in fault for fault in faults), keyword


BROKEN: dict[str, tuple[str, Change, str]] = {
    "a value of type 1 is empty": ("sr", set_to("Modality", ""), r"Modality \(0008,0060\) has no value .*type 1"),
    "an item lacks its attribute": (
        "seg",
        lambda ds: delattr(ds.SegmentSequence[1], "SegmentLabel"),
        r"SegmentLabel \(0062,0005\) is missing \(item 2 of SegmentSequence, type 1\)",
    ),
    "an item within an item lacks its attribute": (
        "seg",
        lambda ds: delattr(ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence[2], "ReferencedSOPClassUID"),
        "item 1 of ReferencedSeriesSequence, item 3 of ReferencedInstanceSequence",
    ),
    "another SOP class": (
        "sr",
        set_to("SOPClassUID", "1.2.840.10008.5.1.4.1.1.88.33"),
        "must be .*88.34 for this kind",
    ),
    "another SOP class in the file's header": (
        "sc",
        lambda ds: setattr(ds.file_meta, "MediaStorageSOPClassUID", "1.2.840.10008.5.1.4.1.1.2"),
        r"MediaStorageSOPClassUID \(0002,0002\) must equal SOPClassUID",
    ),
    "another instance in the file's header": (
        "sc",
        lambda ds: setattr(ds.file_meta, "MediaStorageSOPInstanceUID", "2.25.5"),
        "must equal SOPInstanceUID",
    ),
    "another patient": ("sc", set_to("PatientID", "T-2"), r"PatientID \(0010,0020\) must be that of the source images"),
    "another issuer": ("sc", without("IssuerOfPatientID"), "IssuerOfPatientID .* must be that of the source"),
    "another study": ("seg", set_to("StudyInstanceUID", "2.25.7"), "StudyInstanceUID .* must be that of the source"),
    "another frame of reference": (
        "seg",
        set_to("FrameOfReferenceUID", "2.25.7"),
        r"FrameOfReferenceUID \(0020,0052\) must be that of the source images, .* but is 2.25.7",
    ),
    "too few pixels": (
        "sc",
        lambda ds: setattr(ds, "PixelData", ds.PixelData[:-2]),
        "the pixel data must have .* bytes",
    ),
    "more frames than pixels": ("seg", set_to("NumberOfFrames", 99), "for 99 frames of 41 x 37 pixels"),
    "a UID that begins a part with 0": ("sc", set_to("SeriesInstanceUID", "1.2.03"), "must be a UID .*'1.2.03'"),
    "a UID that is too long": ("sr", set_to("SeriesInstanceUID", "1." + "2" * 63), "at most 64 characters"),
    "a UID within a sequence": (
        "seg",
        lambda ds: setattr(ds.SegmentSequence[0], "TrackingUID", "1..2"),
        "TrackingUID must be a UID",
    ),
    "a reference to another image": (
        "sc",
        lambda ds: setattr(ds.SourceImageSequence[0], "ReferencedSOPInstanceUID", "2.25.8"),
        "ReferencedSOPInstanceUID must name an image that was read, .* but is 2.25.8",
    ),
    "a reference deep in the content": (
        "sr",
        lambda ds: setattr(
            next(item for item in all_items(ds.ContentSequence[-2]) if "ReferencedSegmentNumber" in item),
            "ReferencedSOPInstanceUID",
            "2.25.8",
        ),
        "but is 2.25.8",
    ),
    "no contributing equipment": ("sr", without("ContributingEquipmentSequence"), r"purpose \(109102, DCM\).* missing"),
    "equipment of another purpose": (
        "sc",
        lambda ds: setattr(
            ds.ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0], "CodeValue", "109103"
        ),
        r"purpose \(109102, DCM\)",
    ),
    "a verified report": ("sr", set_to("VerificationFlag", "VERIFIED"), "must be UNVERIFIED, .* but is VERIFIED"),
    "a segment drawn by hand": (
        "seg",
        lambda ds: setattr(ds.SegmentSequence[2], "SegmentAlgorithmType", "MANUAL"),
        "SegmentAlgorithmType of segment 3 must be AUTOMATIC, but is MANUAL",
    ),
    "a segment without algorithm": (
        "seg",
        lambda ds: delattr(ds.SegmentSequence[0], "SegmentationAlgorithmIdentificationSequence"),
        "SegmentationAlgorithmIdentificationSequence of segment 1 is missing",
    ),
    "a segment by another version": (
        "seg",
        lambda ds: setattr(
            ds.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0], "AlgorithmVersion", "9"
        ),
        "AlgorithmVersion of segment 1 must be .* '2.1.0', but is '9'",
    ),
    "content by another algorithm": (
        "sr",
        set_value_of("111001", "TextValue", "Other"),
        r"Algorithm Name \(111001, DCM\) must be .* 'Shape finder', but is 'Other'",
    ),
    "content by another version": ("sr", set_value_of("111003", "TextValue", "9"), "Algorithm Version .* but is '9'"),
    "observed by another device": ("sr", set_value_of("121012", "UID", "2.25.6"), "Device Observer UID .*'2.25.6'"),
    "observed by another model": ("key_images", set_value_of("121015", "TextValue", "X"), "Observer Model Name .*'X'"),
    "observed by another maker": ("key_images", set_value_of("121014", "TextValue", "X"), "Manufacturer .*'X'"),
}


@pytest.mark.filterwarnings("ignore:.* for VR UI")
@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named(name: str) -> None:
    kind, change, words = BROKEN[name]
    faults = faults_of(kind, change)
    assert any(re.search(words, fault) for fault in faults), faults


@pytest.mark.parametrize("keyword", ["Manufacturer", "ManufacturerModelName", "SoftwareVersions", "DeviceUID"])
def test_contributing_equipment_is_the_model(keyword: str) -> None:
    (fault,) = faults_of("sc", lambda ds: setattr(ds.ContributingEquipmentSequence[0], keyword, "2.25.3"))
    assert fault.startswith(f"{keyword} of the contributing equipment must be the model's, ")
    assert "'2.25.3'" in fault


def test_a_file_that_was_cut_is_no_object() -> None:
    scene, payloads = made()
    assert "the file cannot be read back" in check_structure(scene, "sc", DicomFile(payloads["sc"][:-10]))[0]


def test_values_of_the_patient_are_not_told() -> None:
    faults = faults_of("sc", set_to("PatientName", "Somebody^Else"))
    assert faults
    assert not any(word in fault for fault in faults for word in ("Somebody", "Müller"))


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
def test_a_uid_that_breaks_the_rules_is_kept_where_the_source_has_it() -> None:
    report = made_report("axial", kinds=("sc",))
    for source in report.sources:
        source.StudyInstanceUID = "1.2.003"
    volume = replace(report.volume, study_instance_uid="1.2.003") if report.volume else None
    (result,) = encode(replace(report, volume=volume))
    assert result.faults == ()


def test_faults_come_with_the_object_that_has_them() -> None:
    """`encode` asks for every kind."""
    report = made_report("axial", kinds=("sc",))
    kept = TYPES["sc"]

    def mixed_up(scene: Scene, ordered: str) -> Written:
        other = replace(scene.report, model=replace(scene.report.model, device_uid="2.25.4"))
        return kept.encode(replace(scene, report=other), ordered)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TYPES, "sc", replace(kept, encode=mixed_up))
        (result,) = encode(report)
    assert [fault.partition(" ")[0] for fault in result.faults] == ["DeviceUID"]


def test_skimming_finds_the_pixels_behind_the_frames() -> None:
    _, payloads = made()
    for kind in ("seg", "sc"):
        whole, skimmed = dcmread(BytesIO(payloads[kind])), skim(payloads[kind])
        assert skimmed.frames_at is not None
        assert skimmed.frames_size is not None
        assert payloads[kind][skimmed.frames_at : skimmed.frames_at + skimmed.frames_size] == whole.PixelData
        assert "PerFrameFunctionalGroupsSequence" not in skimmed.dataset


OF_OUR_OWN = {"document-root"}


def test_every_kind_has_its_iod() -> None:
    assert set(IODS) == set(TYPES)


@pytest.mark.parametrize("kind", IODS)
def test_the_table_is_that_of_the_standard(kind: ResultKind) -> None:
    """highdicom carries the tables of PS3.3; ours is a part of them, small enough to be held in memory."""
    iod = IODS[kind]
    modules = {
        module["key"]: module["usage"] for module in get_iod_module_map()[get_sop_class_iod_map()[iod.sop_class_uid]]
    }
    ours = set(iod.modules)
    asked = {name for name, usage in modules.items() if usage == "M" and needs_of(name) != (set(), set())}
    assert asked - {"sr-document-content"} <= ours
    for name in ours - OF_OUR_OWN - {"enhanced-general-equipment"}:
        assert name in modules
    for name in ours - OF_OUR_OWN:
        assert (set(MODULES[name].type_1), set(MODULES[name].type_2)) == needs_of(name), name


def needs_of(module: str) -> tuple[set[str], set[str]]:
    at_top = [item for item in get_module_attribute_map()[module] if not item["path"]]
    found = tuple({item["keyword"] for item in at_top if item["type"] == kind} for kind in ("1", "2"))
    return found[0], found[1]
