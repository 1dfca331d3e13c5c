"""From N-CREATE and N-SET requests to the door for notices, and what the peer is answered (PS3.7 10.1.3, 10.1.5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.dimse_primitives import N_CREATE, N_SET

from dicom_node import logs
from dicom_node.network import status
from dicom_node.network.service import Answer, Call
from dicom_node.notices import Told
from dicom_node.refusals import NoticeRefused, Unparsable
from storage.errors import StorageUnavailable

log = logs.get("notices")


def told(event: evt.Event, call: Call) -> Told:
    """What the request says; without a data set it says nothing, in no bytes."""
    request = event.request
    if isinstance(request, N_CREATE):
        uid, data_set = request.AffectedSOPInstanceUID, request.AttributeList
    else:
        request = cast(N_SET, request)
        uid, data_set = request.RequestedSOPInstanceUID, request.ModificationList
    return Told(
        sop_instance_uid=str(uid or ""),
        payload=data_set.getbuffer() if data_set else b"",
        transfer_syntax_uid=str(event.context.transfer_syntax),
        calling_ae_title=call.calling_ae_title,
    )


def answered(event: evt.Event, take: Callable[[], Dataset | None]) -> Answer:
    """The answer to a request of the SOP class of its presentation context, once `take` took it in.

    take: returns what goes back beside success, or raises as the methods of Notices.
    """
    request = cast("N_CREATE | N_SET", event.request)
    sop_class_uid = request.AffectedSOPClassUID if isinstance(request, N_CREATE) else request.RequestedSOPClassUID
    if sop_class_uid != event.context.abstract_syntax:
        return status.answer(status.NO_SUCH_SOP_CLASS, "SOP class is not that of the presentation context")
    try:
        return status.SUCCESS, take()
    except (NoticeRefused, Unparsable) as refusal:
        log.warning("notice refused", kind=type(refusal).__name__, reason=str(refusal).lower())
        return status.answer_to_notice(refusal)
    except StorageUnavailable as error:
        log.error("notice could not be stored", error=error)
        return status.answer_to_notice(error)


def created(event: evt.Event, sop_instance_uid: str) -> Dataset | None:
    """What the library takes the UID of a created instance from, where the request names none."""
    request = cast(N_CREATE, event.request)
    if request.AffectedSOPInstanceUID:
        return None
    request.AffectedSOPInstanceUID = None  # an empty one would be sent back as it is
    response = Dataset()
    response.AffectedSOPInstanceUID = sop_instance_uid
    return response


def unrecognized(_event: evt.Event, _call: Call) -> Answer:
    return status.answer(status.UNRECOGNIZED_OPERATION)
