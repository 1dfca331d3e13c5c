"""What associations need beside what the library does by itself: handlers of its events that know nothing of the node."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pynetdicom import evt
from pynetdicom.dimse_messages import C_STORE_RQ, N_CREATE_RQ, N_SET_RQ
from pynetdicom.pdu_primitives import A_P_ABORT, SOPClassCommonExtendedNegotiation

from dicom_node import logs
from dicom_node.network.acknowledge import acknowledge_now
from dicom_node.network.negotiation import services_beyond_the_lists

_NO_DATA_SET = 0x0101  # Command Data Set Type (PS3.7 E.1)
# What the library needs of a request to hand it on, and whether a data set must follow: of the others it says nothing.
_MANDATORY: Mapping[type, tuple[tuple[str, ...], bool]] = MappingProxyType(
    {
        C_STORE_RQ: (("AffectedSOPClassUID", "AffectedSOPInstanceUID"), True),
        N_CREATE_RQ: (("AffectedSOPClassUID",), False),
        N_SET_RQ: (("RequestedSOPClassUID", "RequestedSOPInstanceUID"), True),
    }
)

log = logs.get("acceptor")


def on_common_extended(event: evt.Event) -> Mapping[Any, SOPClassCommonExtendedNegotiation]:
    """Tell the library which service a SOP class that it does not know belongs to; nothing of this is sent."""
    proposed = [str(context.abstract_syntax) for context in event.assoc.requestor.requested_contexts]
    return services_beyond_the_lists(proposed)


def on_connection_closed(event: evt.Event) -> None:
    """Wake the thread of a peer that connected and left without asking, as health checks and port scans do.

    The library would have it wait for an association request until node.acse_timeout_s.
    """
    if event.assoc.requestor.primitive is None:
        event.assoc.dul.to_user_queue.put(A_P_ABORT())


def on_data(event: evt.Event) -> None:
    transport = event.assoc.dul.socket
    if transport and transport.socket:
        acknowledge_now(transport.socket)


def on_message(event: evt.Event) -> None:
    """Abort on a request that lacks a mandatory part: the library would leave the peer without an answer."""
    if type(event.message) not in _MANDATORY:
        return
    keywords, needs_data_set = _MANDATORY[type(event.message)]
    command = event.message.command_set
    complete = all(command.get(keyword) for keyword in keywords) and "MessageID" in command
    has_data_set = command.get("CommandDataSetType", _NO_DATA_SET) != _NO_DATA_SET
    if not complete or (needs_data_set and not has_data_set):
        log.warning("association aborted", reason="a request lacks its sop uids, message id or data set")
        event.assoc.abort(block=False)
