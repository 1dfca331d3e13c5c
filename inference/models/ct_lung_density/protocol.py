"""Is this protocol within what densitometry is validated for? Each answer is a remark that the report must carry.

Section thickness and kernel move LAA-950 by themselves: Gierada et al. 2010 (Acad Radiol 17:146), Gallardo-Estrella et
al. 2016 (Eur Radiol 26:478; 7 to 8 percentage points between two kernels of the same scan).
"""

from __future__ import annotations

import re

from pydicom.dataset import Dataset

VALIDATED_THICKNESS_MM = 1.5
VALIDATED_AIR_HU = (-1025.0, -950.0)
Remark = tuple[str, str]

SMOOTH, SHARP, UNKNOWN = "smooth", "sharp", "unknown"
# Names that the vendors give to kernels without and with edge enhancement.
SMOOTH_NAMES = frozenset({"STANDARD", "STND", "STD", "SOFT", "A", "B", "C", "I"})
SHARP_NAMES = frozenset(
    {
        "LUNG",
        "BONE",
        "BONEPLUS",
        "DETAIL",
        "EDGE",
        "CHST",
        "STD+",
        "HD LUNG",
        "D",
        "E",
        "L",
        "YA",
        "YB",
        "YC",
        "YD",
        "YE",
    }
)
# Siemens: a letter or two, then sharpness in tens; up to 45 is smooth or medium (B30f, Br40d, Qr36), above is sharp.
SIEMENS = re.compile(r"^([BHISTUQD][A-Z]?)(\d{2})[A-Z0-9]*\b")
SIEMENS_SHARP_FROM = 45
# Canon and Toshiba: FC01 to FC19 are for the body; the others are for bone, lung and inner ear.
CANON = re.compile(r"^FC(\d{2})")
CANON_BODY = range(1, 20)


def kernel_class(name: str) -> str:
    """Smooth, sharp or unknown, from Convolution Kernel (0018,1210), in whose values vendors say what they like.

    Several values count as words of one name; where the whole name is not known, its first word is.
    """
    text = name.strip().upper()
    for part in (text, *text.split()[:1]):
        canon, siemens = CANON.match(part), SIEMENS.match(part)
        if canon:
            return SMOOTH if int(canon.group(1)) in CANON_BODY else SHARP
        if siemens:
            return SHARP if int(siemens.group(2)) >= SIEMENS_SHARP_FROM else SMOOTH
        if part in SHARP_NAMES:
            return SHARP
        if part in SMOOTH_NAMES:
            return SMOOTH
    return UNKNOWN


def remarks_on(header: Dataset, spacing_mm: float, air_hu: float) -> tuple[Remark, ...]:
    """Remarks by the manifest's keys. spacing_mm: between slices; air_hu: median of the air in the trachea."""
    found = (thickness(header, spacing_mm), kernel(header), contrast(header), calibration(air_hu))
    return tuple(remark for remark in found if remark is not None)


def thickness(header: Dataset, spacing_mm: float) -> Remark | None:
    stated = header.get("SliceThickness")
    thickness_mm = max(float(stated), spacing_mm) if stated else spacing_mm
    if thickness_mm <= VALIDATED_THICKNESS_MM:
        return None
    text = (
        f"slice thickness or spacing {thickness_mm:.1f} mm > {VALIDATED_THICKNESS_MM} mm validated for densitometry: "
        "thick slices lower LAA-950 and raise the 15th percentile"
    )
    return ("slice_thickness", text)


def kernel(header: Dataset) -> Remark | None:
    value = header.get("ConvolutionKernel")
    name = (value if isinstance(value, str) else " ".join(map(str, value))) if value else ""
    kind = kernel_class(name)
    if kind == SMOOTH:
        return None
    if kind == SHARP:
        text = f"kernel {name} is sharp: noise alone raises LAA-950, in one patient from 0.3 % to 13.7 %"
    else:
        text = f"kernel {name or 'not stated'} is not among those known to be smooth: LAA-950 may be too high"
    return ("kernel", text)


def contrast(header: Dataset) -> Remark | None:
    agent = header.get("ContrastBolusAgent")
    if not agent:
        return None
    return ("contrast", "contrast medium was given: blood in the lung is denser, so LAA-950 is too low")


def calibration(air_hu: float) -> Remark | None:
    low, high = VALIDATED_AIR_HU
    if low <= air_hu <= high:
        return None
    return ("calibration", f"air in the trachea reads {air_hu:.0f} HU, not {low:.0f} to {high:.0f} HU: calibration")
