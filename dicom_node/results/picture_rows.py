"""Findings of several pictures for a table: a segment has a row for each picture that something was measured on."""

from __future__ import annotations

from dataclasses import replace

from dicom_node.results.picture_names import short_name
from inference.findings import Findings, Measurement, Segment
from inference.volume import Volume


def by_picture(findings: Findings, volume: Volume) -> Findings:
    """The same findings, with the measurements of each segment told of the pictures one by one. No masks are changed."""
    if len(volume.pictures) < 2:
        return findings
    segments: list[Segment] = []
    measurements: list[Measurement] = []
    for segment in findings.segments:
        told = findings.of(segment.key)
        where = list(dict.fromkeys(one.pictures for one in told if one.pictures))
        if not where:
            segments.append(segment)
            measurements += told
        for pictures in where:
            key = f"{segment.key} {pictures}"
            label = f"{segment.label}, {short_name(volume, volume.pictures[pictures[0]])}"
            segments.append(replace(segment, key=key, label=label))
            measurements += [replace(one, finding_key=key) for one in told if one.pictures in (pictures, ())]
    keys = {segment.key for segment in findings.segments}
    measurements += [one for one in findings.measurements if one.finding_key not in keys]
    return replace(findings, segments=tuple(segments), measurements=tuple(measurements))
