"""Commands by hand: read as the library reads them, and by what they share with the one before as they are read whole."""

from __future__ import annotations

import random
from io import BytesIO

import pytest
from pydicom.uid import UID
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.pdu import P_DATA_TF

from dicom_node.network.store_message import StoreRequest, StoreRequests, read_request, response

CT, EXPLICIT_LITTLE = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1"


def _command(message_id: int, uid: str, **more: object) -> bytes:
    request = C_STORE()
    request.MessageID, request.Priority = message_id, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = UID(CT), UID(uid)
    request.DataSet = BytesIO(b"data")
    for name, value in more.items():
        setattr(request, name, value)
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    encoded = encode(message.command_set, True, True)
    assert encoded
    return encoded


def test_requests_are_read_by_what_they_share_as_they_are_read_whole() -> None:
    requests = StoreRequests()
    for number in range(1, 300):
        more = {"MoveOriginatorMessageID": 3, "MoveOriginatorApplicationEntityTitle": "PACS"} if number % 7 == 0 else {}
        command = _command(number, f"1.2.{number**3}", **more)
        found = requests.read(command, 1, CT, EXPLICIT_LITTLE)
        assert found == StoreRequest(1, number, CT, f"1.2.{number**3}", EXPLICIT_LITTLE)
        assert requests.read(command, 3, "1.2.840.10008.5.1.4.1.1.4", EXPLICIT_LITTLE) is None


def test_whatever_is_damaged_is_read_as_if_nothing_came_before() -> None:
    requests, dice, read = StoreRequests(), random.Random(5), 0
    for number in range(20_000):
        command = bytearray(_COMMANDS[number % len(_COMMANDS)])
        for _ in range(dice.choice([0, 1, 1, 2, 6])):
            command[dice.randrange(len(command))] = dice.choice([0, 0x20, 0xFF, dice.randrange(256)])
        if dice.random() < 0.1:
            del command[dice.randrange(len(command)) :]
        if dice.random() < 0.1:
            command += command[12:40]
        whole = read_request(bytes(command), 1, CT, EXPLICIT_LITTLE)
        assert requests.read(bytes(command), 1, CT, EXPLICIT_LITTLE) == whole
        read += whole is not None
    assert read > 5000


_COMMANDS = [_command(number, f"1.2.3.{number * 7}") for number in range(1, 40)]


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
@pytest.mark.parametrize(("status", "comment"), [(0x0000, ""), (0xA700, "no room"), (0xC000, "x" * 100)])
def test_the_library_reads_what_is_answered(status: int, comment: str, uid: str) -> None:
    pdu = P_DATA_TF()
    pdu.decode(bytearray(response(StoreRequest(5, 77, CT, uid, EXPLICIT_LITTLE), status, comment)))
    message = C_STORE_RSP()
    assert message.decode_msg(pdu.to_primitive())
    answer = message.message_to_primitive()
    assert isinstance(answer, C_STORE)
    assert (message.context_id, answer.MessageIDBeingRespondedTo, answer.Status) == (5, 77, status)
    assert (answer.AffectedSOPClassUID, answer.AffectedSOPInstanceUID) == (CT, uid)
    assert (answer.ErrorComment or "") == comment[:64]
    length = message.command_set.CommandGroupLength
    assert length == len(encode(message.command_set, True, True) or b"") - 12
