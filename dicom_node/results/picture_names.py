"""What pictures are called: images that are taken one by one, by their number, frame, side and view."""

from __future__ import annotations

from inference.volume import Picture, Volume


def name_of(volume: Volume, *pictures: int) -> str:
    """ "image 2, frame 5 (R MLO)"; of several frames of one instance, from the first to the last."""
    first, last = volume.pictures[pictures[0]], volume.pictures[pictures[-1]]
    seen = " ".join(part for part in (first.laterality, first.view) if part)
    return f"{short_name(volume, first)}{_until(first, last)}" + (f" ({seen})" if seen else "")


def headed(name: str) -> str:
    """With a capital, at the head of a line; the rest stays, for views have names in capitals."""
    return name[:1].upper() + name[1:]


def short_name(volume: Volume, picture: Picture) -> str:
    """ "image 2, frame 5"; the frame alone in a series of one instance."""
    frame = picture.source.frame_number
    if frame is None:
        return f"image {picture.instance_number}"
    instances = {one.source.sop_instance_uid for one in volume.pictures}
    return f"frame {frame}" if len(instances) == 1 else f"image {picture.instance_number}, frame {frame}"


def is_tiled(volume: Volume) -> bool:
    """Whether pictures are tiles of one large image."""
    return len({picture.slice for picture in volume.pictures}) < len(volume.pictures)


def _until(first: Picture, last: Picture) -> str:
    if last is first or last.source.frame_number is None:
        return ""
    return f" to {last.source.frame_number}"
