"""However a peer cuts its messages into values, PDUs and packets, what is stored is what was sent."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_node.arrivals import Arrival, Arrivals
from dicom_node.network import receive
from dicom_node.network.store_message import data_pdu
from tests.dicom_node.serving import Serving, serving
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, ct_image
from tests.waiting import LIMIT_S, eventually

VERIFICATION = "1.2.840.10008.1.1"
STORE, ECHO = 1, 3  # presentation context IDs
RELEASE = b"\5\0\0\0\0\4\0\0\0\0"
RELEASED = b"\6\0\0\0\0\4\0\0\0\0"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("node")) as served:
        yield served


class Socket:
    """A requestor without a library: every byte is the test's."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.send(_association_request())
        assert self.pdu()[0] == 2

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def pdu(self) -> bytes:
        header = self._read(6)
        return header + self._read(struct.unpack(">BxI", header)[1])

    def status(self) -> int:
        """Of the next response."""
        command, at = self.pdu()[12:], 0
        while at < len(command):
            _, element, length = struct.unpack_from("<HHI", command, at)
            if element == 0x0900:
                return int(struct.unpack_from("<H", command, at + 8)[0])
            at += 8 + length
        raise AssertionError("the response has no status")

    def release(self) -> None:
        self.send(RELEASE)
        assert self.pdu() == RELEASED
        self.close()

    def close(self) -> None:
        self._socket.close()

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            more = self._socket.recv(count - len(data))
            assert more, "the acceptor closed the connection"
            data += more
        return data


def _item(kind: int, content: bytes) -> bytes:
    return struct.pack(">BxH", kind, len(content)) + content


def _association_request() -> bytes:
    contexts = b"".join(
        _item(0x20, struct.pack(">B3x", number) + _item(0x30, uid.encode()) + _item(0x40, EXPLICIT_LITTLE.encode()))
        for number, uid in ((STORE, CT_IMAGE_STORAGE), (ECHO, VERIFICATION))
    )
    user = _item(0x50, _item(0x51, struct.pack(">I", 16384)) + _item(0x52, b"1.2.3.4"))
    names = b"DICOM-NODE".ljust(16) + b"CUTTER".ljust(16) + bytes(32)
    body = struct.pack(">HH", 1, 0) + names + _item(0x10, b"1.2.840.10008.3.1.1.1") + contexts + user
    return struct.pack(">BxI", 1, len(body)) + body


def _command(**elements: bytes) -> bytes:
    body = b"".join(
        struct.pack("<HHI", 0, int(number, 16), len(value)) + value for number, value in sorted(elements.items())
    )
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _uid(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def store_command(uid: str) -> bytes:
    elements = {
        "0002": _uid(CT_IMAGE_STORAGE),
        "0100": b"\1\0",
        "0110": b"\7\0",
        "0700": b"\0\0",
        "0800": b"\0\0",
        "1000": _uid(uid),
    }
    return _command(**elements)


def echo_command() -> bytes:
    return _command(**{"0002": _uid(VERIFICATION), "0100": b"\x30\0", "0110": b"\1\0", "0800": b"\1\1"})


def _values(content: bytes, cuts: list[int], context_id: int, *, is_command: bool) -> list[bytes]:
    """Presentation data values of a command or a data set, cut at these places; an empty one where two are the same."""
    places = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    values = []
    for start, end in pairwise(places):
        is_last = end == len(content) and len(values) == len(places) - 2
        values.append(data_pdu(context_id, content[start:end], is_command=is_command, is_last=is_last)[6:])
    return values


def _pdus(values: list[bytes], together: list[bool]) -> list[bytes]:
    """P-DATA-TF PDUs; a value goes into the PDU of the one before it where `together` says so."""
    groups: list[bytes] = []
    for number, value in enumerate(values):
        if groups and together[number % len(together)]:
            groups[-1] += value
        else:
            groups.append(value)
    return [struct.pack(">BxI", 4, len(group)) + group for group in groups]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_cut_into_values_pdus_and_packets_is_stored_as_it_was_sent(served: Serving, data: st.DataObject) -> None:
    number = len(served.data_sets())
    uid = f"1.2.9.{number}"
    payload = ct_image(uid, StudyInstanceUID="1.2.9", SeriesInstanceUID="1.2.9.0", InstanceNumber=number)
    command = store_command(uid)
    places = st.lists(st.integers(0, len(payload)), max_size=6)
    values = _values(command, data.draw(places), STORE, is_command=True)
    values += _values(payload, data.draw(places), STORE, is_command=False)
    together = data.draw(st.lists(st.booleans(), min_size=1, max_size=8))
    stream = b"".join(_pdus(values, together))
    if data.draw(st.booleans()):
        echo = b"".join(_pdus(_values(echo_command(), [], ECHO, is_command=True), [False]))
        stream = echo + stream
    packets = [*sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5))), len(stream)]
    with closing(Socket(served.port)) as peer:
        start = 0
        for end in packets:
            peer.send(stream[start:end])
            start = end
        answers = 2 if _begins_with_echo(stream) else 1
        assert {peer.status() for _ in range(answers)} == {0x0000}
        peer.release()
    assert served.data_sets()[uid] == [payload]


def _begins_with_echo(stream: bytes) -> bool:
    return stream[10] == ECHO


def test_echoes_between_instances_are_answered_and_change_nothing(served: Serving) -> None:
    peer = Socket(served.port)
    payloads = {f"1.2.8.{number}": ct_image(f"1.2.8.{number}") for number in range(5)}
    for uid, payload in payloads.items():
        for context, command in ((ECHO, echo_command()), (STORE, store_command(uid))):
            peer.send(data_pdu(context, command, is_command=True, is_last=True))
            if context == ECHO:
                assert peer.status() == 0x0000
        peer.send(data_pdu(STORE, payload, is_command=False, is_last=True))
        assert peer.status() == 0x0000
    peer.release()
    stored = served.data_sets()
    assert {uid: stored[uid] for uid in payloads} == {uid: [payload] for uid, payload in payloads.items()}


def test_several_instances_sent_before_the_first_answer_are_all_stored(served: Serving) -> None:
    peer = Socket(served.port)
    payloads = {f"1.2.7.{number}": ct_image(f"1.2.7.{number}") for number in range(20)}
    peer.send(
        b"".join(
            data_pdu(STORE, store_command(uid), is_command=True, is_last=True)
            + data_pdu(STORE, payload, is_command=False, is_last=True)
            for uid, payload in payloads.items()
        )
    )
    assert [peer.status() for _ in payloads] == [0x0000] * 20
    peer.release()
    stored = served.data_sets()
    assert {uid: stored[uid] for uid in payloads} == {uid: [payload] for uid, payload in payloads.items()}


BROKEN = {
    "a value longer than its pdu": struct.pack(">BxIIBB", 4, 6, 99, STORE, 2),
    "a value shorter than its header": struct.pack(">BxIIBB", 4, 6, 1, STORE, 2),
    "a data set without a command": data_pdu(STORE, b"x" * 100, is_command=False, is_last=True),
    "an endless command": data_pdu(STORE, bytes(20_000), is_command=True, is_last=False),
    "a pdu of 4 GiB that is no data": b"\5\0\xff\xff\xff\xff",
    "a second command before the data set": 2
    * data_pdu(STORE, store_command("1.2.6.1"), is_command=True, is_last=True),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_breaks_the_rules_of_pdus_is_aborted_and_leaves_nothing(served: Serving, case: str) -> None:
    peer = Socket(served.port)
    before = served.data_sets()
    peer.send(BROKEN[case])
    assert peer.pdu()[0] == 7
    peer.close()
    assert served.data_sets() == before
    after = Socket(served.port)
    after.release()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_connection_that_ends_inside_an_instance_leaves_nothing_of_it(served: Serving, share: float) -> None:
    before = served.data_sets()
    peer = Socket(served.port)
    message = data_pdu(STORE, store_command("1.2.5.1"), is_command=True, is_last=True)
    message += data_pdu(STORE, ct_image("1.2.5.1"), is_command=False, is_last=True)
    peer.send(message[: 160 + int(share * (len(message) - 160))])
    peer.close()
    assert eventually(lambda: len(served.acceptor._associations) == 0)
    assert served.data_sets() == before


def test_two_associations_at_once_fill_one_series(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        peers = [Socket(served.port), Socket(served.port)]
        for number in range(30):
            uid = f"1.2.4.{number}"
            for fragment, is_command in ((store_command(uid), True), (ct_image(uid, InstanceNumber=number), False)):
                peers[number % 2].send(data_pdu(STORE, fragment, is_command=is_command, is_last=True))
            if number % 2:
                assert [peer.status() for peer in peers] == [0x0000, 0x0000]
        for peer in peers:
            peer.release()
        assert eventually(lambda: [item.ending for item in served.associations("1.2.3")] == ["released", "released"])
        (series,) = served.house.studies.arriving()
        assert series.instance_count == 30
        assert [part.stored for part in served.house.studies.parts(series.series_id)] == [15, 15]


def test_the_header_of_a_message_is_acknowledged_though_nothing_follows_it_yet(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender with Nagle's algorithm on that writes it by itself waits for that, with each instance."""
    acknowledged: list[object] = []
    monkeypatch.setattr(receive, "acknowledge_now", acknowledged.append)
    with closing(Socket(served.port)) as peer:
        peer.send(data_pdu(STORE, store_command("1.2.3"), is_command=True, is_last=True)[:12])
        assert eventually(lambda: acknowledged)


def test_the_beginning_of_a_data_set_is_written_while_its_rest_is_still_to_come(
    served: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    write = Arrivals.write

    def noting(arrivals: Arrivals, arrival: Arrival, fragments: Sequence[memoryview]) -> None:
        write(arrivals, arrival, fragments)
        written.append(sum(map(len, fragments)))

    monkeypatch.setattr(Arrivals, "write", noting)
    payload = ct_image("1.2.2.1", Rows=400, Columns=400, PixelData=bytes(320_000))
    message = data_pdu(STORE, store_command("1.2.2.1"), is_command=True, is_last=True)
    message += data_pdu(STORE, payload, is_command=False, is_last=True)
    with closing(Socket(served.port)) as peer:
        peer.send(message[:-1000])
        assert eventually(lambda: sum(written) > 100_000)
        peer.send(message[-1000:])
        assert peer.status() == 0x0000
        peer.release()
    assert served.data_sets()["1.2.2.1"] == [payload]
