"""Modality Performed Procedure Step: what a modality says of the images that it makes (PS3.4 annex F)."""

from __future__ import annotations

from types import MappingProxyType

from pynetdicom import evt

from dicom_node.network.notice import answered, created, told, unrecognized
from dicom_node.network.service import Answer, Call, Service
from dicom_node.network.transfer_syntaxes import UNCOMPRESSED

_SOP_CLASS_UID = "1.2.840.10008.3.1.2.3.3"


def _create(event: evt.Event, call: Call) -> Answer:
    return answered(event, lambda: created(event, call.notices.step_created(told(event, call))))


def _set(event: evt.Event, call: Call) -> Answer:
    return answered(event, lambda: call.notices.step_changed(told(event, call)))


SERVICE = Service(
    "Modality Performed Procedure Step",
    (_SOP_CLASS_UID,),
    UNCOMPRESSED,
    MappingProxyType(
        {
            evt.EVT_N_CREATE: _create,
            evt.EVT_N_SET: _set,
            # Of SOP classes beside this one, which the library lets pass in its presentation context.
            evt.EVT_N_GET: unrecognized,
            evt.EVT_N_EVENT_REPORT: unrecognized,
        }
    ),
)
