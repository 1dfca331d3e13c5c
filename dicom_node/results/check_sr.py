"""Does the written report lead to what it speaks of? A viewer shows nothing for a finding without coordinates."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicom_node.results.sources import ResultRefused


def check_sr(payload: bytes, known: set[str]) -> None:
    """Every reference of the report leads to an instance in `known`, is listed as evidence, and every finding has its place.

    Raises ResultRefused.
    """
    dataset = dcmread(BytesIO(payload))
    listed = {
        instance.ReferencedSOPInstanceUID
        for study in (
            *dataset.CurrentRequestedProcedureEvidenceSequence,
            *(dataset.get("PertinentOtherEvidenceSequence") or ()),
        )
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    }
    for item in walk(dataset):
        for instance in item.get("ReferencedSOPSequence") or ():
            uid = instance.ReferencedSOPInstanceUID
            if uid not in known or uid not in listed:
                raise ResultRefused(f"the report refers to {uid}, which is no source, or is not listed as evidence")
    placed, tracked = tracking_uids(dataset)
    if missing := tracked - placed:
        raise ResultRefused(
            f"{len(missing)} of {len(tracked)} findings have no outline on an image, so viewers would show none of"
            f" the report; the first is {min(missing)}"
        )


def tracking_uids(dataset: Dataset) -> tuple[set[str], set[str]]:
    """Tracking Unique Identifiers of the groups that hold a 2D SCOORD, and of all groups."""
    placed, tracked = set(), set()
    for item in walk(dataset):
        children = item.get("ContentSequence") or ()
        names = [child.ConceptNameCodeSequence[0].CodeValue for child in children if "ConceptNameCodeSequence" in child]
        if "112040" not in names:
            continue
        uid = next(child.UID for child in children if child.ConceptNameCodeSequence[0].CodeValue == "112040")
        tracked.add(str(uid))
        if any(child.ValueType == "SCOORD" for child in children):
            placed.add(str(uid))
    return placed, tracked


def walk(item: Dataset) -> Iterator[Dataset]:
    """The content item and all below it."""
    yield item
    for child in item.get("ContentSequence") or ():
        yield from walk(child)
