"""What every destination does: take the results of one study, and say of each what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from dicom_node.stored_file import StoredFile
from storage.records.results import Result


@dataclass(frozen=True, slots=True)
class Parcel:
    """One result with its bytes (DICOM Part 10), in memory unless they are many. refers_to: SOP Instance UIDs of others in the
    same delivery."""

    result: Result
    part10: bytes | StoredFile
    refers_to: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Outcome:
    """delivered; refused for good; or failed, to be tried again.

    reason: words of our own, fit for a log. comment: the destination's words, which may quote the data set.
    sent_as: in which form a result went that was to go compressed, in words: "in RLE Lossless".
    """

    sop_instance_uid: str
    verdict: Literal["delivered", "refused", "failed"]
    reason: str
    comment: str = ""
    has_warning: bool = False
    # Refused since the destination takes no instances of this SOP class: another kind may do.
    is_class_refused: bool = False
    # Not sent, since what it refers to was refused just now.
    is_held_back: bool = False
    # It is tried again, but will not succeed before a person changed something.
    needs_a_person: bool = False
    # This node could not read it while it was sent: that says nothing of the destination.
    is_unread: bool = False
    sent_as: str = ""


class Destination(Protocol):
    @property
    def name(self) -> str: ...

    def deliver(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        """Deliver results of one study together; an outcome for each, in order. Raises nothing that is expected.

        Delivering the same result again must leave one copy there.
        """
        ...
