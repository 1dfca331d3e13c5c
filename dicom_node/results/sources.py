"""The images behind the volume: which slice is which frame, and where it lies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_node.errors import NodeError
from dicom_node.results.picture_names import is_tiled
from dicom_node.results.report import Report
from inference.frames import Frame, frames_of
from inference.volume import Picture, SourceFrame, Volume


class ResultRefused(NodeError):
    """The result contradicts the images that it was made from; it is not sent."""


@dataclass(frozen=True, slots=True)
class Reference:
    """A source instance, and one of its frames where it has several."""

    sop_class_uid: str
    sop_instance_uid: str
    frame_number: int | None = None

    def item(self) -> Dataset:
        """As an item of a sequence that references images (PS3.3 table 10-3)."""
        dataset = Dataset()
        dataset.ReferencedSOPClassUID = self.sop_class_uid
        dataset.ReferencedSOPInstanceUID = self.sop_instance_uid
        if self.frame_number is not None:
            dataset.ReferencedFrameNumber = self.frame_number
        return dataset


@dataclass(frozen=True, slots=True)
class Besides:
    """An instance of another series that the findings rest on, with the name of that series in the input contract."""

    name: str
    study_instance_uid: str
    series_instance_uid: str
    reference: Reference


@dataclass(frozen=True, slots=True)
class Plane:
    """Where one source frame lies: its attributes as the instance states them, in mm.

    Of an image that is taken by itself there is neither position nor orientation, and perhaps no spacing; toward: where its
    rows and columns run to, as far as it says (Patient Orientation). tile: of a slide, where its first pixel lies in the total
    pixel matrix: row and column, counted from 0; offset_mm: its centre on the slide, along X, Y and Z.
    """

    reference: Reference
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing_mm: tuple[float, float] | None
    rows: int
    columns: int
    toward: tuple[str, ...] = ()
    tile: tuple[int, int] | None = None
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def has_place(self) -> bool:
        """Whether it lies somewhere in the patient."""
        return bool(self.position)

    def affine_lps(self) -> NDArray[np.float64]:
        """float64 (3, 3): (row, column, 1) -> centre of that pixel in mm (PS3.3 C.7.6.2.1.1)."""
        row_direction, column_direction = np.asarray(self.orientation[:3]), np.asarray(self.orientation[3:])
        if self.pixel_spacing_mm is None:
            raise ResultRefused(f"{self.reference.sop_instance_uid} has no pixel spacing, so it has no place")
        between_rows_mm, between_columns_mm = self.pixel_spacing_mm
        steps = [column_direction * between_rows_mm, row_direction * between_columns_mm, np.asarray(self.position)]
        return np.stack(steps, axis=1)


def source_frames(volume: Volume) -> tuple[SourceFrame, ...]:
    """The acquired frames, in order: those of the slices, or those that the slices were resampled from."""
    if volume.pictures:
        return tuple(picture.source for picture in volume.pictures)
    return volume.acquired.sources if volume.acquired else volume.sources


def instances_used(report: Report) -> list[Reference]:
    """The source instances that the volume was made of, each once, in the order given; all, where there is no volume."""
    used = None if report.volume is None else {frame.sop_instance_uid for frame in source_frames(report.volume)}
    return [
        Reference(sop_class_uid, sop_instance_uid)
        for sop_instance_uid, sop_class_uid in _class_by_instance(report).items()
        if used is None or sop_instance_uid in used
    ]


def source_instances(report: Report) -> set[str]:
    """SOP Instance UIDs of the series, as far as they could be in a volume."""
    return set(_class_by_instance(report))


def instance_numbers(report: Report) -> dict[str, int | None]:
    """Instance Number of each source instance, by its SOP Instance UID."""
    if report.frames:
        return {frame.source.sop_instance_uid: frame.instance_number or None for frame in report.frames}
    return {str(source.get("SOPInstanceUID")): source.get("InstanceNumber") for source in report.sources}


def source_finder(report: Report) -> Callable[[str], Dataset]:
    """From a SOP Instance UID to the source instance; no more of these are read than are asked for."""
    if not report.frames:
        return {str(source.SOPInstanceUID): source for source in report.sources}.__getitem__
    places = {frame.source.sop_instance_uid: frame.instance for frame in report.frames}
    return lambda sop_instance_uid: report.sources[places[sop_instance_uid]]


def _class_by_instance(report: Report) -> dict[str, str]:
    """SOP Class UID of each source instance, by its SOP Instance UID, in the order of the sources."""
    if report.frames:
        return {frame.source.sop_instance_uid: frame.source.sop_class_uid for frame in report.frames}
    return {str(source.SOPInstanceUID): str(source.SOPClassUID) for source in report.sources}


def instances_besides(report: Report) -> list[Besides]:
    """The instances that the volumes of companions were made of, each once, in their order."""
    found = {}
    for companion in report.companions:
        volume = companion.volume
        for frame in source_frames(volume):
            reference = Reference(frame.sop_class_uid, frame.sop_instance_uid)
            found[frame.sop_instance_uid] = Besides(
                companion.name, volume.study_instance_uid, volume.series_instance_uid, reference
            )
    return list(found.values())


def planes(report: Report, volume: Volume) -> tuple[Plane, ...]:
    """The plane of each acquired frame.

    Raises ResultRefused where the volume names a frame that is not among the sources, or that has no plane.
    """
    if volume.pictures:
        among = source_instances(report)
        is_slide = is_tiled(volume)
        return tuple(_picture(picture, among, volume.header, is_tile=is_slide) for picture in volume.pictures)
    wanted = {frame.sop_instance_uid for frame in source_frames(volume)}
    known: dict[tuple[str, int], Frame] = {}
    for frame in report.frames or _frames(report.sources, wanted):
        known[frame.source.sop_instance_uid, frame.source.frame_number or 1] = frame
    found = []
    for number, source in enumerate(source_frames(volume)):
        if not source.sop_instance_uid:
            raise ResultRefused(f"image {number} of the volume has no SOP Instance UID: no result can point at it")
        match = known.get((source.sop_instance_uid, source.frame_number or 1))
        if match is None:
            raise ResultRefused(
                f"image {number} of the volume is {source.sop_instance_uid}, frame {source.frame_number or 1},"
                " which is not among the source instances: encode with the series that was analysed"
            )
        found.append(_plane(match))
    return tuple(found)


def _frames(sources: Iterable[Dataset], wanted: set[str]) -> Iterator[Frame]:
    for index, dataset in enumerate(sources):
        if dataset.get("SOPInstanceUID") in wanted:
            yield from frames_of(index, dataset)


def _picture(picture: Picture, among: set[str], header: Dataset, *, is_tile: bool) -> Plane:
    source = picture.source
    if source.sop_instance_uid not in among:
        raise ResultRefused(
            f"image {source.sop_instance_uid} was analysed, which is not among the source instances: encode with the series"
            " that was analysed"
        )
    reference = Reference(source.sop_class_uid, source.sop_instance_uid, source.frame_number)
    tile = (picture.row, picture.column) if is_tile else None
    offset_mm = on_slide(header, picture) if is_tile else (0.0, 0.0, 0.0)
    return Plane(
        reference, (), (), picture.pixel_spacing_mm, picture.rows, picture.columns, picture.toward, tile, offset_mm
    )


def on_slide(header: Dataset, picture: Picture) -> tuple[float, float, float]:
    """Centre of the first pixel of a tile in the slide's coordinates, in mm (PS3.3 C.8.12.2.1.1)."""
    origin = header.TotalPixelMatrixOriginSequence[0]
    start = np.array([float(origin.get(f"{axis}OffsetInSlideCoordinateSystem") or 0) for axis in "XYZ"])
    cosines = np.asarray([float(value) for value in header.ImageOrientationSlide])
    rows_mm, columns_mm = picture.pixel_spacing_mm or (0.0, 0.0)
    at = start + picture.column * columns_mm * cosines[:3] + picture.row * rows_mm * cosines[3:]
    return float(at[0]), float(at[1]), float(at[2])


def _plane(frame: Frame) -> Plane:
    if frame.position is None or frame.orientation is None or frame.pixel_spacing_mm is None:
        raise ResultRefused(f"{frame.name} has no position, orientation or pixel spacing: it cannot carry a mask")
    source = frame.source
    return Plane(
        reference=Reference(source.sop_class_uid, source.sop_instance_uid, source.frame_number),
        position=frame.position,
        orientation=frame.orientation,
        pixel_spacing_mm=frame.pixel_spacing_mm,
        rows=frame.rows,
        columns=frame.columns,
    )
