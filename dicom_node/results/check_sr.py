"""Does the written report lead to what it speaks of? A viewer shows nothing for a finding without coordinates."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dicom_node.results.check_group import faults_of_groups
from dicom_node.results.scene import Scene
from dicom_node.results.sources import ResultRefused, instances_besides, source_instances
from dicom_node.results.sr_document import referred
from dicom_node.results.sr_reading import CHARACTER_SET, CONTENT, EVIDENCE, Container, containers, top
from dicom_node.results.writing import Written

TRACKING_UID = ("112040", "DCM")
_REFERENCED_INSTANCE = re.compile(rb"\x08\x00\x55\x11UI(..)", re.DOTALL)


def check_report(scene: Scene, ordered: str, written: Written) -> list[str]:
    """The check of every type of report: no reference leads astray, each finding has its place, each group is as its
    template says."""
    known = source_instances(scene.report)
    known |= {item.reference.sop_instance_uid for item in instances_besides(scene.report)}
    return check_sr(written.payload, known | {one.reference.sop_instance_uid for one in referred(scene, ordered)})


def check_sr(payload: bytes, known: set[str]) -> list[str]:
    """Every reference of the report leads to an instance in `known`, is listed as evidence, and every finding has its place.

    Raises ResultRefused where that is not so. Gives what is wrong with its measurement groups, in words.
    """
    try:
        found = top(payload)
        content = found.get(CONTENT, b"")
        groups = list(containers(content))
    except ValueError as error:
        raise ResultRefused(f"the report cannot be read back: {error}") from error
    listed = {uid for tag in EVIDENCE for uid in _references(found.get(tag, b""))}
    for uid in sorted(_references(content)):
        if uid not in known or uid not in listed:
            raise ResultRefused(f"the report refers to {uid}, which is no source, or is not listed as evidence")
    placed, tracked = placed_and_tracked(groups)
    if missing := tracked - placed:
        raise ResultRefused(
            f"{len(missing)} of {len(tracked)} findings have no outline on an image, so viewers would show none of"
            f" the report; the first is {min(missing)}"
        )
    return faults_of_groups(groups, found.get(CHARACTER_SET, b"ISO_IR 6"))


def placed_and_tracked(groups: Iterable[Container]) -> tuple[set[str], set[str]]:
    """Tracking Unique Identifiers of the groups that hold a 2D SCOORD, and of all groups."""
    placed, tracked = set(), set()
    for group in groups:
        uids = {child.uid for child in group.children if child.name == TRACKING_UID}
        tracked |= uids
        if any(child.value_type == "SCOORD" for child in group.children):
            placed |= uids
    return placed, tracked


def _references(value: bytes) -> set[str]:
    """Every Referenced SOP Instance UID (0008,1155) in a part of the file."""
    found = set()
    for match in _REFERENCED_INSTANCE.finditer(value):
        length = int.from_bytes(match[1], "little")
        found.add(value[match.end() : match.end() + length].rstrip(b"\0").decode("latin-1"))
    return found
