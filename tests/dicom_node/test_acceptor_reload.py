"""A configuration that changes while associations are open: they go on as they began, who comes later meets the new one."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.association import Association

from dicom_node.config_node import Access, Limits, Node, Requestor, Tls
from dicom_node.network.tls_context import TlsError
from dicom_node.room import Marks
from tests.dicom_node.certificates import Authority
from tests.dicom_node.raw_scu import associated
from tests.dicom_node.serving import serving
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, ct_image
from tests.waiting import wait_until

CT = (CT_IMAGE_STORAGE, EXPLICIT_LITTLE)
STRANGER, KNOWN = "STRANGER", "CT1"
CLOSED = Access(open=False, requestors=(Requestor(ae_title=KNOWN, addresses=(ip_network("127.0.0.1"),)),))


def rejection(port: int, calling_ae_title: str) -> tuple[int, int, int] | None:
    """Result, source and reason; None where the association is accepted."""
    association = associate(port, calling_ae_title)
    if association.is_established:
        association.release()
        return None
    answer = association.acceptor.primitive
    assert answer
    return (answer.result, answer.result_source, answer.diagnostic)


def associate(port: int, calling_ae_title: str) -> Association:
    entity = AE(calling_ae_title)
    entity.add_requested_context("1.2.840.10008.1.1")
    return entity.associate("127.0.0.1", port)


def stored(scu: object, number: int) -> int:
    response = scu.store(ct_image(), CT, sop_instance_uid=f"1.2.3.4.{number}")  # type: ignore[attr-defined]
    assert response is not None
    return int(response.Status)


def test_access_that_is_closed_turns_strangers_away_and_lets_one_that_is_associated_store_on(tmp_path: Path) -> None:
    with serving(tmp_path) as served, associated(served.port, [CT], calling_ae_title=STRANGER) as scu:
        assert stored(scu, 5) == 0
        served.acceptor.use(served.acceptor._node, CLOSED)
        assert rejection(served.port, STRANGER) == (1, 1, 3)
        assert rejection(served.port, KNOWN) is None
        assert stored(scu, 5) == 0


def test_what_the_node_is_called_and_asks_for_changes_for_who_comes_next(tmp_path: Path) -> None:
    node = Node(port=0, max_pdu_bytes=65536)  # type: ignore[arg-type]
    with serving(tmp_path, node) as served:
        access = Access(check_called_ae_title=True)
        before = associate(served.port, KNOWN)
        changed = node.model_copy(update={"ae_title": "ANY-SCP", "max_pdu_bytes": 131072})
        served.acceptor.use(changed, access)  # pynetdicom calls whoever it asks ANY-SCP
        after = associate(served.port, KNOWN)
        assert (before.acceptor.maximum_length, after.acceptor.maximum_length) == (65536, 131072)
        assert before.is_established
        assert after.is_established
        for one in (before, after):
            one.release()


def test_limits_hold_for_who_comes_next_and_count_who_is_there(tmp_path: Path) -> None:
    with serving(tmp_path) as served:
        there = associate(served.port, KNOWN)
        served.acceptor.use(Node(port=0, max_associations=1), Access())
        assert rejection(served.port, KNOWN) == (2, 3, 2)
        served.acceptor.use(Node(port=0, limits=Limits(connections_per_address=1)), Access())
        assert associate(served.port, KNOWN).is_aborted
        assert there.is_established
        there.release()
        wait_until(lambda: rejection_or_none(served.port))


def rejection_or_none(port: int) -> bool:
    """Whether an association is accepted (by now)."""
    association = associate(port, KNOWN)
    if association.is_established:
        association.release()
        return True
    return False


def test_certificates_that_cannot_be_used_change_nothing(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    identity = authority.signs("node")
    files = {"certificate": identity.certificate, "key": identity.key, "require_certificate": False}
    node = Node(port=0, tls=Tls(port=0, **files))  # type: ignore[arg-type]
    with serving(tmp_path, node) as served:
        wrong = Node(port=0, ae_title="OTHER", tls=Tls(port=0, **files | {"key": tmp_path / "none"}))  # type: ignore[arg-type]
        with pytest.raises(TlsError, match=r"node\.tls\.key"):
            served.acceptor.use(wrong, CLOSED)
        assert rejection(served.port, STRANGER) is None
        # The files of the settings in use may be gone by now: what was read of them goes on.
        identity.key.unlink()
        served.acceptor.use(node, CLOSED)
        assert rejection(served.port, STRANGER) == (1, 1, 3)


def test_marks_for_room_hold_at_once_for_all(tmp_path: Path) -> None:
    """They are the disk's, not a peer's: an association that goes on would fill it."""
    with serving(tmp_path) as served, associated(served.port, [CT]) as scu:
        assert stored(scu, 5) == 0
        everything = Marks(1 << 60, 1 << 60, 1 << 60)
        served.acceptor._intake.use(everything, None, sequence_depth=64)
        assert stored(scu, 6) == 0xA700
