"""DICOM over TLS, with DCMTK's tools and Python's as peers."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from dicom_node.config_node import Access, Node
from dicom_node.network.tls_context import TlsError
from dicom_node.part10 import file_meta
from tests.dicom_node.certificates import Authority, Identity
from tests.dicom_node.serving import Serving, serving
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, ct_image
from tests.waiting import LIMIT_S, eventually

Tool = Callable[[str], str]
OPEN = Access()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


@pytest.fixture
def ours(authority: Authority) -> Identity:
    return authority.signs("node")


def _node(authority: Authority, ours: Identity, **more: object) -> Node:
    tls = {"port": 0, "certificate": ours.certificate, "key": ours.key, "ca": authority.certificate, **more}
    return Node.model_validate({"port": 0, "tls": tls})


@pytest.fixture
def served(tmp_path: Path, authority: Authority, ours: Identity) -> Iterator[Serving]:
    with serving(tmp_path / "node", _node(authority, ours)) as running:
        yield running


def _echo(tool: str, served: Serving, *options: object, calling: str = "ECHOSCU") -> bool:
    command = [tool, "-aet", calling, *map(str, options), "127.0.0.1", str(served.acceptor.tls_port)]
    return subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False).returncode == 0


def _as(identity: Identity, authority: Authority) -> list[object]:
    return ["+tls", identity.key, identity.certificate, "+cf", authority.certificate]


def _why(served: Serving) -> str:
    assert eventually(lambda: served.events("connection_refused"))
    return served.events("connection_refused")[0].text


# --- DCMTK --------------------------------------------------------------------------------------------------------


def test_dcmtk_with_a_certificate_of_the_ca_stores_over_tls(
    served: Serving, authority: Authority, peer: Tool, tmp_path: Path
) -> None:
    file = tmp_path / "ct.dcm"
    _write_file(file)
    client = authority.signs("CT1")
    command = [peer("storescu"), *map(str, _as(client, authority)), "127.0.0.1", str(served.acceptor.tls_port), file]
    subprocess.run(command, check=True, timeout=LIMIT_S)
    assert list(served.data_sets()) == ["1.2.3.4.5"]


def test_dcmtk_is_echoed_without_tls_on_the_other_port(served: Serving, peer: Tool) -> None:
    subprocess.run([peer("echoscu"), "127.0.0.1", str(served.port)], check=True, timeout=LIMIT_S)


def test_a_client_of_another_ca_is_refused(served: Serving, authority: Authority, peer: Tool, tmp_path: Path) -> None:
    stranger = Authority(tmp_path / "other", "Other CA").signs("CT1")
    assert not _echo(peer("echoscu"), served, *_as(stranger, authority))
    assert "its certificate is refused: unable to get local issuer certificate" in _why(served)


def test_a_client_without_a_certificate_is_refused(served: Serving, authority: Authority, peer: Tool) -> None:
    assert not _echo(peer("echoscu"), served, "+tla", "+cf", authority.certificate)
    assert "peer did not return a certificate" in _why(served)


def test_a_client_whose_certificate_has_expired_is_refused(served: Serving, authority: Authority, peer: Tool) -> None:
    expired = authority.signs("CT1", to_days=-1)
    assert not _echo(peer("echoscu"), served, *_as(expired, authority))
    assert "its certificate is refused: certificate has expired" in _why(served)


def test_a_client_that_speaks_no_tls_is_refused_on_the_tls_port(served: Serving, peer: Tool) -> None:
    assert not _echo(peer("echoscu"), served)
    assert "no tls" in _why(served)


def test_dcmtk_refuses_a_node_of_another_ca(served: Serving, authority: Authority, peer: Tool, tmp_path: Path) -> None:
    other = Authority(tmp_path / "other", "Other CA")
    client = authority.signs("CT1")
    assert not _echo(peer("echoscu"), served, *_as(client, other))


def test_a_client_may_come_without_a_certificate_where_none_is_required(
    tmp_path: Path, authority: Authority, ours: Identity, peer: Tool
) -> None:
    with serving(tmp_path / "node", _node(authority, ours, require_certificate=False)) as served:
        assert _echo(peer("echoscu"), served, "+tla", "+cf", authority.certificate)
        expired = authority.signs("CT1", to_days=-1)
        assert not _echo(peer("echoscu"), served, *_as(expired, authority))  # but not with a wrong one


def test_with_tls_only_there_is_no_other_port(tmp_path: Path, authority: Authority, ours: Identity, peer: Tool) -> None:
    with serving(tmp_path / "node", _node(authority, ours, only=True)) as served:
        assert served.port == served.acceptor.tls_port
        assert _echo(peer("echoscu"), served, *_as(authority.signs("CT1"), authority))
        assert len(served.acceptor._listeners) == 1


# --- the access table ---------------------------------------------------------------------------------------------


def test_an_ae_title_is_held_to_its_certificate(
    tmp_path: Path, authority: Authority, ours: Identity, peer: Tool
) -> None:
    ct1, mr1, pinned = (authority.signs(name) for name in ("ct1.example.org", "mr1.example.org", "pinned"))
    access = Access.model_validate(
        {
            "open": False,
            "requestors": [
                {"ae_title": "CT1", "certificate_name": "ct1.example.org"},
                {"ae_title": "MR1", "certificate_name": "mr1.example.org", "addresses": ["192.0.2.1"]},
                {"ae_title": "PINNED", "certificate_sha256": pinned.sha256},
            ],
        }
    )
    echoscu = peer("echoscu")
    with serving(tmp_path / "node", _node(authority, ours), access) as served:
        assert _echo(echoscu, served, *_as(ct1, authority), calling="CT1")
        assert _echo(echoscu, served, *_as(pinned, authority), calling="PINNED")
        assert not _echo(echoscu, served, *_as(mr1, authority), calling="CT1")
        assert not _echo(echoscu, served, *_as(mr1, authority), calling="MR1")  # from another address
        assert not _echo(echoscu, served, *_as(authority.signs("pinned", file="again"), authority), calling="PINNED")
        plain = [echoscu, "-aet", "CT1", "127.0.0.1", str(served.port)]
        assert subprocess.run(plain, capture_output=True, timeout=LIMIT_S, check=False).returncode != 0
        assert eventually(lambda: len(served.events("association_rejected")) == 3)
        reasons = [event.text.partition("rejected: ")[2] for event in served.events("association_rejected")]
    assert sum("with this certificate" in reason for reason in reasons) == 1  # of the same reason only one is told
    assert sum("from this address" in reason for reason in reasons) == 1
    assert sum("without a certificate" in reason for reason in reasons) == 1


# --- what is negotiated -------------------------------------------------------------------------------------------


def _client(authority: Authority, identity: Identity | None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.certificate)
    if identity:
        context.load_cert_chain(identity.certificate, identity.key)
    return context


def _handshake(served: Serving, context: ssl.SSLContext) -> tuple[str | None, str | None]:
    with (
        socket.create_connection(("127.0.0.1", served.acceptor.tls_port or 0), timeout=LIMIT_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return connection.version(), connection.selected_alpn_protocol()


def test_tls_1_3_is_preferred_and_1_2_is_possible(served: Serving, authority: Authority) -> None:
    context = _client(authority, authority.signs("CT1"))
    context.set_alpn_protocols(["dicom"])
    assert _handshake(served, context) == ("TLSv1.3", "dicom")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert _handshake(served, context) == ("TLSv1.2", "dicom")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1_is_refused(served: Serving, authority: Authority) -> None:
    context = _client(authority, authority.signs("CT1"))
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(OSError):
        _handshake(served, context)


@pytest.mark.parametrize("ciphers", ["AES128-GCM-SHA256", "ECDHE-ECDSA-AES128-SHA256", "DHE-RSA-AES256-GCM-SHA384"])
def test_ciphers_that_bcp_195_does_not_recommend_are_refused(
    served: Serving, authority: Authority, ciphers: str
) -> None:
    context = _client(authority, authority.signs("CT1"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(ciphers)
    with pytest.raises(ssl.SSLError):
        _handshake(served, context)


def test_a_handshake_that_does_not_go_on_is_ended_and_holds_up_nobody(
    tmp_path: Path, authority: Authority, ours: Identity, peer: Tool
) -> None:
    impatient = _node(authority, ours).model_copy(update={"acse_timeout_s": 3.0})
    with serving(tmp_path / "node", impatient) as served:
        address = ("127.0.0.1", served.acceptor.tls_port or 0)
        with (
            socket.create_connection(address, timeout=LIMIT_S) as idle,
            socket.create_connection(address, timeout=LIMIT_S) as begun,
        ):
            begun.sendall(b"\x16\x03\x01\x02\x00")
            assert _echo(peer("echoscu"), served, *_as(authority.signs("CT1"), authority))
            assert idle.recv(1) == b""
            while begun.recv(100):
                continue
        assert "took too long" in _why(served)


# --- new certificates ---------------------------------------------------------------------------------------------


def test_a_new_certificate_is_used_without_a_restart(
    served: Serving, authority: Authority, ours: Identity, tmp_path: Path
) -> None:
    client = authority.signs("CT1")
    assert _handshake(served, _client(authority, client))
    other = Authority(tmp_path / "other", "Other CA")
    renewed = other.signs("node")
    shutil.copy(renewed.key, ours.key)
    shutil.copy(renewed.certificate, ours.certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        _handshake(served, _client(authority, client))
    assert _handshake(served, _client(other, client))


def test_while_new_certificates_are_wrong_the_old_ones_serve_on(
    served: Serving, authority: Authority, ours: Identity
) -> None:
    client = authority.signs("CT1")
    good = ours.certificate.read_bytes()
    ours.certificate.write_text("half a file")
    assert _handshake(served, _client(authority, client))
    ours.certificate.unlink()
    assert _handshake(served, _client(authority, client))
    ours.certificate.write_bytes(good)
    assert _handshake(served, _client(authority, client))


def test_a_client_that_is_trusted_no_more_is_refused_from_the_next_connection_on(
    served: Serving, authority: Authority, tmp_path: Path
) -> None:
    client = authority.signs("CT1")
    assert _handshake(served, _client(authority, client))
    shutil.copy(Authority(tmp_path / "other", "Other CA").certificate, authority.certificate.with_suffix(".new"))
    trusting = _client(authority, client)
    authority.certificate.with_suffix(".new").replace(authority.certificate)
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2  # whose handshake ends with the server's word
    with pytest.raises(OSError):  # an alert, or a reset where the server closed before it had read all
        _handshake(served, trusting)
    assert "its certificate is refused" in _why(served)


def test_an_acceptor_does_not_start_with_certificates_that_cannot_be_used(
    tmp_path: Path, authority: Authority, ours: Identity
) -> None:
    other = authority.signs("other")
    node = _node(authority, Identity(ours.certificate, other.key))
    with pytest.raises(TlsError, match=r"node.tls.key: .*other.key is not the key of"), serving(tmp_path / "n", node):
        pass


def _write_file(file: Path) -> None:
    meta = file_meta(sop_class_uid=CT_IMAGE_STORAGE, sop_instance_uid="1.2.3.4.5", transfer_syntax_uid=EXPLICIT_LITTLE)
    file.write_bytes(meta + ct_image())
    assert dcmread(file).SOPInstanceUID == "1.2.3.4.5"
