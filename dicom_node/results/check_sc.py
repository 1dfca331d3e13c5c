"""Does the written picture hold what was drawn, and the words that no picture may lack? Asked of the bytes."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.results.card import foot_of
from dicom_node.results.scene import Scene
from dicom_node.results.sources import ResultRefused, source_instances
from dicom_node.results.writing import Written


def check_sc(scene: Scene, sc: Written) -> list[str]:
    """What is wrong with it, in words."""
    stored = dcmread(BytesIO(sc.payload))
    pixels, faults = pixels_of(stored), []
    if not np.array_equal(pixels, pixels_of(sc.dataset)):
        faults.append("the stored picture is not the one that was drawn")
    foot = np.asarray(foot_of(scene), np.uint8)
    if not np.array_equal(pixels[-len(foot) :], foot):
        faults.append("the picture lacks the words at its foot: that it is the result of an algorithm")
    if stored.BurnedInAnnotation != "YES":
        faults.append("the picture bears text and does not say so (Burned In Annotation)")
    return faults + dangling(scene, stored)


def pixels_of(dataset: Dataset) -> NDArray[np.uint8]:
    """uint8 (rows, columns, 3). Raises ResultRefused where Pixel Data have another length than Rows and Columns say."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    size = rows * columns * 3
    if len(dataset.PixelData) != size + size % 2:
        raise ResultRefused(
            f"the picture has {len(dataset.PixelData)} bytes of Pixel Data, but {rows} x {columns} RGB pixels need {size}"
        )
    return np.frombuffer(dataset.PixelData, np.uint8, size).reshape(rows, columns, 3)


def dangling(scene: Scene, stored: Dataset, keyword: str = "SourceImageSequence") -> list[str]:
    """References to instances that are no sources of the report."""
    known = source_instances(scene.report)
    named = [str(item.ReferencedSOPInstanceUID) for item in stored.get(keyword) or ()]
    if not named:
        return ["it names no image that it was made from"]
    return [f"it refers to {uid}, which is no source" for uid in named if uid not in known]
