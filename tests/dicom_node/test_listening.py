"""The ports of a node: had before anything is started, or named with the reason."""

from __future__ import annotations

import os
import socket
import threading
import time
from pathlib import Path

import pytest
from pydantic import ValidationError

from dicom_node.acceptors import acceptor_names
from dicom_node.config_node import MOST_CONNECTIONS, Limits, Node, Tls
from dicom_node.network.listening import ACCEPT_S, CannotListen, Listening
from dicom_node.network.occupancy import Refusal


def _tls(port: int) -> Tls:
    pem = Path("node.pem")
    return Tls(port=port, certificate=pem, key=pem, require_certificate=False)


def test_a_port_that_is_taken_is_named_with_its_key_and_no_other_stays_open() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CannotListen, match=rf"127.0.0.1, node.port {port}: address already in use"):
            Listening.open(Node(port=port))
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(CannotListen, match=rf"node.tls.port {port}"):
            Listening.open(Node(port=0, tls=_tls(port)))
        assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_with_tls_alone_the_plain_port_is_not_opened() -> None:
    opened = Listening.open(Node(port=0, tls=_tls(0).model_copy(update={"only": True})))
    assert opened.plain is None
    assert opened.tls
    opened.close()


def test_what_is_inherited_is_what_was_opened() -> None:
    opened = Listening.open(Node(port=0), processes=3)
    assert opened.plain
    copies = [os.dup(opened.plain.fileno()), os.dup(opened.occupancy)]
    inherited = Listening.inherited(f"{copies[0]},-1,{copies[1]},3,7")
    assert inherited.plain
    assert inherited.plain.getsockname() == opened.plain.getsockname()
    assert (inherited.tls, inherited.processes, inherited.connections) == (None, 3, 7)
    assert opened.in_words() == f"{opened.plain.fileno()},-1,{opened.occupancy},3,{MOST_CONNECTIONS}"
    assert opened.descriptors() == (opened.plain.fileno(), opened.occupancy)
    inherited.close()
    opened.close()


def test_who_waits_for_a_connection_is_back_soon_and_wakes_alone() -> None:
    opened = Listening.open(Node(port=0))
    assert opened.plain
    woken: list[str] = []

    def wait(name: str) -> None:
        assert opened.plain
        try:
            opened.plain.accept()[0].close()
            woken.append(f"{name} took one")
        except BlockingIOError:
            woken.append(f"{name} took none")

    began = time.monotonic()
    wait("alone")
    assert time.monotonic() - began >= ACCEPT_S * 0.9
    waiting = [threading.Thread(target=wait, args=(name,)) for name in ("one", "two")]
    for thread in waiting:
        thread.start()
    socket.create_connection(opened.plain.getsockname()).close()
    for thread in waiting:
        thread.join()
    assert sorted(what.partition(" ")[2] for what in woken) == ["took none", "took none", "took one"]
    opened.close()


def test_acceptors_are_numbered_and_auto_means_no_more_than_there_are_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    assert acceptor_names(Node(acceptors=3)) == ("acceptor-1", "acceptor-2", "acceptor-3")
    for cores, count in ((1, 1), (2, 2), (64, 4)):
        monkeypatch.setattr(os, "sched_getaffinity", lambda _, cores=cores: set(range(cores)))
        assert len(acceptor_names(Node())) == count


@pytest.mark.parametrize("wrong", [0, 33, "many", True])
def test_a_number_of_acceptors_out_of_bounds_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError, match="must be auto or a whole number from 1 to"):
        Node(acceptors=wrong)  # type: ignore[arg-type]


def test_the_limit_of_connections_may_be_raised_while_the_node_runs() -> None:
    opened = Listening.open(Node(port=0, limits=Limits(connections=2, connections_per_address=2)), processes=2)
    assert opened.plain
    first = opened.occupancy_of(0)
    found = [first.connect("192.0.2.1", per_address=9, in_all=in_all) for in_all in (2, 2, 2, 3, 3)]
    assert found == [None, None, Refusal(of_address=False), None, Refusal(of_address=False)]
    first.close()
    opened.plain.close()
