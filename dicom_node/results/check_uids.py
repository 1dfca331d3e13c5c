"""Are the UIDs of an object valid, and does every instance exist that it refers to?"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement

from dicom_node.results.scene import Scene
from dicom_node.results.skimmed import Skimmed
from dicom_node.results.sources import instances_besides, source_instances

LONGEST_UID = 64
VALID_UID = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")

REFERENCE = "ReferencedSOPInstanceUID"
NESTED = (
    REFERENCE,
    "ReferencedSOPClassUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "ReferencedFrameOfReferenceUID",
    "DimensionOrganizationUID",
    "DeviceUID",
    "TrackingUID",
    "UID",
)
"""Attributes whose UIDs our objects have within sequences."""


def uid_faults(scene: Scene, skimmed: Skimmed, payload: bytes) -> Iterator[str]:
    """A UID may break the rules only where the source's does: what is copied must stay the same."""
    own = str(skimmed.dataset.get("SOPInstanceUID") or "")
    known, elsewhere = _instances(scene), _stated_by_sources(scene)
    found = {keyword: values_of(keyword, payload, skimmed.head) for keyword in NESTED}
    everywhere = found | {keyword: uids | found.get(keyword, set()) for keyword, uids in _at_top(skimmed)}
    for keyword, uids in everywhere.items():
        for uid in sorted(uids - known - elsewhere):
            if len(uid) > LONGEST_UID or not VALID_UID.fullmatch(uid):
                yield f"{keyword} must be a UID of at most 64 characters (PS3.5 9.1), but is {uid!r}"
    for uid in sorted(found[REFERENCE] - known - {own}):
        yield (
            f"{REFERENCE} must name an image that was read, a report that is replaced or an object of this report, but"
            f" is {uid}"
        )


def values_of(keyword: str, payload: bytes, end: int) -> set[str]:
    """All values of an attribute of VR UI in the first bytes of a file, at whatever depth.

    Looked for by the bytes that begin such an element in Explicit VR Little Endian: to parse 1,000 groups of a report for
    it would take longer than to write them.
    """
    tag = tag_for_keyword(keyword) or 0
    begin = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, b"UI")
    found: set[bytes] = set()
    at = payload.find(begin, 0, end)
    while at >= 0:
        (size,) = struct.unpack_from("<H", payload, at + len(begin))
        first = at + len(begin) + 2
        found.add(payload[first : first + size])
        at = payload.find(begin, first, end)
    return {value.rstrip(b"\0 ").decode("ascii", "replace") for value in found} - {""}


def _at_top(skimmed: Skimmed) -> Iterator[tuple[str, set[str]]]:
    dataset = skimmed.dataset
    for tag in dataset.keys():  # noqa: SIM118 - a data set iterates over its parsed elements
        element = dataset.get_item(tag)
        if isinstance(element, RawDataElement) and element.VR == "UI" and element.value:
            values = element.value.decode("ascii", "replace").split("\\")
            yield keyword_for_tag(tag) or str(tag), {value.rstrip("\0 ") for value in values} - {""}


def _instances(scene: Scene) -> set[str]:
    """All that an object of this report may refer to."""
    report = scene.report
    found = source_instances(report)
    found |= {item.reference.sop_instance_uid for item in instances_besides(report)}
    found |= {item.sop_instance_uid for item in report.predecessors}
    found |= {item.reference.sop_instance_uid for item in scene.maps.values()}
    return found | {item.reference.sop_instance_uid for item in scene.segmentations.values()}


def _stated_by_sources(scene: Scene) -> set[str]:
    report = scene.report
    volumes = [volume for volume in (report.volume, *(one.volume for one in report.companions)) if volume]
    found = {
        str(report.first_source.get(name) or "")
        for name in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPClassUID")
    }
    for volume in volumes:
        found |= {volume.study_instance_uid, volume.series_instance_uid, volume.frame_of_reference_uid}
    for item in report.predecessors:
        found |= {item.study_instance_uid, item.series_instance_uid}
    return found
