"""Does a Parametric Map hold the numbers that were found, where they were found? Asked of the bytes."""

from __future__ import annotations

from io import BytesIO
from itertools import islice

import numpy as np
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.results.dicom_file import DicomFile
from dicom_node.results.scene import Scene
from dicom_node.results.skimmed import skim
from dicom_node.results.sources import Plane
from inference.findings import HeatMap
from inference.transforms import cuts

SAME_PLACE_MM = 0.01
SAME_GRID = 1e-5


def check_map(file: DicomFile, heat_map: HeatMap, scene: Scene) -> list[str]:
    """Faults in words. Each frame lies where its source frame lies and holds that plane of the map, value by value; what
    has no frame has no value; quantity and unit are the finding's."""
    head, skimmed = dcmread(BytesIO(file.head), stop_before_pixels=True), skim(file.head, file.size_bytes)
    count = int(head.NumberOfFrames)
    groups = head.PerFrameFunctionalGroupsSequence
    if skimmed.frames_at is None or skimmed.frames_size != 4 * count * head.Rows * head.Columns or len(groups) != count:
        return [
            f"the map says {count} frames, describes {len(groups)}, and holds {skimmed.frames_size} bytes of pixels"
        ]
    frames = islice(file.blocks(skimmed.frames_at, 4 * head.Rows * head.Columns), count)
    faults = _shared_faults(head, scene.planes[0], heat_map)
    known = {(one.reference.sop_instance_uid, one.reference.frame_number): n for n, one in enumerate(scene.planes)}
    left, planes = dict(enumerate(cuts(scene.volume))), scene.planes
    for number, (group, frame) in enumerate(zip(groups, frames, strict=True), start=1):
        values = np.frombuffer(frame, "<f4").reshape(head.Rows, head.Columns)
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        index = known.get((str(source.ReferencedSOPInstanceUID), source.get("ReferencedFrameNumber")))
        if index not in left:
            faults.append(f"frame {number} of the map refers to what is not a source, or to one that had its frame")
            continue
        position = np.asarray(group.PlanePositionSequence[0].ImagePositionPatient, np.float64)
        apart_mm = float(np.linalg.norm(position - planes[index].position))
        if apart_mm > SAME_PLACE_MM:
            faults.append(f"frame {number} of the map lies {apart_mm:.2f} mm from its source frame")
        if not np.array_equal(values, left.pop(index)(heat_map.values, np.nan), equal_nan=True):
            faults.append(f"frame {number} of the map does not hold the values of image {index}")
    without = [index for index, cut in left.items() if not np.isnan(cut(heat_map.values, np.nan)).all()]
    return faults + [f"the map has no frame for image {index}, which has values" for index in without]


def _shared_faults(head: Dataset, plane: Plane, heat_map: HeatMap) -> list[str]:
    shared, faults = head.SharedFunctionalGroupsSequence[0], []
    said = (*shared.PlaneOrientationSequence[0].ImageOrientationPatient, *shared.PixelMeasuresSequence[0].PixelSpacing)
    ours = (*plane.orientation, *(plane.pixel_spacing_mm or ()))
    if (head.Rows, head.Columns) != (plane.rows, plane.columns) or not np.allclose(said, ours, atol=SAME_GRID):
        faults.append(
            f"the map has {head.Rows} x {head.Columns} pixels with the axes and distances {list(said)}, its sources"
            f" {plane.rows} x {plane.columns} with {list(ours)}"
        )
    mapping = shared.RealWorldValueMappingSequence[0]
    if (mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept) != (1, 0):
        faults.append("the map's values must stand for themselves, but are said to be rescaled")
    unit = mapping.MeasurementUnitsCodeSequence[0].CodeValue
    quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0].CodeValue
    if (unit, quantity) != (heat_map.unit.value, heat_map.quantity.value):
        faults.append(
            f"the map says that it is {quantity} in {unit}, not {heat_map.quantity.value} in {heat_map.unit.value}"
        )
    return faults
