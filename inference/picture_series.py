"""The instances of one series to pictures: images, and frames of images, that are analysed one by one.

Nothing is asked of where they lie. Each takes a slice of one array, so that what is found has a place as in a volume; smaller
ones leave the rest of their slice empty.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from inference import elements, memory, tiles
from inference.calibration import spacing_of
from inference.contract import InputContract
from inference.errors import NotAVolume
from inference.frames import Frame, frame_count, frames_of
from inference.instances import Instance
from inference.picture_contract import PictureFacts
from inference.picture_pixels import PixelsOfPicture, inverted_at, is_color, read_pictures
from inference.series import SeriesReading, SetAside, reasons_together
from inference.volume import Picture, SourceFrame, Volume

MOST_PIXELS = 1 << 28
"""Of all pictures together, each as large as the largest: 1 GiB of numbers."""

_STUDY, _SERIES = Tag("StudyInstanceUID"), Tag("SeriesInstanceUID")
_NO_PICTURES = ("1.2.840.10008.5.1.4.1.1.66", "1.2.840.10008.5.1.4.1.1.88", "1.2.840.10008.5.1.4.1.1.481")
"""Segmentations and maps, documents, and what belongs to radiotherapy."""


def read_each(instances: Sequence[Instance], contract: InputContract, *, threads: int = 1) -> SeriesReading:
    """One volume whose slices are the pictures, by Instance Number, then by frame. Raises NotAVolume where there is none."""
    frames: list[Frame] = []
    pictures: list[Picture] = []
    aside: list[SetAside] = []
    slide: tuple[int, Dataset] | None = None
    for number, dataset in _in_order(instances):
        try:
            if tiles.is_tiled(dataset):
                slide = _finer(slide, (number, dataset), contract, aside)
                continue
            found = _frames(number, dataset, contract)
        except (NotAVolume, *elements.UNREADABLE) as error:
            aside.append(SetAside(elements.text(dataset, Tag("SOPInstanceUID")), str(error)))
            continue
        frames += [frame for frame, _ in found]
        pictures += [picture for _, picture in found]
    if slide is not None:
        aside += [SetAside(frame.source.sop_instance_uid, "it is not in tiles, and a slide is") for frame in frames]
        return _of_slide(instances, slide, contract, aside, threads)
    if not frames:
        raise NotAVolume(reasons_together(aside) or "the series holds no instance")
    # Without its pixels a picture is none, so those of an instance that cannot be decoded leave no empty slice.
    return _filled(instances, frames, pictures, aside, threads)


def _finer(
    known: tuple[int, Dataset] | None, other: tuple[int, Dataset], contract: InputContract, aside: list[SetAside]
) -> tuple[int, Dataset]:
    """The resolution of a slide with more pixels; the other one is set aside. Raises NotAVolume for what is not taken."""
    tiles.require_whole_slide(other[1])
    _require(other[1], contract)
    if known is None:
        return other
    best, rest = sorted((known, other), key=lambda one: -math.prod(tiles.size_of(one[1])))
    aside.append(SetAside(elements.text(rest[1], Tag("SOPInstanceUID")), "a coarser resolution of the slide"))
    return best


def _of_slide(
    instances: Sequence[Instance],
    slide: tuple[int, Dataset],
    contract: InputContract,
    aside: list[SetAside],
    threads: int,
) -> SeriesReading:
    """One picture of all tiles."""
    number, dataset = slide
    if contract.images == "clip":
        raise NotAVolume("a slide in tiles is no clip")
    found = _frames(number, dataset, contract, samples=False)
    places = tiles.places_of(dataset, len(found))
    frames = [frame for frame, _ in found]
    pictures = [
        replace(picture, row=row, column=column) for (_, picture), (row, column) in zip(found, places, strict=True)
    ]
    voxels, colors, own = tiles.put_together(instances, frames, pictures, tiles.size_of(dataset), threads=threads)
    header = instances[number].header()
    volume = _volume(voxels, colors, own, header)
    return SeriesReading((tiles.placed(volume),), tuple(aside), tuple(frames))


def _in_order(instances: Sequence[Instance]) -> Iterator[tuple[int, Dataset]]:
    """By Instance Number and UID, each instance once."""
    told = [(number, one.described()) for number, one in enumerate(instances)]
    seen: set[str] = set()
    for number, dataset in sorted(told, key=lambda item: _rank(item[1])):
        uid = elements.text(dataset, Tag("SOPInstanceUID"))
        if uid not in seen:
            seen.add(uid)
            yield number, dataset


def _rank(dataset: Dataset) -> tuple[float, str]:
    return elements.number(dataset, Tag("InstanceNumber")) or 0.0, elements.text(dataset, Tag("SOPInstanceUID"))


def _require(dataset: Dataset, contract: InputContract) -> PictureFacts:
    """Raises NotAVolume for what is no image, or not one that the contract takes."""
    if elements.text(dataset, Tag("SOPClassUID")).startswith(_NO_PICTURES):
        raise NotAVolume("it is no image")
    if not dataset.get("Rows") or not dataset.get("Columns"):
        raise NotAVolume("it is no image")
    facts = facts_of_picture(dataset)
    spacing_mm, _ = spacing_of(dataset)
    if reason := contract.pictures.reason_against(facts) or contract.reason_against_spacing(spacing_mm):
        raise NotAVolume(reason)
    return facts


def _frames(
    number: int, dataset: Dataset, contract: InputContract, *, samples: bool = True
) -> list[tuple[Frame, Picture]]:
    """The frames of an instance that are shown to the model; all of them, where it does not sample.

    Raises NotAVolume where the instance is not what the contract takes.
    """
    facts = _require(dataset, contract)
    sop_class = elements.text(dataset, Tag("SOPClassUID"))
    spacing_mm, is_calibrated = spacing_of(dataset)
    first = next(frames_of(number, dataset))
    if not (math.isfinite(first.slope) and math.isfinite(first.intercept) and first.slope):
        raise NotAVolume("Rescale Slope or Rescale Intercept is no number to rescale by")
    is_single = dataset.get("NumberOfFrames") is None
    found = []
    for index in contract.pictures.frames_shown(facts) if samples else range(facts.frames):
        source = SourceFrame(sop_class, first.source.sop_instance_uid, None if is_single else index + 1)
        frame = _frame(first, index, source)
        picture = Picture(
            source=source,
            slice=0,
            rows=first.rows,
            columns=first.columns,
            instance_number=first.instance_number,
            pixel_spacing_mm=spacing_mm,
            is_calibrated=is_calibrated,
            laterality=str(dataset.get("ImageLaterality") or dataset.get("Laterality") or ""),
            view=facts.view,
            toward=tuple(str(end) for end in dataset.get("PatientOrientation") or ()),
            inverted_at=inverted_at(dataset, first.slope, first.intercept),
            is_color=is_color(dataset),
        )
        found.append((frame, picture))
    return found


def _frame(first: Frame, index: int, source: SourceFrame) -> Frame:
    return Frame(
        instance=first.instance,
        index=index,
        source=source,
        instance_number=first.instance_number,
        rows=first.rows,
        columns=first.columns,
        position=None,
        orientation=None,
        pixel_spacing_mm=None,
        thickness_mm=None,
        slope=first.slope,
        intercept=first.intercept,
        image_type=first.image_type,
        frame_of_reference_uid=first.frame_of_reference_uid,
    )


def facts_of_picture(dataset: Dataset) -> PictureFacts:
    codes = dataset.get("ViewCodeSequence") or ()
    view = dataset.get("ViewPosition") or (codes[0].get("CodeMeaning") if codes else "")
    return PictureFacts(
        photometric_interpretation=str(dataset.get("PhotometricInterpretation") or ""),
        samples_per_pixel=int(dataset.get("SamplesPerPixel") or 1),
        view=str(view or ""),
        frames=frame_count(dataset),
        frames_per_s=_rate(dataset),
    )


def _rate(dataset: Dataset) -> float | None:
    """Frames a second of a clip: by Frame Time, else by Cine Rate (PS3.3 C.7.6.5)."""
    frame_ms = elements.number(dataset, Tag("FrameTime"))
    if frame_ms and frame_ms > 0:
        return 1000.0 / frame_ms
    return elements.number(dataset, Tag("CineRate"))


def _filled(
    instances: Sequence[Instance],
    frames: Sequence[Frame],
    pictures: Sequence[Picture],
    aside: list[SetAside],
    threads: int,
) -> SeriesReading:
    """The volume of the pictures. Those of an instance whose pixels cannot be decoded are set aside."""
    rows, columns = max(one.rows for one in pictures), max(one.columns for one in pictures)
    if (needed := len(frames) * rows * columns) > MOST_PIXELS:
        raise NotAVolume(
            f"{len(frames)} pictures of up to {rows} x {columns} hold {needed:,} pixels, more than {MOST_PIXELS:,}: the model's"
            " input.pictures may take fewer frames (every_frame, most_frames)"
        )
    voxels = memory.zeros((len(frames), rows, columns), np.float32)
    colors, kept = None, list[int]()
    for instance in dict.fromkeys(frame.instance for frame in frames):
        own = [index for index, frame in enumerate(frames) if frame.instance == instance]
        begin = len(kept)
        try:
            for index, pixels in zip(
                own, read_pictures(instances, [frames[index] for index in own], threads=threads), strict=True
            ):
                if pixels.rgb is not None and colors is None:
                    colors = memory.zeros((*voxels.shape, 3), np.uint8)
                _put(pixels, pictures[index], voxels[len(kept)], None if colors is None else colors[len(kept)])
                kept.append(index)
        except NotAVolume as error:
            aside.append(SetAside(frames[own[0]].source.sop_instance_uid, str(error)))
            del kept[begin:]
    if not kept:
        raise NotAVolume(reasons_together(aside))
    placed = tuple(_at(pictures[index], place) for place, index in enumerate(kept))
    header = instances[frames[kept[0]].instance].header()
    shown = None if colors is None else colors[: len(kept)]
    volume = _volume(voxels[: len(kept)], shown, placed, header)
    return SeriesReading((volume,), tuple(aside), tuple(frames[index] for index in kept))


def _volume(
    voxels: NDArray[np.float32], colors: NDArray[np.uint8] | None, pictures: tuple[Picture, ...], header: Dataset
) -> Volume:
    first = {picture.slice: picture.source for picture in reversed(pictures)}
    return Volume(
        voxels=voxels,
        affine_lps=nominal_affine(pictures),
        frame_of_reference_uid="",
        study_instance_uid=elements.text(header, _STUDY),
        series_instance_uid=elements.text(header, _SERIES),
        sources=tuple(first[at] for at in range(len(voxels))),
        header=header,
        pictures=pictures,
        colors=colors,
    )


def _put(pixels: PixelsOfPicture, picture: Picture, grey: NDArray[np.float32], rgb: NDArray[np.uint8] | None) -> None:
    """Into the slice of the picture, whatever an instance that could not be decoded left there."""
    grey[:] = 0
    part = grey[: picture.rows, : picture.columns]
    part[:] = pixels.grey if picture.inverted_at is None else picture.inverted_at - pixels.grey
    if rgb is not None:
        rgb[:] = 0
        if pixels.rgb is not None:
            rgb[: picture.rows, : picture.columns] = pixels.rgb


def _at(picture: Picture, place: int) -> Picture:
    return replace(picture, slice=place)


def nominal_affine(pictures: Sequence[Picture]) -> NDArray[np.float64]:
    """Columns run to the left and rows to the back, as a picture is looked at: by the one pixel spacing that all have, else
    by pixels. It places nothing in the patient."""
    spacings = {picture.pixel_spacing_mm for picture in pictures}
    rows_mm, columns_mm = (spacings.pop() if len(spacings) == 1 else None) or (1.0, 1.0)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 1.0, rows_mm, columns_mm, 1.0
    return affine
