"""The side of the body that an image shows, as a code (PS3.16 CID 244)."""

from __future__ import annotations

from inference.findings import Code

SIDES = {
    "R": Code("24028007", "SCT", "Right"),
    "L": Code("7771000", "SCT", "Left"),
    "B": Code("51440002", "SCT", "Right and left"),
}
"""By Image Laterality (0020,0062), or Laterality (0020,0060)."""
