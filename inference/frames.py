"""One image plane and what its instance says about it: the unit from which stacks are built.

A single-frame instance is one frame (PS3.3 C.7.6.2, Image Plane). An enhanced multi-frame instance, legacy
converted ones included, holds many, each described by its functional groups (PS3.3 C.7.6.16).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeGuard

from pydicom.dataset import Dataset
from pydicom.tag import BaseTag

from inference import elements
from inference.volume import SourceFrame

_SOP_CLASS = elements.tag_of("SOPClassUID")
_SOP_INSTANCE = elements.tag_of("SOPInstanceUID")
_FRAME_OF_REFERENCE = elements.tag_of("FrameOfReferenceUID")
_INSTANCE_NUMBER = elements.tag_of("InstanceNumber")
_IMAGE_TYPE = elements.tag_of("ImageType")
_FRAME_TYPE = elements.tag_of("FrameType")
_ROWS = elements.tag_of("Rows")
_COLUMNS = elements.tag_of("Columns")
_POSITION = elements.tag_of("ImagePositionPatient")
_ORIENTATION = elements.tag_of("ImageOrientationPatient")
_PIXEL_SPACING = elements.tag_of("PixelSpacing")
_BETWEEN_SLICES = elements.tag_of("SpacingBetweenSlices")
_THICKNESS = elements.tag_of("SliceThickness")
_SLOPE = elements.tag_of("RescaleSlope")
_INTERCEPT = elements.tag_of("RescaleIntercept")
_PER_FRAME = elements.tag_of("PerFrameFunctionalGroupsSequence")
_FRAMES = elements.tag_of("NumberOfFrames")

READ = (
    *(_SOP_CLASS, _SOP_INSTANCE, _FRAME_OF_REFERENCE, _INSTANCE_NUMBER, _IMAGE_TYPE, _ROWS, _COLUMNS, _POSITION),
    *(_ORIENTATION, _PIXEL_SPACING, _BETWEEN_SLICES, _THICKNESS, _SLOPE, _INTERCEPT, _PER_FRAME, _FRAMES),
)
"""All that `frames_of` asks of an instance with one frame."""

_VARYING = (
    "ImageType",
    "ComplexImageComponent",
    "TemporalPositionIdentifier",
    "AcquisitionNumber",
    "EchoTime",
    "EchoNumbers",
    "InversionTime",
    "FlipAngle",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "TriggerTime",
    "KVP",
    "ConvolutionKernel",
    "AcquisitionTime",
    "ContentTime",
)
"""What may tell images at one position apart: first what kind of picture it is, then when it was taken, the surest
attribute first."""

_VARYING_TAGS = {keyword: elements.tag_of(keyword) for keyword in _VARYING}

_FRAME_VARYING = (
    ("MRImageFrameTypeSequence", "FrameType"),
    ("MRImageFrameTypeSequence", "ComplexImageComponent"),
    ("CTImageFrameTypeSequence", "FrameType"),
    ("FrameContentSequence", "StackID"),
    ("FrameContentSequence", "TemporalPositionIndex"),
    ("FrameContentSequence", "FrameAcquisitionNumber"),
    ("MREchoSequence", "EffectiveEchoTime"),
    ("MRDiffusionSequence", "DiffusionBValue"),
    ("MRDiffusionSequence", "DiffusionDirectionality"),
    ("MRDiffusionSequence", "DiffusionGradientDirectionSequence"),
    ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    ("CTReconstructionSequence", "ConvolutionKernel"),
    ("FrameContentSequence", "FrameReferenceDateTime"),
)


@dataclass(frozen=True, slots=True)
class Frame:
    """One image plane. position, orientation, pixel_spacing_mm as in the standard; None where the instance
    lacks them.

    instance: which data set of the series, counted from 0. index: which of its frames, counted from 0.
    thickness_mm: Spacing Between Slices, else Slice Thickness: the only spacing that a lone image has.
    slope, intercept: of the rescale; 1 and 0 where absent, NaN where they are there and no numbers.
    """

    instance: int
    index: int
    source: SourceFrame
    instance_number: int
    rows: int
    columns: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, float] | None
    thickness_mm: float | None
    slope: float
    intercept: float
    image_type: tuple[str, ...]
    frame_of_reference_uid: str

    @property
    def is_localizer(self) -> bool:
        """Value 3 of Image Type (CT: PS3.3 C.8.2.1.1.1) or of Frame Type says so."""
        return "LOCALIZER" in self.image_type[2:]

    @property
    def name(self) -> str:
        """How a reason names this frame to a person."""
        within = f", frame {self.source.frame_number}" if self.source.frame_number else ""
        return f"image {self.instance_number}{within} ({self.source.sop_instance_uid})"


def is_multi_frame(dataset: elements.Attributes) -> TypeGuard[Dataset]:
    """True for an instance whose frames have functional groups of their own."""
    return _PER_FRAME in dataset


def frame_count(dataset: elements.Attributes) -> int:
    """Number of Frames, 1 where it is absent or no positive number."""
    return max(1, int(elements.number(dataset, _FRAMES) or 1))


def frames_of(instance: int, dataset: elements.Attributes) -> Iterator[Frame]:
    """The frames of one data set, in stored order."""
    if is_multi_frame(dataset):
        yield from _functional_group_frames(instance, dataset)
    else:
        yield _single_frame(instance, dataset)


def marks(dataset: Dataset, frame: Frame) -> dict[str, str]:
    """What may distinguish this frame from others at its position: attribute name to value, the surest first."""
    if not is_multi_frame(dataset):
        return {keyword: elements.shown(dataset, tag) for keyword, tag in _VARYING_TAGS.items()}
    groups = _groups(dataset, frame.index)
    found: dict[str, str] = {}
    for sequence, keyword in _FRAME_VARYING:
        found[keyword] = found.get(keyword) or _mark(_item(groups, sequence), keyword)
    found["InstanceNumber"] = str(frame.instance_number)
    found["SOPInstanceUID"] = frame.source.sop_instance_uid
    content = _item(groups, "FrameContentSequence")
    indices = [] if content is None else list(content.get("DimensionIndexValues", None) or [])
    found |= {f"DimensionIndexValues[{axis}]": str(value) for axis, value in enumerate(indices)}
    return found


def _mark(item: Dataset | None, keyword: str) -> str:
    if item is None:
        return ""
    if keyword == "DiffusionGradientDirectionSequence":
        gradient = item.get(keyword)
        return elements.shown(gradient[0], elements.tag_of("DiffusionGradientOrientation")) if gradient else ""
    return elements.shown(item, elements.tag_of(keyword))


def _single_frame(instance: int, dataset: elements.Attributes) -> Frame:
    thickness = elements.number(dataset, _BETWEEN_SLICES) or elements.number(dataset, _THICKNESS)
    return Frame(
        instance=instance,
        index=0,
        source=SourceFrame(elements.text(dataset, _SOP_CLASS), elements.text(dataset, _SOP_INSTANCE)),
        instance_number=int(elements.number(dataset, _INSTANCE_NUMBER) or 0),
        rows=elements.unsigned(dataset, _ROWS) or 0,
        columns=elements.unsigned(dataset, _COLUMNS) or 0,
        position=_of_length(elements.numbers(dataset, _POSITION), 3),
        orientation=_of_length(elements.numbers(dataset, _ORIENTATION), 6),
        pixel_spacing_mm=_pair(elements.numbers(dataset, _PIXEL_SPACING)),
        thickness_mm=abs(thickness) if thickness else None,
        slope=_rescale(dataset, _SLOPE, 1.0),
        intercept=_rescale(dataset, _INTERCEPT, 0.0),
        image_type=elements.values(dataset, _IMAGE_TYPE),
        frame_of_reference_uid=elements.text(dataset, _FRAME_OF_REFERENCE),
    )


def _functional_group_frames(instance: int, dataset: Dataset) -> Iterator[Frame]:
    source = elements.text(dataset, _SOP_CLASS), elements.text(dataset, _SOP_INSTANCE)
    number = int(elements.number(dataset, _INSTANCE_NUMBER) or 0)
    rows, columns = elements.unsigned(dataset, _ROWS) or 0, elements.unsigned(dataset, _COLUMNS) or 0
    frame_of_reference_uid = elements.text(dataset, _FRAME_OF_REFERENCE)
    image_type = elements.values(dataset, _IMAGE_TYPE)
    for index in range(len(dataset.PerFrameFunctionalGroupsSequence)):
        groups = _groups(dataset, index)
        empty = Dataset()
        position = _item(groups, "PlanePositionSequence") or empty
        orientation = _item(groups, "PlaneOrientationSequence") or empty
        measures = _item(groups, "PixelMeasuresSequence") or empty
        rescale = _item(groups, "PixelValueTransformationSequence") or empty
        kinds = [_item(groups, f"{kind}ImageFrameTypeSequence") for kind in ("CT", "MR", "PET")]
        frame_type = next((elements.values(kind, _FRAME_TYPE) for kind in kinds if kind is not None), ())
        thickness = elements.number(measures, _BETWEEN_SLICES) or elements.number(measures, _THICKNESS)
        yield Frame(
            instance=instance,
            index=index,
            source=SourceFrame(*source, index + 1),
            instance_number=number,
            rows=rows,
            columns=columns,
            position=_of_length(elements.numbers(position, _POSITION), 3),
            orientation=_of_length(elements.numbers(orientation, _ORIENTATION), 6),
            pixel_spacing_mm=_pair(elements.numbers(measures, _PIXEL_SPACING)),
            thickness_mm=abs(thickness) if thickness else None,
            slope=_rescale(rescale, _SLOPE, 1.0),
            intercept=_rescale(rescale, _INTERCEPT, 0.0),
            image_type=frame_type or image_type,
            frame_of_reference_uid=frame_of_reference_uid,
        )


def _groups(dataset: Dataset, index: int) -> tuple[Dataset, ...]:
    """The functional groups that hold for one frame: its own before the shared ones."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or ()
    return (dataset.PerFrameFunctionalGroupsSequence[index], *shared[:1])


def _item(groups: tuple[Dataset, ...], keyword: str) -> Dataset | None:
    for group in groups:
        sequence = group.get(keyword)
        if sequence:
            item: Dataset = sequence[0]
            return item
    return None


def _of_length(found: tuple[float, ...] | None, length: int) -> tuple[float, ...] | None:
    return found if found and len(found) == length else None


def _pair(found: tuple[float, ...] | None) -> tuple[float, float] | None:
    return (found[0], found[1]) if found and len(found) == 2 and min(found) > 0 else None


def _rescale(dataset: elements.Attributes, tag: BaseTag, default: float) -> float:
    """Slope or intercept; the default when it is absent, NaN when it is there and no number."""
    found = elements.number(dataset, tag)
    if found is None:
        return math.nan if elements.text(dataset, tag) else default
    return found
