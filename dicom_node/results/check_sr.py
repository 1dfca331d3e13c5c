"""Does the written report lead to what it speaks of? A viewer shows nothing for a finding without coordinates."""

from __future__ import annotations

import re
from collections.abc import Iterator

from dicom_node.results.check_group import faults_of_shapes
from dicom_node.results.content_bytes import CONTENT, ContentBytes, ReadItem, Span
from dicom_node.results.scene import Scene
from dicom_node.results.sources import ResultRefused, instances_besides
from dicom_node.results.sr_document import segmentation_for
from dicom_node.results.writing import Written

_EVIDENCE = (0x0040A375, 0x0040A385)
_TRACKING_UID = ("112040", "DCM")
_REFERENCED_INSTANCE = re.compile(rb"\x08\x00\x55\x11UI(..)", re.DOTALL)


def check_report(scene: Scene, ordered: str, written: Written) -> list[str]:
    """The check of every type of report: no reference leads astray, each finding has its place, each group is as its
    template says."""
    segmentation = segmentation_for(scene, ordered)
    known = {str(source.SOPInstanceUID) for source in scene.report.sources}
    known |= {item.reference.sop_instance_uid for item in instances_besides(scene.report)}
    check_sr(written.payload, known | ({segmentation.reference.sop_instance_uid} if segmentation else set()))
    return faults_of_shapes(written.payload)


def check_sr(payload: bytes, known: set[str]) -> None:
    """Every reference of the report leads to an instance in `known`, is listed as evidence, and every finding has its place.

    Raises ResultRefused.
    """
    read = ContentBytes(payload)
    top = read.top()
    content = top.get(CONTENT)
    if content is None:
        raise ResultRefused("the report has no content")
    listed = {uid for tag in _EVIDENCE if tag in top for uid in _references(payload, top[tag])}
    for uid in _references(payload, content):
        if uid not in known or uid not in listed:
            raise ResultRefused(f"the report refers to {uid}, which is no source, or is not listed as evidence")
    placed, tracked = tracking_uids(read, content)
    if missing := tracked - placed:
        raise ResultRefused(
            f"{len(missing)} of {len(tracked)} findings have no outline on an image, so viewers would show none of"
            f" the report; the first is {min(missing)}"
        )


def tracking_uids(read: ContentBytes, content: Span) -> tuple[set[str], set[str]]:
    """Tracking Unique Identifiers of the groups that hold a 2D SCOORD, and of all groups."""
    placed, tracked = set(), set()
    for container in containers(read, content):
        children = list(read.content(container.children))
        uids = {child.uid for child in children if child.name == _TRACKING_UID}
        tracked |= uids
        if any(child.value_type == "SCOORD" for child in children):
            placed |= uids
    return placed, tracked


def containers(read: ContentBytes, content: Span) -> Iterator[ReadItem]:
    """Every container of the content, those in others included."""
    for item in read.content(content):
        if item.value_type == "CONTAINER" and item.children:
            yield item
            yield from containers(read, item.children)


def _references(payload: bytes, span: Span) -> set[str]:
    """Every Referenced SOP Instance UID (0008,1155) in a part of the file."""
    found = set()
    for match in _REFERENCED_INSTANCE.finditer(payload, span.start, span.end):
        length = int.from_bytes(match[1], "little")
        found.add(payload[match.end() : match.end() + length].rstrip(b"\0").decode("latin-1"))
    return found
