"""C-ECHO: is this node there? (PS3.4 annex A)"""

from __future__ import annotations

from types import MappingProxyType

from pynetdicom import evt
from pynetdicom.dimse_primitives import C_ECHO

from dicom_node.network import status
from dicom_node.network.service import Answer, Call, Service
from dicom_node.network.transfer_syntaxes import UNCOMPRESSED


def _echo(event: evt.Event, _call: Call) -> Answer:
    # Any request that names the Verification SOP Class comes here, a C-STORE as well: that must not read as stored.
    if not isinstance(event.request, C_ECHO):
        return status.answer(status.UNRECOGNIZED_OPERATION)
    return status.SUCCESS


SERVICE = Service("Verification", ("1.2.840.10008.1.1",), UNCOMPRESSED, MappingProxyType({evt.EVT_C_ECHO: _echo}))
