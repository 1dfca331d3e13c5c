"""Findings to a Secondary Capture image (PS3.3 A.8.1): the summary that every viewer can show."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_node.results import codes, context
from dicom_node.results.card import draw_card
from dicom_node.results.check_sc import check_sc
from dicom_node.results.report import Report
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene
from dicom_node.results.sources import instances_used
from dicom_node.results.writing import Written, written

DRAWN = "Slices with what an algorithm (AI) found drawn over them, and a table of its findings"
WHY_NOT = "Why an algorithm (AI) did not analyse the images, in words"


def applies(_scene: Scene) -> bool:
    """A destination that takes pictures only must not meet silence: what was not analysed has its card, too."""
    return True


def encode_sc(scene: Scene, _ordered: str) -> Written:
    """One RGB image. It says of itself that it bears burned in text; neither name nor number of the patient is in it."""
    report = scene.report
    pixels = np.asarray(draw_card(scene), np.uint8)
    dataset = context.new_object(report, "sc", SecondaryCaptureImageStorage, "OT")
    dataset.ConversionType = "SYN"
    dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = dataset.ContentDate, dataset.ContentTime
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = dataset.Laterality = ""
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.LossyImageCompression = "00"
    dataset.DerivationDescription = DRAWN if scene.is_analysed else WHY_NOT
    dataset.SourceImageSequence = source_images(report)
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    data = pixels.tobytes()
    dataset.PixelData = data + b"\0" * (len(data) % 2)
    dataset["PixelData"].VR = "OB"
    return written(dataset)


def check(scene: Scene, _ordered: str, sc: Written) -> list[str]:
    return check_sc(scene, sc)


def source_images(report: Report) -> list[Dataset]:
    """General Reference (PS3.3 C.12.4): the images that the summary sums up."""
    items = []
    for instance in instances_used(report):
        item = instance.item()
        item.PurposeOfReferenceCodeSequence = [codes.concept(codes.SOURCE_OF_PROCESSING)]
        items.append(item)
    return items


RESULT = ResultType("sc", applies, encode_sc, check)
