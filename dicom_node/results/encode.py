"""A report to the objects that say it: pure, and checked before it is handed back."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_node.results import identity
from dicom_node.results.check import check_seg, check_sr, check_volume
from dicom_node.results.report import EncodedResult, Kind, Report
from dicom_node.results.sc import encode_sc
from dicom_node.results.seg import encode_seg
from dicom_node.results.segments import numbered
from dicom_node.results.sources import instances_besides, planes
from dicom_node.results.sr import encode_sr
from dicom_node.results.writing import part10


def encode(report: Report) -> tuple[EncodedResult, ...]:
    """The objects of the kinds that the report asks for, in the order SEG, SR, SC.

    A Segmentation is made only where a segment holds a voxel. Where nothing was analysed there is the SR alone.
    Raises ResultRefused where what is written does not agree with the source images.
    """
    volume = report.volume
    if volume is None or report.findings.not_analysed:
        return (_sr(report),) if "sr" in report.kinds else ()
    acquired, segments = planes(report, volume), numbered(report.findings, volume)
    check_volume(volume, acquired)
    results = []
    segmentation_uid = None
    if "seg" in report.kinds and any(item.number for item in segments):
        seg = _result(report, "seg", encode_seg(report, volume, acquired, segments))
        check_seg(seg.payload, segments, acquired)
        segmentation_uid = seg.sop_instance_uid
        results.append(seg)
    if "sr" in report.kinds:
        sr = _result(report, "sr", encode_sr(report, acquired, segments, segmentation_uid))
        results.append(_checked(report, sr, segmentation_uid))
    if "sc" in report.kinds:
        results.append(_result(report, "sc", encode_sc(report, volume)))
    return tuple(results)


def _sr(report: Report) -> EncodedResult:
    """The report that nothing was analysed, and why."""
    return _checked(report, _result(report, "sr", encode_sr(report, (), (), None)), None)


def _checked(report: Report, result: EncodedResult, segmentation_uid: str | None) -> EncodedResult:
    known = {str(source.SOPInstanceUID) for source in report.sources}
    known |= {item.reference.sop_instance_uid for item in instances_besides(report)}
    check_sr(result.payload, known | ({segmentation_uid} if segmentation_uid else set()))
    return result


def _result(report: Report, kind: Kind, dataset: Dataset) -> EncodedResult:
    return EncodedResult(
        kind=kind,
        sop_class_uid=str(dataset.SOPClassUID),
        sop_instance_uid=str(dataset.SOPInstanceUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        series_number=identity.series_number(report, kind),
        description=str(dataset.SeriesDescription),
        payload=part10(dataset),
    )
