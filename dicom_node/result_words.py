"""What a site may decide about the words of its results. Light to import: configuration and jobs carry it."""

from __future__ import annotations

from dataclasses import dataclass

DISCLAIMER = "AI result - not for diagnosis unless reviewed by a physician"
LONGEST_DISCLAIMER = 160
"""What fits into two lines at the foot of a picture."""


@dataclass(frozen=True, slots=True)
class Words:
    """disclaimer: the sentence at the foot of each picture and page. pdf_names_patient: whether a page says whose it is."""

    disclaimer: str = DISCLAIMER
    pdf_names_patient: bool = True


AS_DELIVERED = Words()
