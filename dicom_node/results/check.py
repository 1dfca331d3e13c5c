"""Does the written object say what was found, where it was found? Asked of the bytes, before anyone may send them.

No validator sees a mask that is turned upside down, and a viewer shows nothing for a finding without coordinates; both
are refused here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.results.segments import Numbered
from dicom_node.results.sources import Plane, ResultRefused
from inference.geometry import tolerance
from inference.volume import Volume

SAME_PLACE_MM = 0.01
"""Decimal strings keep 16 characters, so a position comes back much closer than this."""


def check_volume(volume: Volume, planes: Sequence[Plane]) -> None:
    """The grid of the masks is the grid of the source frames, corner by corner.

    Raises ResultRefused: then masks on this volume would be drawn in the wrong place.
    """
    grid = volume.acquired
    rows, columns = (grid.rows, grid.columns) if grid else volume.voxels.shape[1:]
    corners = np.array([(0, 0), (0, columns - 1), (rows - 1, 0), (rows - 1, columns - 1)], np.float64)
    within_plane = corners @ volume.affine_lps[:3, 1:3].T
    allowed_mm = tolerance(volume.spacing_mm[0])
    for index, (origin, plane) in enumerate(zip(origins_lps(volume), planes, strict=True)):
        if (plane.rows, plane.columns) != (rows, columns):
            raise ResultRefused(
                f"image {index} of the volume has {rows} x {columns} pixels, its source"
                f" {plane.reference.sop_instance_uid} {plane.rows} x {plane.columns}"
            )
        theirs = np.column_stack([corners, np.ones(4)]) @ plane.affine_lps().T
        apart_mm = float(np.linalg.norm(origin + within_plane - theirs, axis=1).max())
        if apart_mm > allowed_mm:
            raise ResultRefused(
                f"image {index} of the volume lies {apart_mm:.2f} mm from its source"
                f" {plane.reference.sop_instance_uid} (allowed {allowed_mm:.2f} mm): its masks are flipped or moved"
            )


def origins_lps(volume: Volume) -> NDArray[np.float64]:
    """float64 (planes, 3): centre of the first pixel of each acquired image, as the volume has it, in mm."""
    if volume.acquired:
        return volume.acquired.origins_lps
    steps = np.arange(len(volume.sources))[:, None] * volume.affine_lps[:3, 0]
    return np.asarray(volume.affine_lps[:3, 3] + steps, np.float64)


def check_seg(payload: bytes, segments: Sequence[Numbered], planes: Sequence[Plane]) -> None:
    """Read the Segmentation back: every frame lies where its source frame lies and holds that part of the mask.

    Raises ResultRefused.
    """
    dataset = dcmread(BytesIO(payload))
    by_number = {item.number: item for item in segments if item.number}
    slices = {(plane.reference.sop_instance_uid, plane.reference.frame_number): i for i, plane in enumerate(planes)}
    seen: set[tuple[int, int]] = set()
    groups = dataset.PerFrameFunctionalGroupsSequence
    for frame, (group, stored) in enumerate(zip(groups, unpack(dataset), strict=True), start=1):
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        index = slices.get((source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber")))
        number = int(group.SegmentIdentificationSequence[0].ReferencedSegmentNumber)
        if index is None or number not in by_number:
            raise ResultRefused(f"frame {frame} of the Segmentation refers to what is not a source, or to no segment")
        position = np.asarray(group.PlanePositionSequence[0].ImagePositionPatient, np.float64)
        apart_mm = float(np.linalg.norm(position - planes[index].position))
        if apart_mm > SAME_PLACE_MM:
            raise ResultRefused(f"frame {frame} of the Segmentation lies {apart_mm:.2f} mm from its source frame")
        if not np.array_equal(stored, by_number[number].mask[index]):
            raise ResultRefused(f"frame {frame} of the Segmentation is not image {index} of segment {number}")
        seen.add((number, index))
    expected = {(number, int(i)) for number, item in by_number.items() for i in np.flatnonzero(item.pixels)}
    if seen != expected or len(groups) != len(expected):
        raise ResultRefused(f"the Segmentation holds {len(seen)} of {len(expected)} frames that are not empty")


def unpack(dataset: Dataset) -> Iterator[NDArray[np.bool_]]:
    """The frames of a BINARY Segmentation as bool (rows, columns); bits follow without padding (PS3.5 8.1.1)."""
    size = dataset.Rows * dataset.Columns
    packed = np.frombuffer(dataset.PixelData, np.uint8)
    for index in range(int(dataset.NumberOfFrames)):
        first, last = index * size, (index + 1) * size
        bits = np.unpackbits(packed[first // 8 : -(-last // 8)], bitorder="little")
        yield bits[first % 8 : first % 8 + size].reshape(dataset.Rows, dataset.Columns).astype(np.bool_)


def check_sr(payload: bytes, known: set[str]) -> None:
    """Every reference of the report leads to an instance in `known`, is listed as evidence, and every finding has its place.

    Raises ResultRefused.
    """
    dataset = dcmread(BytesIO(payload))
    listed = {
        instance.ReferencedSOPInstanceUID
        for study in (
            *dataset.CurrentRequestedProcedureEvidenceSequence,
            *(dataset.get("PertinentOtherEvidenceSequence") or ()),
        )
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    for item in walk(dataset):
        for instance in item.get("ReferencedSOPSequence") or ():
            uid = instance.ReferencedSOPInstanceUID
            if uid not in known or uid not in listed:
                raise ResultRefused(f"the report refers to {uid}, which is no source, or is not listed as evidence")
    placed, tracked = tracking_uids(dataset)
    if missing := tracked - placed:
        raise ResultRefused(
            f"{len(missing)} of {len(tracked)} findings have no outline on an image, so viewers would show none of"
            f" the report; the first is {min(missing)}"
        )


def tracking_uids(dataset: Dataset) -> tuple[set[str], set[str]]:
    """Tracking Unique Identifiers of the groups that hold a 2D SCOORD, and of all groups."""
    placed, tracked = set(), set()
    for item in walk(dataset):
        children = item.get("ContentSequence") or ()
        names = [child.ConceptNameCodeSequence[0].CodeValue for child in children if "ConceptNameCodeSequence" in child]
        if "112040" not in names:
            continue
        uid = next(child.UID for child in children if child.ConceptNameCodeSequence[0].CodeValue == "112040")
        tracked.add(str(uid))
        if any(child.ValueType == "SCOORD" for child in children):
            placed.add(str(uid))
    return placed, tracked


def walk(item: Dataset) -> Iterator[Dataset]:
    """The content item and all below it."""
    yield item
    for child in item.get("ContentSequence") or ():
        yield from walk(child)
