"""Instance Availability Notification: what an archive says of the instances that it has (PS3.4 annex R)."""

from __future__ import annotations

from types import MappingProxyType

from pynetdicom import evt

from dicom_node.network.notice import answered, created, told
from dicom_node.network.service import Answer, Call, Service
from dicom_node.network.transfer_syntaxes import UNCOMPRESSED

_SOP_CLASS_UID = "1.2.840.10008.5.1.4.33"


def _create(event: evt.Event, call: Call) -> Answer:
    return answered(event, lambda: created(event, call.notices.available(told(event, call))))


SERVICE = Service(
    "Instance Availability Notification",
    (_SOP_CLASS_UID,),
    UNCOMPRESSED,
    MappingProxyType({evt.EVT_N_CREATE: _create}),
)
