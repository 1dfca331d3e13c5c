"""Lung densitometry a second time, by another road: what `ct_lung_density` is held against.

SimpleITK filters on the whole fine grid in three dimensions, where the model works on a coarse grid and slice by slice:
Otsu's threshold, region growing with explosion control for the airways, connected components, a ball for the vessels.
Nothing is shared with the model but the definition of what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813 -- the name that its own documentation uses
from numpy.typing import NDArray

from inference.volume import Volume


@dataclass(frozen=True)
class Lung:
    volume_ml: float
    mean_hu: float
    percentile_15_hu: float
    laa_950_percent: float


def lungs_by_itk(volume: Volume) -> dict[str, Lung]:
    """Right and left lung of an axial volume whose rows run to the back and columns to the left."""
    hu = around_the_body(volume.voxels)
    image = sitk.GetImageFromArray(hu)
    slices_mm, rows_mm, columns_mm = volume.spacing_mm
    image.SetSpacing((columns_mm, rows_mm, slices_mm))
    air = air_in_body(image)
    air = sitk.And(air, sitk.Not(dilated(airways(image, air, volume), 3)))
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(air), sortByObjectSize=True)
    numbers = sitk.GetArrayFromImage(pieces)
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(pieces)
    middle_x = shapes.GetCentroid(1)[0] / 2 + shapes.GetCentroid(2)[0] / 2
    lungs = {}
    for number in (1, 2):
        mask = sitk.BinaryMorphologicalClosing(pieces == number, [7, 7, 1])
        mask = fill_small_holes(mask)
        values = hu[sitk.GetArrayFromImage(mask).astype(bool)].astype(np.float64)
        side = "left" if shapes.GetCentroid(number)[0] > middle_x else "right"
        lungs[side] = Lung(
            volume_ml=values.size * volume.voxel_volume_ml,
            mean_hu=float(values.mean()),
            percentile_15_hu=float(np.percentile(values, 15)),
            laa_950_percent=100 * float((values < -950).mean()),
        )
    assert (numbers == 3).sum() < 0.2 * (numbers == 2).sum()
    return lungs


def around_the_body(hu: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without the rows and columns that hold hardly any tissue in any slice."""
    tissue = (hu > -300).sum(axis=0) > 0.2 * hu.shape[0]
    rows, columns = np.flatnonzero(tissue.sum(axis=1) > 40), np.flatnonzero(tissue.sum(axis=0) > 40)
    return np.ascontiguousarray(hu[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def air_in_body(image: sitk.Image) -> sitk.Image:
    """Air by Otsu's threshold between lung and tissue, without the air and the table around the body."""
    limited = sitk.Clamp(image, lowerBound=-1024, upperBound=200)
    tissue = sitk.BinaryMorphologicalOpening(limited > -300, [4, 4, 0])
    body = sitk.RelabelComponent(sitk.ConnectedComponent(tissue), sortByObjectSize=True) == 1
    planes = [sitk.BinaryFillhole(body[:, :, index]) for index in range(body.GetSize()[2])]
    filled = sitk.JoinSeries(planes)
    filled.CopyInformation(body)
    otsu = sitk.OtsuThresholdImageFilter()
    otsu.SetMaskValue(1)
    otsu.SetInsideValue(1)
    otsu.SetOutsideValue(0)
    return otsu.Execute(limited, sitk.Cast(filled, sitk.sitkUInt8))


def airways(image: sitk.Image, air: sitk.Image, volume: Volume) -> sitk.Image:
    """Grow from the trachea with an ever higher threshold, and keep the last one before the lungs flood in."""
    smooth = sitk.Median(image, [1, 1, 0])
    seed = trachea_seed(air, volume)
    kept = None
    for upper in range(-950, -700, 25):
        grown = sitk.ConnectedThreshold(smooth, seedList=[seed], lower=-2000, upper=upper)
        millilitres = float(sitk.GetArrayViewFromImage(grown).sum()) * volume.voxel_volume_ml
        if millilitres > 90:
            break
        kept = grown
    assert kept is not None
    return kept


def trachea_seed(air: sitk.Image, volume: Volume) -> tuple[int, int, int]:
    """The middle of the most central round spot of air in the slices above the lungs."""
    head_first = volume.affine_lps[2, 0] > 0
    size = air.GetSize()
    order = range(size[2] - 1, size[2] // 2, -1) if head_first else range(size[2] // 2)
    for index in order:
        shapes = sitk.LabelShapeStatisticsImageFilter()
        shapes.Execute(sitk.ConnectedComponent(air[:, :, index]))
        for label in shapes.GetLabels():
            central = abs(shapes.GetCentroid(label)[0] - size[0] * volume.spacing_mm[2] / 2) < 50
            if central and 100 < shapes.GetPhysicalSize(label) < 700 and shapes.GetRoundness(label) > 0.75:
                x, y = air[:, :, index].TransformPhysicalPointToIndex(shapes.GetCentroid(label))
                return x, y, index
    raise AssertionError("no trachea")


def dilated(mask: sitk.Image, radius: int) -> sitk.Image:
    return sitk.BinaryDilate(mask, [radius, radius, 0])


def fill_small_holes(mask: sitk.Image) -> sitk.Image:
    """Holes of a slice up to 3 cm2: vessels, and not the dome of the diaphragm."""
    planes = []
    for index in range(mask.GetSize()[2]):
        plane = mask[:, :, index]
        holes = sitk.ConnectedComponent(sitk.And(sitk.BinaryFillhole(plane), sitk.Not(plane)))
        shapes = sitk.LabelShapeStatisticsImageFilter()
        shapes.Execute(holes)
        for label in shapes.GetLabels():
            if shapes.GetPhysicalSize(label) < 300:
                plane = sitk.Or(plane, sitk.Cast(holes == label, plane.GetPixelID()))
        planes.append(plane)
    filled = sitk.JoinSeries(planes)
    filled.CopyInformation(mask)
    return filled
