"""What every object of a report draws on, made once: the planes of the source frames, and the segments on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dicom_node.result_kinds import ResultKind
from dicom_node.results.check_volume import check_volume
from dicom_node.results.report import Report
from dicom_node.results.segments import Numbered, numbered
from dicom_node.results.sources import Plane, Reference, planes
from inference.volume import Volume


@dataclass(frozen=True, slots=True)
class Segmentation:
    """A Segmentation that was made of this report: its series, and itself."""

    series_instance_uid: str
    reference: Reference


@dataclass(frozen=True, slots=True)
class ParametricMap:
    """A Parametric Map that was made of one heat map: its series, and itself."""

    series_instance_uid: str
    reference: Reference


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A report with its geometry. Where nothing was analysed there are neither planes nor segments.

    planes: those acquired, in order. segmentations: by kind, those that were made and passed their checks. maps: likewise,
    by the key of their heat map. part: the key of the one finding that an object is about, of a kind that makes one for each.
    """

    report: Report
    planes: tuple[Plane, ...] = ()
    segments: tuple[Numbered, ...] = ()
    segmentations: Mapping[ResultKind, Segmentation] = field(default_factory=dict)
    maps: Mapping[str, ParametricMap] = field(default_factory=dict)
    part: str | None = None

    @property
    def volume(self) -> Volume:
        """The volume that was analysed. Raises ValueError where nothing was."""
        if self.report.volume is None or not self.is_analysed:
            raise ValueError("nothing was analysed, so there is no volume to draw on")
        return self.report.volume

    @property
    def is_analysed(self) -> bool:
        return self.report.findings.not_analysed is None

    def besides(self, kind: ResultKind, segmentation: Segmentation) -> Scene:
        """The same with a Segmentation that reports may refer to."""
        return replace(self, segmentations={**self.segmentations, kind: segmentation})

    def with_map(self, key: str, made: ParametricMap) -> Scene:
        """The same with a Parametric Map that reports may refer to."""
        return replace(self, maps={**self.maps, key: made})


def scene_of(report: Report) -> Scene:
    """Raises ResultRefused where the volume is not that of the source images: no object could be right."""
    volume = report.volume
    if volume is None or report.findings.not_analysed:
        return Scene(report)
    acquired = planes(report, volume)
    check_volume(volume, acquired)
    return Scene(report, acquired, numbered(report.findings, volume))
