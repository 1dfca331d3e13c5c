"""A report to the objects that say it, each checked before it is handed back."""

from __future__ import annotations

from dicom_node.result_kinds import RESULT_KINDS, SEGMENTATIONS, ResultKind, kind_of
from dicom_node.results import (
    gsps,
    identity,
    key_images,
    parametric_map,
    pdf,
    sc,
    seg,
    seg_fractional,
    seg_labelmap,
    sr,
    sr_comprehensive,
    sr_text,
)
from dicom_node.results.check_structure import check_structure
from dicom_node.results.report import EncodedResult, Report
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene, Segmentation, scene_of
from dicom_node.results.sources import Reference, ResultRefused
from dicom_node.results.writing import Written

MODULES = (seg, seg_fractional, seg_labelmap, sr, sr_comprehensive, sr_text, sc, key_images, gsps, parametric_map, pdf)
TYPES: dict[ResultKind, ResultType] = {module.RESULT.kind: module.RESULT for module in MODULES}


def encode(report: Report) -> tuple[EncodedResult, ...]:
    """The objects that the report orders, as far as there is something to say in them; Segmentations come first.

    One that does not pass its checks comes with its faults, and no report refers to it.
    Raises ResultRefused where the volume does not agree with the source images: then no object could be right.
    """
    scene = scene_of(report)
    results = []
    for ordered in sorted(report.kinds, key=_in_order):
        result_type = TYPES[kind_of(ordered)]
        if not result_type.applies(scene):
            continue
        made = [_result(part, ordered, result_type) for part in result_type.parts(scene)]
        results += made
        result = made[-1]
        if result_type.kind in SEGMENTATIONS and not result.faults:
            reference = Reference(result.sop_class_uid, result.sop_instance_uid)
            scene = scene.besides(result_type.kind, Segmentation(result.series_instance_uid, reference))
    return tuple(results)


def _in_order(ordered: str) -> tuple[int, str]:
    return RESULT_KINDS.index(kind_of(ordered)), ordered


def _result(scene: Scene, ordered: str, result_type: ResultType) -> EncodedResult:
    written = result_type.encode(scene, ordered)
    dataset = written.dataset
    return EncodedResult(
        kind=ordered,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        series_number=identity.series_number(scene.report, ordered),
        description=str(dataset.SeriesDescription),
        payload=written.payload,
        faults=tuple(_faults(scene, ordered, result_type, written)),
    )


def _faults(scene: Scene, ordered: str, result_type: ResultType, written: Written) -> list[str]:
    faults = check_structure(scene, ordered, written.payload)
    try:
        return [*faults, *result_type.check(scene, ordered, written)]
    except ResultRefused as refusal:
        return [*faults, str(refusal)]
