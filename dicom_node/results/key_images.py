"""Findings to a Key Object Selection (PS3.3 A.35.4, TID 2010 of PS3.16): the images that a reader should look at first.

Of each finding that has a place, the image on which it shows best. Titled "Of Interest"; the documents that reject results
are another thing (`ko`).
"""

from __future__ import annotations

from collections import defaultdict
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from dicom_node.results import codes, context
from dicom_node.results.ko import content
from dicom_node.results.places import key_plane
from dicom_node.results.report import Report
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene
from dicom_node.results.sources import Plane, Reference, instance_numbers
from dicom_node.results.writing import Written, written
from inference.findings import Code

OF_INTEREST = Code("113000", "DCM", "Of Interest")
KEY_OBJECT_DESCRIPTION = Code("113012", "DCM", "Key Object Description")
OBSERVER_TYPE = Code("121005", "DCM", "Observer Type")
DEVICE_OBSERVER_UID = Code("121012", "DCM", "Device Observer UID")
DEVICE_OBSERVER_NAME = Code("121013", "DCM", "Device Observer Name")
DEVICE_OBSERVER_MANUFACTURER = Code("121014", "DCM", "Device Observer Manufacturer")
DEVICE_OBSERVER_MODEL_NAME = Code("121015", "DCM", "Device Observer Model Name")

MOST_IMAGES_IN_WORDS = 50


def applies(scene: Scene) -> bool:
    """Where nothing has a place, no image is of more interest than another."""
    return bool(chosen(scene))


def chosen(scene: Scene) -> dict[int, list[str]]:
    """The planes to select, in their order, and the labels of what shows best on each."""
    found: dict[int, list[str]] = defaultdict(list)
    if not scene.is_analysed:
        return found
    findings, volume = scene.report.findings, scene.volume
    for item in scene.segments:
        if item.number:
            found[item.key_plane].append(item.segment.label)
    for detection in findings.detections:
        found[key_plane(detection.place, volume)].append(detection.label)
    for landmark in findings.landmarks:
        found[key_plane(landmark.at, volume)].append(landmark.label)
    return dict(sorted(found.items()))


def encode_key_images(scene: Scene, ordered: str) -> Written:
    """The document: title, who selects, why, and the images (frames of them, where a source has several)."""
    report, images = scene.report, chosen(scene)
    dataset = context.new_object(report, ordered, KeyObjectSelectionDocumentStorage, "KO")
    dataset.ReferencedPerformedProcedureStepSequence = []
    selected = by_instance([scene.planes[index] for index in images])
    dataset.CurrentRequestedProcedureEvidenceSequence = [evidence(report, selected)]
    template = Dataset()
    template.MappingResource, template.TemplateIdentifier = "DCMR", "2010"
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = [codes.concept(OF_INTEREST)]
    dataset.ContentTemplateSequence = [template]
    why = content("CONTAINS", "TEXT", KEY_OBJECT_DESCRIPTION)
    why.TextValue = description(scene, images)
    dataset.ContentSequence = [*observer(report), why, *(pointer(*item) for item in selected.items())]
    return written(dataset)


def by_instance(planes: list[Plane]) -> dict[Reference, list[int]]:
    """Each instance once, with the numbers of its frames; none for a single-frame instance."""
    found: dict[Reference, list[int]] = defaultdict(list)
    for plane in planes:
        source = plane.reference
        frames = found[Reference(source.sop_class_uid, source.sop_instance_uid)]
        if source.frame_number is not None:
            frames.append(source.frame_number)
    return found


def evidence(report: Report, selected: dict[Reference, list[int]]) -> Dataset:
    """Hierarchical SOP Instance Reference of the images (PS3.3 C.17.2.1)."""
    study, series = Dataset(), Dataset()
    source = report.first_source
    study.StudyInstanceUID, study.ReferencedSeriesSequence = source.StudyInstanceUID, [series]
    series.SeriesInstanceUID = source.SeriesInstanceUID
    series.ReferencedSOPSequence = [instance.item() for instance in selected]
    return study


def observer(report: Report) -> list[Dataset]:
    """TID 1002 and 1004: the model observes, as a device."""
    model = report.model
    kind = content("HAS OBS CONTEXT", "CODE", OBSERVER_TYPE)
    kind.ConceptCodeSequence = [codes.concept(codes.DEVICE)]
    uid = content("HAS OBS CONTEXT", "UIDREF", DEVICE_OBSERVER_UID)
    uid.UID = model.device_uid
    said = [kind, uid]
    for name, value in (
        (DEVICE_OBSERVER_NAME, model.name),
        (DEVICE_OBSERVER_MANUFACTURER, model.manufacturer),
        (DEVICE_OBSERVER_MODEL_NAME, model.title),
    ):
        said.append(content("HAS OBS CONTEXT", "TEXT", name))
        said[-1].TextValue = value
    return said


def pointer(instance: Reference, frames: list[int]) -> Dataset:
    """An image, or frames of one."""
    found, reference = content("CONTAINS", "IMAGE"), instance.item()
    if frames:
        reference.ReferencedFrameNumber = frames
    found.ReferencedSOPSequence = [reference]
    return found


def description(scene: Scene, images: dict[int, list[str]]) -> str:
    """Who selected these, and what is to be seen on which."""
    model = scene.report.model
    numbers = instance_numbers(scene.report)
    lines = []
    for index, labels in list(images.items())[:MOST_IMAGES_IN_WORDS]:
        source = scene.planes[index].reference
        number = numbers.get(source.sop_instance_uid)
        frame = "" if source.frame_number is None else f", frame {source.frame_number}"
        lines.append(f"image {index + 1 if number is None else number}{frame}: {', '.join(dict.fromkeys(labels))}")
    if len(images) > len(lines):
        lines.append(f"and {len(images) - len(lines)} more images")
    remark = f" {scene.report.remark}." if scene.report.remark else ""
    return f"AI result, not reviewed by a physician: {model.title} {model.version}.{remark} " + "; ".join(lines)


def check(scene: Scene, _ordered: str, document: Written) -> list[str]:
    """The images selected are those on which something shows best, and each is listed as evidence."""
    dataset = dcmread(BytesIO(document.payload))
    listed = {
        str(instance.ReferencedSOPInstanceUID)
        for study in dataset.CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    references = [item for child in dataset.ContentSequence for item in child.get("ReferencedSOPSequence") or ()]
    selected = {(str(item.ReferencedSOPInstanceUID), number) for item in references for number in frames_of(item)}
    faults = [f"key image {uid} is not listed as evidence" for uid in sorted({uid for uid, _ in selected} - listed)]
    wanted = {
        (source.sop_instance_uid, source.frame_number)
        for source in (scene.planes[index].reference for index in chosen(scene))
    }
    faults += [
        f"key image {uid}, frame {frame or 1}, shows no finding best"
        for uid, frame in sorted(selected - wanted, key=str)
    ]
    faults += [
        f"image {uid}, frame {frame or 1}, shows a finding best and is not selected"
        for uid, frame in sorted(wanted - selected, key=str)
    ]
    return faults


def frames_of(reference: Dataset) -> list[int | None]:
    """Referenced Frame Number, one or several; None for a single-frame instance."""
    if "ReferencedFrameNumber" not in reference:
        return [None]
    element = reference["ReferencedFrameNumber"]
    return [int(number) for number in (element.value if element.VM > 1 else [element.value])]


RESULT = ResultType("key_images", applies, encode_key_images, check)
