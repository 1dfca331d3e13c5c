"""C-STORE: take an instance in, and answer only once it is durable (PS3.4 annex B)."""

from __future__ import annotations

from io import BytesIO
from types import MappingProxyType
from typing import cast

from pydicom.uid import UID
from pynetdicom import AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.service_class import ServiceClass
from pynetdicom.sop_class import uid_to_service_class

from dicom_node import logs
from dicom_node.content import Received
from dicom_node.network import status
from dicom_node.network.service import Answer, Call, Service
from dicom_node.network.transfer_syntaxes import ALL
from dicom_node.refusals import NotAsCommanded, Refused
from storage.errors import StorageUnavailable

log = logs.get("store")

_DICOM_ROOT = "1.2.840.10008."
_STORAGE_ROOT = "1.2.840.10008.5.1.4.1.1."


def _store(event: evt.Event, call: Call) -> Answer:
    request = cast(C_STORE, event.request)
    try:
        if request.AffectedSOPClassUID != event.context.abstract_syntax:
            raise NotAsCommanded("SOP Class UID of the command is not that of its presentation context")
        call.intake.receive(
            Received(
                payload=cast(BytesIO, request.DataSet).getbuffer(),
                sop_class_uid=str(request.AffectedSOPClassUID),
                sop_instance_uid=str(request.AffectedSOPInstanceUID),
                transfer_syntax_uid=str(event.context.transfer_syntax),
                association_id=call.association_id(),
            )
        )
    except Refused as refusal:
        return status.answer_to(refusal)
    except StorageUnavailable as error:  # the row of the association could not be written
        log.error("association could not be recorded", error=error)
        return status.answer_to(error)
    return status.SUCCESS


def _takes_also(uid: str) -> bool:
    """Private SOP classes, and storage classes newer than the library's list. What is known to be no storage, is not."""
    if uid_to_service_class(UID(uid)) is not ServiceClass:
        return False
    return uid.startswith(_STORAGE_ROOT) or not uid.startswith(_DICOM_ROOT)


SERVICE = Service(
    "Storage",
    tuple(str(context.abstract_syntax) for context in AllStoragePresentationContexts),
    ALL,
    MappingProxyType({evt.EVT_C_STORE: _store}),
    takes_also=_takes_also,
    service_class_uid="1.2.840.10008.4.2",
)
