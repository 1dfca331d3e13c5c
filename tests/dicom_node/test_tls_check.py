"""What the configuration and `dicom-node check` say of certificates and limits before anybody meets them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dicom_node.config import Config
from dicom_node.config_check import check_config
from dicom_node.config_destinations import DestinationTls
from dicom_node.config_file import load_config
from dicom_node.config_node import Node, Requestor, Tls
from dicom_node.network.access import decide
from dicom_node.network.certificates import findings
from dicom_node.network.tls import PeerCertificate
from tests.dicom_node.certificates import Authority, Identity

NOW = datetime.now(UTC)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "pki")


def _tls(authority: Authority, identity: Identity, **more: Any) -> Tls:
    return Tls(certificate=identity.certificate, key=identity.key, ca=authority.certificate, **more)


def _found(settings: Tls, now: datetime = NOW) -> list[tuple[str, str, str]]:
    return [(found.severity, found.key, found.text) for found in findings(settings, now)]


def test_good_certificates_need_no_word(authority: Authority) -> None:
    identity = authority.signs("node")
    identity.key.chmod(0o600)
    assert _found(_tls(authority, identity)) == []


@pytest.mark.parametrize(
    ("validity", "severity", "words"),
    [
        ((-50, 29), "warning", "expires on"),
        ((-50, -1), "error", "every peer will refuse the node"),
        ((1, 50), "error", "is valid only from"),
    ],
)
def test_a_certificate_that_ends_soon_or_is_not_valid_is_told_of(
    authority: Authority, validity: tuple[float, float], severity: str, words: str
) -> None:
    identity = authority.signs("node", from_days=validity[0], to_days=validity[1])
    identity.key.chmod(0o600)
    ((said, key, text),) = _found(_tls(authority, identity))
    assert (said, key) == (severity, "certificate")
    assert words in text


def test_a_ca_that_expires_is_told_of(authority: Authority) -> None:
    identity = authority.signs("node", to_days=5000)
    identity.key.chmod(0o600)
    (warning,) = _found(_tls(authority, identity), NOW + timedelta(days=980))
    assert warning[:2] == ("warning", "ca")


def test_a_key_that_everybody_may_read_is_warned_of(authority: Authority) -> None:
    identity = authority.signs("node")
    identity.key.chmod(0o644)
    assert [found[:2] for found in _found(_tls(authority, identity))] == [("warning", "key")]


@pytest.mark.parametrize("case", ["wrong key", "absent key", "no key", "no certificate", "no ca", "password"])
def test_files_that_cannot_be_used_are_named_with_what_is_wrong(
    authority: Authority, tmp_path: Path, case: str
) -> None:
    good, other = authority.signs("node"), authority.signs("other")
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_text("no PEM at all")
    protected = authority.signs("protected", password=b"secret")
    changes, key, words = {
        "wrong key": ({"key": other.key}, "key", "is not the key of"),
        "absent key": ({"key": tmp_path / "nowhere"}, "key", "cannot be read: No such file or directory"),
        "no key": ({"key": rubbish}, "key", "holds no private key in PEM"),
        "no certificate": ({"certificate": rubbish}, "certificate", "holds no certificate in PEM"),
        "no ca": ({"ca": rubbish}, "ca", "holds no certificates in PEM"),
        "password": ({"certificate": protected.certificate, "key": protected.key}, "key", "protected by a password"),
    }[case]
    ((severity, named, text),) = _found(_tls(authority, good).model_copy(update=changes))
    assert (severity, named) == ("error", key)
    assert words in text
    assert str(changes[key]) in text


def test_check_tells_of_an_expired_certificate_with_its_key(authority: Authority, tmp_path: Path) -> None:
    expired = authority.signs("node", to_days=-1)
    path = tmp_path / "config.yaml"
    files = f"certificate: {expired.certificate}, key: {expired.key}, ca: {authority.certificate}"
    path.write_text(f"node: {{port: 0, tls: {{port: 0, {files}}}}}\n", encoding="utf-8")
    report = check_config(path, connect=False, env={})
    assert not report.ok
    assert "node.tls.certificate" in [remark.key for remark in report.remarks if remark.severity == "error"]


def test_check_tells_of_the_certificates_of_destinations_with_their_keys(authority: Authority, tmp_path: Path) -> None:
    fits, ends, other = authority.signs("fits"), authority.signs("ends", to_days=10), authority.signs("other")
    for identity in (fits, ends, other):
        identity.key.chmod(0o600)
    sections = {
        "good": {"ca": authority.certificate, "certificate": fits.certificate, "key": fits.key},
        "ends": {"ca": authority.certificate, "certificate": ends.certificate, "key": ends.key},
        "wrong": {"ca": authority.certificate, "certificate": ends.certificate, "key": other.key},
        "absent": {"ca": tmp_path / "nowhere.pem"},
    }
    path = tmp_path / "config.yaml"
    lines = [
        f"  - {{name: {name}, type: dicom, ae_title: P, address: localhost, port: 104, tls: "
        f"{{{', '.join(f'{key}: {value}' for key, value in tls.items())}}}}}"
        for name, tls in sections.items()
    ]
    path.write_text("node: {port: 0}\ndestinations:\n" + "\n".join(lines) + "\n", encoding="utf-8")
    remarks = check_config(path, connect=False, env={}).remarks
    found = {remark.key: (remark.severity, remark.text) for remark in remarks if ".tls." in remark.key}
    assert {key: severity for key, (severity, _) in found.items()} == {
        "destinations[1].tls.certificate": "warning",
        "destinations[2].tls.key": "error",
        "destinations[3].tls.ca": "error",
    }
    assert "expires on" in found["destinations[1].tls.certificate"][1]
    assert "is not the key of" in found["destinations[2].tls.key"][1]
    assert "nowhere.pem cannot be read: No such file" in found["destinations[3].tls.ca"][1]


def test_an_expired_certificate_of_the_node_is_an_error_for_its_destination(authority: Authority) -> None:
    expired = authority.signs("expired", to_days=-1)
    expired.key.chmod(0o600)
    settings = DestinationTls(ca=authority.certificate, certificate=expired.certificate, key=expired.key)
    ((severity, key, text),) = [(one.severity, one.key, one.text) for one in findings(settings, NOW)]
    assert (severity, key) == ("error", "certificate")
    assert "this destination will refuse the node" in text


def test_the_password_of_a_key_comes_from_the_environment_and_is_shown_nowhere(
    authority: Authority, tmp_path: Path
) -> None:
    protected = authority.signs("protected", password=b"from outside")
    protected.key.chmod(0o600)
    path = tmp_path / "config.yaml"
    files = f"ca: {authority.certificate}, certificate: {protected.certificate}, key: {protected.key}"
    path.write_text(
        "node: {port: 0}\ndestinations:\n  - {name: p, type: dicom, ae_title: P, address: localhost, port: 104,\n"
        f'     tls: {{{files}, key_password: "${{KEY_PASSWORD}}"}}}}\n',
        encoding="utf-8",
    )
    good, wrong = (check_config(path, connect=False, env={"KEY_PASSWORD": one}) for one in ("from outside", "no"))
    assert [remark for remark in good.remarks if ".tls." in remark.key] == []
    (remark,) = [remark for remark in wrong.remarks if ".tls." in remark.key]
    assert (remark.key, remark.severity) == ("destinations[0].tls.key_password", "error")
    assert "from outside" not in repr(load_config(path, {"KEY_PASSWORD": "from outside"}))


def test_files_count_from_the_folder_of_the_configuration(tmp_path: Path) -> None:
    from_there = Node.model_validate(
        {"tls": {"certificate": "node.pem", "key": "node.key", "require_certificate": False}},
        context={"folder": tmp_path},
    )
    assert from_there.tls
    assert from_there.tls.certificate == tmp_path / "node.pem"


# --- configuration ------------------------------------------------------------------------------------------------

FILES = {"certificate": "a", "key": "b"}


def _to(tls: dict[str, Any]) -> dict[str, Any]:
    return {"destinations": [{"name": "p", "type": "dicom", "ae_title": "P", "address": "h", "port": 104, "tls": tls}]}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"node": {"tls": FILES}}, "require_certificate needs ca"),
        ({"node": {"port": 2762, "tls": {**FILES, "ca": "c"}}}, "must have another tls.port"),
        ({"node": {"max_pdu_bytes": "512 KiB", "limits": {"pdu_bytes": "256 KiB"}}}, "max_pdu_bytes <= limits.pdu_byt"),
        ({"access": {"requestors": [{"ae_title": "CT1"}]}}, "an AE title proves nothing"),
        ({"access": {"requestors": [{"ae_title": "CT1", "certificate_name": "ct1"}]}}, "must come with node.tls.ca"),
        ({"access": {"requestors": [{"ae_title": "CT1", "certificate_sha256": "ab"}]}}, "64 hexadecimal digits"),
        (_to({}), "tls.ca"),
        (_to({"ca": "a", "certificate": "b"}), "certificate and key together"),
        (_to({"ca": "a", "key_password": "b"}), "the key that key_password is for"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as problem:
        Config.model_validate(given)
    assert words in str(problem.value)


def test_with_tls_only_the_plain_port_may_have_any_number() -> None:
    tls = {**FILES, "ca": "c", "only": True}
    assert Config.model_validate({"node": {"port": 2762, "tls": tls}}).node.tls


# --- access -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bound", "certificate", "address", "accepted"),
    [
        ({"certificate_name": "ct1"}, PeerCertificate("ct1", "a" * 64), "192.0.2.9", True),
        ({"certificate_name": "ct1"}, PeerCertificate("ct10", "a" * 64), "192.0.2.9", False),
        ({"certificate_name": "ct1"}, None, "192.0.2.9", False),
        ({"certificate_sha256": ":".join(["AA"] * 32)}, PeerCertificate("x", "a" * 64), "192.0.2.9", True),
        ({"certificate_sha256": "a" * 64}, PeerCertificate("x", "b" * 64), "192.0.2.9", False),
        ({"certificate_name": "ct1", "certificate_sha256": "a" * 64}, PeerCertificate("ct1", "b" * 64), "::1", False),
        ({"certificate_name": "ct1", "addresses": ["192.0.2.9"]}, PeerCertificate("ct1", "b" * 64), "::1", False),
        ({"addresses": ["192.0.2.9"]}, PeerCertificate("whoever", "b" * 64), "192.0.2.9", True),
    ],
)
def test_all_that_a_requestor_is_bound_to_must_fit(
    bound: dict[str, Any], certificate: PeerCertificate | None, address: str, accepted: bool
) -> None:
    requestor = Requestor.model_validate({"ae_title": "CT1", **bound})
    access = Config().access.model_copy(update={"open": False, "requestors": (requestor,)})
    decision = decide(
        access, "NODE", calling_ae_title="CT1", called_ae_title="NODE", address=address, certificate=certificate
    )
    assert (decision is None) is accepted
    assert decision is None or (decision.result, decision.source, decision.reason) == (1, 1, 3)
