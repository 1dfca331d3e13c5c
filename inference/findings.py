"""Findings: what a model says, coded and with units. They know no DICOM object; a DICOM object knows no model."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Code:
    """A coded concept: value, coding scheme designator and meaning (PS3.3 section 8.8).

    Raises ValueError where one is longer than its VR allows: SH, SH and LO (PS3.5 6.2).
    """

    value: str
    scheme: str
    meaning: str

    def __post_init__(self) -> None:
        for name, text, longest in (
            ("value", self.value, 16),
            ("scheme", self.scheme, 16),
            ("meaning", self.meaning, 64),
        ):
            if not 1 <= len(text) <= longest:
                raise ValueError(f"code {name} must have 1 to {longest} characters, but is {text!r}")


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """A region of the volume.

    key names the segment within its model and never changes between versions ("left_lung"); tracking UIDs derive from it.
    mask: bool (slices, rows, columns) on the volume's grid. Segments may overlap.
    finding_site and laterality say where in the body, for the report; color_rgb is 0-255 for each channel.
    """

    key: str
    label: str
    category: Code
    type: Code
    mask: NDArray[np.bool_]
    color_rgb: tuple[int, int, int]
    finding_site: Code | None = None
    laterality: Code | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number with its unit (UCUM) about one segment, named by the segment's key.

    derivation says how the number was derived (mean, percentile; PS3.16 CID 7464), method how it was measured.
    """

    name: Code
    value: float
    unit: Code
    segment_key: str
    derivation: Code | None = None
    method: Code | None = None


@dataclass(frozen=True, slots=True)
class Remark:
    """A limitation that a reader must know before trusting a number: "slice spacing 8.0 mm > 5.0 mm validated"."""

    code: Code
    text: str


@dataclass(frozen=True, slots=True)
class NotAnalysed:
    """Why nothing was computed: a coded reason and the same in words, with the value that decided."""

    code: Code
    text: str


@dataclass(frozen=True, slots=True)
class Findings:
    """All that one model says about one volume. Where not_analysed is set, there are no segments or measurements."""

    segments: tuple[Segment, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    remarks: tuple[Remark, ...] = ()
    not_analysed: NotAnalysed | None = None
    parameters: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.not_analysed and (self.segments or self.measurements):
            raise ValueError("findings that say 'not analysed' must hold neither segments nor measurements")
        known = {segment.key for segment in self.segments}
        for measurement in self.measurements:
            if measurement.segment_key not in known:
                raise ValueError(
                    f"measurement {measurement.name.meaning!r} is about the unknown segment {measurement.segment_key!r}"
                )


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Who made a finding, as reports must say it (IHE AIR contributing equipment; TID 4019).

    device_uid changes whenever the model's content changes: it derives from content_sha256, the digest of the package.
    """

    name: str
    version: str
    manufacturer: str
    title: str
    intended_use: str
    limits: tuple[str, ...]
    device_uid: str
    content_sha256: str
