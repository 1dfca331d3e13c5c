"""What does a storage SCP's answer mean for a delivery: it has the instance, never will, or may later?

One table of C-STORE statuses (PS3.4 table B.2-1, PS3.7 annex C) and one of association rejections (PS3.8 table 9-21).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SOP_CLASS_NOT_SUPPORTED = 0x0122

Verdict = Literal["delivered", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Meaning:
    """verdict: delivered, refused for good (the same bytes would be refused again), or failed and worth a retry."""

    verdict: Verdict
    words: str


# First match wins: (lowest status, highest status, meaning).
_STATUSES: tuple[tuple[int, int, Meaning], ...] = (
    (0x0000, 0x0000, Meaning("delivered", "stored")),
    (0x0001, 0x0001, Meaning("delivered", "stored, with a warning")),
    (0x0107, 0x0107, Meaning("delivered", "stored, with a warning: attribute list error")),
    (0x0110, 0x0110, Meaning("failed", "processing failure at the peer")),
    # The peer has this SOP Instance already: what a second sending after a crash is for.
    (0x0111, 0x0111, Meaning("delivered", "was already stored")),
    (0x0116, 0x0116, Meaning("delivered", "stored, with a warning: attribute value out of range")),
    (0x0117, 0x0117, Meaning("refused", "invalid SOP Instance UID")),
    (SOP_CLASS_NOT_SUPPORTED, SOP_CLASS_NOT_SUPPORTED, Meaning("refused", "SOP class not supported")),
    (0x0124, 0x0124, Meaning("refused", "not authorised")),
    (0x0210, 0x0210, Meaning("failed", "duplicate invocation")),
    (0x0211, 0x0211, Meaning("refused", "C-STORE not supported")),
    (0x0212, 0x0212, Meaning("refused", "mistyped argument")),
    (0xA700, 0xA7FF, Meaning("failed", "out of resources")),
    (0xA900, 0xA9FF, Meaning("refused", "data set does not match SOP class")),
    (0xB000, 0xB000, Meaning("delivered", "stored, data elements coerced")),
    (0xB006, 0xB006, Meaning("delivered", "stored, data elements discarded")),
    (0xB007, 0xB007, Meaning("delivered", "stored, though the data set does not match the SOP class")),
    (0xB000, 0xBFFF, Meaning("delivered", "stored, with a warning")),
    (0xC000, 0xCFFF, Meaning("refused", "cannot understand the data set")),
)
# A status that no standard assigns to C-STORE says nothing about the next attempt: retrying costs little.
_UNKNOWN = Meaning("failed", "a failure that the standard does not name")

_SERVICE_USER = {
    1: "no reason given",
    2: "application context not supported",
    3: "calling AE title not recognised",
    7: "called AE title not recognised",
}
_ACSE = {1: "no reason given", 2: "protocol version not supported"}
_PRESENTATION = {1: "temporary congestion", 2: "local limit exceeded"}
_REJECTIONS = {1: _SERVICE_USER, 2: _ACSE, 3: _PRESENTATION}


def meaning_of(status: int) -> Meaning:
    for lowest, highest, meaning in _STATUSES:
        if lowest <= status <= highest:
            return meaning
    return _UNKNOWN


def rejection_in_words(result: int | None, source: int | None, diagnostic: int | None) -> str:
    """An A-ASSOCIATE-RJ as a sentence; result 1 is permanent, 2 transient."""
    reason = _REJECTIONS.get(source or 0, {}).get(diagnostic or 0, f"source {source}, reason {diagnostic}")
    lasting = {1: "permanent", 2: "transient"}.get(result or 0, f"result {result}")
    return f"association rejected ({lasting}): {reason}"
