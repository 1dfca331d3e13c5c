"""Why an instance, or a notice about instances, is not taken in. What the peer is answered for each stands in `network.status`.

The sentences name the rule, never a value of the data set: they reach logs and the peer.
"""

from __future__ import annotations

from dicom_node.errors import NodeError


class Refused(NodeError):
    """The instance was not stored."""


class Unparsable(Refused):
    """The data set cannot be parsed in the transfer syntax of its presentation context."""


class NotAsCommanded(Refused):
    """The data set is not what the C-STORE command says it is."""


class NotIdentified(Refused):
    """The data set does not say which study, series and instance it is."""


class OutOfResources(Refused):
    """There is no room to keep the instance durably, or storage fails; it may be sent again later."""

    def __init__(self, reason: str = "storage is not available, send the instance again later") -> None:
        super().__init__(reason)


class NoticeRefused(NodeError):
    """What a peer says of images, or of the procedure that makes them, was not taken in."""


class MissingAttribute(NoticeRefused):
    """A required attribute is not there."""


class MissingAttributeValue(NoticeRefused):
    """A required attribute is empty."""


class InvalidAttributeValue(NoticeRefused):
    """An attribute has a value that the standard does not allow there."""


class DuplicateInstance(NoticeRefused):
    """An instance of this SOP Instance UID exists already."""


class NoSuchInstance(NoticeRefused):
    """No instance of this SOP Instance UID is known."""


class NoLongerUpdated(NoticeRefused):
    """Performed Procedure Step Object may no longer be updated"""


class TooMuch(NoticeRefused):
    """The notice speaks of more than one notice may."""
