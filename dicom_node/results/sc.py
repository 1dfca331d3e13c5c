"""Findings to a Secondary Capture image (PS3.3 A.8.1): the summary that every viewer can show."""

from __future__ import annotations

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_node.results import codes, context
from dicom_node.results.card import draw_card
from dicom_node.results.report import Report
from dicom_node.results.result_type import ResultType
from dicom_node.results.scene import Scene
from dicom_node.results.sources import instances_used
from dicom_node.results.writing import Written, written


def applies(scene: Scene) -> bool:
    return scene.is_analysed


def encode_sc(scene: Scene, _ordered: str) -> Written:
    """One RGB image. It says of itself that it bears burned in text; neither name nor number of the patient is in it."""
    report, volume = scene.report, scene.volume
    pixels = np.asarray(draw_card(report, volume), np.uint8)
    dataset = context.new_object(report, "sc", SecondaryCaptureImageStorage, "OT")
    dataset.ConversionType = "SYN"
    dataset.DateOfSecondaryCapture, dataset.TimeOfSecondaryCapture = dataset.ContentDate, dataset.ContentTime
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.PatientOrientation = dataset.Laterality = ""
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.LossyImageCompression = "00"
    dataset.DerivationDescription = "Slices with segments drawn over them, and a table of measurements"
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


def check(_scene: Scene, _ordered: str, _sc: Written) -> list[str]:
    return []


def source_images(report: Report) -> list[Dataset]:
    """General Reference (PS3.3 C.12.4): the images that the summary sums up."""
    items = []
    for instance in instances_used(report):
        item = instance.item()
        item.PurposeOfReferenceCodeSequence = [codes.concept(codes.SOURCE_OF_PROCESSING)]
        items.append(item)
    return items


RESULT = ResultType("sc", applies, encode_sc, check)
