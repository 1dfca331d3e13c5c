"""Were two examinations made alike? Each answer is a remark that the report must carry.

Kernel, slice thickness and contrast medium move lung density by themselves (see `ct_lung_density.protocol`), and so does
the depth of inspiration (Shaker et al. 2004, Acta Radiol 45:417): a difference of protocols is no change of the lung.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

from pydicom.dataset import Dataset

from inference.predict import words_of
from inference.volume import Volume

Remark = tuple[str, str]

# Slices that differ by less count as alike: scanners round.
ALIKE_THICKNESS_MM = 0.3
# Chosen here, and wider than what repeated scans at full inspiration differ by as a rule.
ALIKE_VOLUME = 0.10


def compared(header: Dataset, prior: Dataset) -> Remark:
    """Which examination the numbers are compared with."""
    now, before = day(header), day(prior)
    if before is None:
        return ("compared", "compared with an earlier CT whose images have no study date")
    apart = f", {(now - before).days} days earlier" if now is not None else ""
    return ("compared", f"compared with the CT of {before.isoformat()}{apart}")


def differences(volume: Volume, prior: Volume) -> Iterator[Remark]:
    """What was not the same in both examinations, each with both values."""
    now, before = (words_of(item.header.get("ConvolutionKernel")) for item in (volume, prior))
    if now.upper() != before.upper():
        kernels = f"kernel {now or 'not stated'} now, {before or 'not stated'} then"
        yield ("unlike", f"{kernels}: the kernel alone moves density and the percentage below -950 HU")
    now_mm, before_mm = thickness_mm(volume), thickness_mm(prior)
    if abs(now_mm - before_mm) > ALIKE_THICKNESS_MM:
        thicknesses = f"slice thickness or spacing {now_mm:.1f} mm now, {before_mm:.1f} mm then"
        yield ("unlike", f"{thicknesses}: thicker slices lower the percentage below -950 HU")
    given, was_given = (bool(item.header.get("ContrastBolusAgent")) for item in (volume, prior))
    if given != was_given:
        when = "now, and not then" if given else "then, and not now"
        yield ("unlike", f"contrast medium was given {when}: it makes lung denser")


def inspiration(volume_ml: float, prior_ml: float) -> Iterator[Remark]:
    """volume_ml, prior_ml: of both lungs, in mL."""
    part = (volume_ml - prior_ml) / prior_ml
    if abs(part) > ALIKE_VOLUME:
        more = "larger" if part > 0 else "smaller"
        text = (
            f"lung volume is {abs(100 * part):.0f} % {more} than in the prior examination (alike: within "
            f"{100 * ALIKE_VOLUME:.0f} %): another depth of inspiration changes density by itself"
        )
        yield ("inspiration", text)


def thickness_mm(volume: Volume) -> float:
    """Slice thickness as stated, or the spacing where that is more or none is stated."""
    stated = volume.header.get("SliceThickness")
    return max(float(stated), volume.spacing_mm[0]) if stated else volume.spacing_mm[0]


def day(header: Dataset) -> date | None:
    """Study Date (0008,0020); None where it is absent or no date."""
    try:
        text = str(header.get("StudyDate") or "")
        return date(int(text[:4]), int(text[4:6]), int(text[6:8]))
    except ValueError:
        return None
