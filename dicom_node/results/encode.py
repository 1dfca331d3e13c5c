"""A report to the objects that say it, each checked before it is handed back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TypeVar

from dicom_node.result_kinds import MAP, RESULT_KINDS, SEGMENTATIONS, ResultKind, kind_of
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
from dicom_node.results.dicom_file import DicomFile
from dicom_node.results.report import EncodedResult, Report
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import ParametricMap, Scene, Segmentation, scene_of
from dicom_node.results.sources import Reference, ResultRefused
from dicom_node.results.writing import Written

MODULES = (seg, seg_fractional, seg_labelmap, sr, sr_comprehensive, sr_text, sc, key_images, gsps, parametric_map, pdf)
Made = TypeVar("Made")
TYPES: dict[ResultKind, ResultType] = {module.RESULT.kind: module.RESULT for module in MODULES}


def encode(report: Report) -> tuple[EncodedResult, ...]:
    """The objects that the report orders, as far as there is something to say in them; what reports refer to comes first.

    One that does not pass its checks, or cannot be made, comes with its faults, and no report refers to it.
    Raises ResultRefused where the volume does not agree with the source images: then no object could be right.
    """
    scene = scene_of(report)
    results: list[EncodedResult] = []
    for ordered in sorted(report.kinds, key=_in_order):
        for part, result in _results_or_faults(scene, ordered):
            results.append(result)
            if not result.faults:
                scene = _known(scene, part, result)
    return tuple(results)


def _in_order(ordered: str) -> tuple[bool, int, str]:
    kind = kind_of(ordered)
    return kind not in (*SEGMENTATIONS, MAP), RESULT_KINDS.index(kind), ordered


def _known(scene: Scene, part: str | None, result: EncodedResult) -> Scene:
    """The scene in which reports may refer to a result, where it is of a kind that they refer to."""
    kind, series = kind_of(result.kind), result.series_instance_uid
    reference = Reference(result.sop_class_uid, result.sop_instance_uid)
    if kind in SEGMENTATIONS:
        return scene.besides(kind, Segmentation(series, reference))
    return scene.with_map(part, ParametricMap(series, reference)) if kind == MAP and part else scene


def _results_or_faults(scene: Scene, ordered: str) -> Iterator[tuple[str | None, EncodedResult]]:
    """Each with the key of its finding, of a kind that makes one for each. Nothing where there is nothing to say in this type."""
    result_type = TYPES.get(kind_of(ordered))
    if result_type is None:
        yield None, _not_made(scene, ordered, "no type of result of this version makes it")
        return
    parts = _tried(scene, ordered, lambda: result_type.parts(scene) if result_type.applies(scene) else ())
    if isinstance(parts, EncodedResult):
        yield None, parts
        return
    for part in parts:
        yield part.part, _tried(part, ordered, partial(_result, part, ordered, result_type))


def _tried(scene: Scene, ordered: str, make: Callable[[], Made]) -> Made | EncodedResult:
    """What is made, or the fault: one in one type, or in one of its objects, must not take the others with it."""
    try:
        return make()
    except ResultRefused as refusal:
        return _not_made(scene, ordered, str(refusal))
    except Exception as error:  # noqa: BLE001 - whatever it is
        return _not_made(scene, ordered, f"{type(error).__name__}: {error}")


def _not_made(scene: Scene, ordered: str, fault: str) -> EncodedResult:
    report = scene.report
    return EncodedResult(
        kind=ordered,
        sop_class_uid="",
        sop_instance_uid=identity.of_part(identity.sop_instance_uid(report, ordered), scene.part),
        series_instance_uid=identity.series_instance_uid(report, ordered),
        series_number=identity.series_number(report, ordered),
        description=identity.series_description(report),
        file=DicomFile(b""),
        faults=(fault,),
    )


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
        file=written.file,
        faults=tuple(_faults(scene, ordered, result_type, written)),
    )


def _faults(scene: Scene, ordered: str, result_type: ResultType, written: Written) -> list[str]:
    faults: list[str] = []
    try:
        faults += check_structure(scene, ordered, written.file)
        faults += result_type.check(scene, ordered, written)
    except ResultRefused as refusal:
        faults.append(str(refusal))
    except Exception as error:  # noqa: BLE001 - what cannot be checked is not sound
        faults.append(f"its check failed: {type(error).__name__}: {error}")
    return faults
