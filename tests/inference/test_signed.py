"""Where a signature is asked for, a package that does not carry it is refused before anything of it is parsed."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, signing

from dicom_node.config import Config
from dicom_node.models import problem_of, routable_models
from inference import manifest
from inference.errors import PackageError
from inference.package import MANIFEST
from inference.signed import SIGNATURE, Signers, require_signed
from tests.inference.made_models import Above, torchscript, written


def keys(folder: Path, name: str) -> tuple[Path, Path]:
    """A new pair of keys: files of the private one and of the public one."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.key", folder / f"{name}.pub"
    plain = serialization.NoEncryption()
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return private, public


def sign(by: signing.Config, folder: Path) -> None:
    """As the command does, which leaves out the signature itself."""
    by.set_hashing_config(hashing.Config().set_ignored_paths(paths=[SIGNATURE]))
    by.sign(folder, folder / SIGNATURE)


@pytest.fixture
def trusted(tmp_path: Path) -> tuple[Path, Path]:
    return keys(tmp_path, "trusted")


@pytest.fixture
def folder(tmp_path: Path, trusted: tuple[Path, Path]) -> Path:
    """A package that the trusted key signed."""
    made = written(tmp_path / "model", torchscript(Above(0.0)))
    sign(signing.Config().use_elliptic_key_signer(private_key=trusted[0]), made)
    return made


def test_a_signed_package_is_taken_also_as_a_copy_in_another_folder(
    folder: Path, trusted: tuple[Path, Path], tmp_path: Path
) -> None:
    require_signed(folder, Signers(trusted[1]))
    require_signed(Path(shutil.copytree(folder, tmp_path / "0f" / "copy")), Signers(trusted[1]))


def flipped(folder: Path, file: str) -> None:
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / file).write_bytes(content)


def several(folder: Path) -> None:
    flipped(folder, MANIFEST)
    (folder / "network.pt").rename(folder / "a'b.pt")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (
            lambda folder: flipped(folder, "network.pt"),
            r"\(network\.pt must be as it was signed, but has another content\); fetch",
        ),
        (
            lambda folder: flipped(folder, MANIFEST),
            r"\(model\.yaml must be as it was signed, but has another content\); fetch",
        ),
        (lambda folder: flipped(folder, SIGNATURE), "signature does not hold"),
        (
            lambda folder: (folder / "more.pt").write_bytes(b"more"),
            r"\(files that were not signed must not be there: more\.pt\); fetch",
        ),
        (
            lambda folder: (folder / "network.pt").unlink(),
            r"\(files that were signed must be there: network\.pt\); fetch",
        ),
        (several, r"\(files that were not .*: a'b\.pt; files that were signed .*: network\.pt; model\.yaml must"),
        (lambda folder: (folder / SIGNATURE).unlink(), "holds no model.sig"),
        (lambda folder: (folder / SIGNATURE).write_bytes(b""), "signature does not hold"),
        (lambda folder: (folder / SIGNATURE).write_bytes(b"{}"), "signature does not hold"),
        (lambda folder: (folder / SIGNATURE).write_bytes(b" " * 17_000_000), "must be at most 16777216 bytes"),
    ],
)
def test_what_is_not_as_it_was_signed_is_refused(
    spoil: Callable[[Path], object], reason: str, folder: Path, trusted: tuple[Path, Path]
) -> None:
    spoil(folder)
    with pytest.raises(PackageError, match=reason):
        require_signed(folder, Signers(trusted[1]))


@pytest.mark.parametrize("added", [".git/hooks/post-checkout", ".gitattributes", ".github/workflow.yaml"])
@pytest.mark.parametrize("is_ignored", [True, False])
def test_what_verification_passes_over_since_git_has_it_may_not_be_there(
    added: str, is_ignored: bool, folder: Path, trusted: tuple[Path, Path]
) -> None:
    (folder / SIGNATURE).unlink()
    by = signing.Config().use_elliptic_key_signer(private_key=trusted[0])
    by.set_hashing_config(hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=is_ignored))
    by.sign(folder, folder / SIGNATURE)
    require_signed(folder, Signers(trusted[1]))
    (folder / added).parent.mkdir(parents=True, exist_ok=True)
    (folder / added).write_text("added since")
    with pytest.raises(PackageError, match=rf"says nothing of \{added}, which anybody may have added"):
        require_signed(folder, Signers(trusted[1]))


def test_the_signature_of_another_key_is_refused(folder: Path, tmp_path: Path) -> None:
    other = keys(tmp_path, "other")
    with pytest.raises(PackageError, match="signature does not hold"):
        require_signed(folder, Signers(other[1]))
    (folder / SIGNATURE).unlink()
    sign(signing.Config().use_elliptic_key_signer(private_key=other[0]), folder)
    with pytest.raises(PackageError, match="signature does not hold"):
        require_signed(folder, Signers(tmp_path / "trusted.pub"))


def test_a_key_that_is_not_there_lets_nothing_pass(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="signature does not hold"):
        require_signed(folder, Signers(tmp_path / "nowhere.pub"))


def configured(folder: Path, public_key: Path) -> Config:
    model = {"name": "demo_seg", "folder": str(folder), "signature": {"public_key": str(public_key)}}
    return Config.model_validate({"models": [model]})


def test_a_model_whose_signature_does_not_hold_is_refused_before_it_is_parsed(
    folder: Path, trusted: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured(folder, trusted[1])
    assert routable_models(config)["demo_seg"].package.key == "demo_seg@1.0.0"
    assert problem_of(config.models[0]) is None
    (folder / MANIFEST).write_text(yaml.safe_dump(yaml.safe_load((folder / MANIFEST).read_text()) | {"title": "Other"}))
    monkeypatch.setattr(manifest, "plain_yaml", lambda _: pytest.fail("the manifest was parsed"))
    with pytest.raises(PackageError, match=r"\(model\.yaml must be as it was signed"):
        routable_models(config)
    assert "(model.yaml must be as it was signed" in (problem_of(config.models[0]) or "")


@pytest.mark.parametrize("signature", [{}, {"public_key": "a.pub", "certificates": ["b.pem"]}])
def test_a_configuration_says_whose_signature_in_one_way(signature: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must name public_key or certificates, and not both"):
        Config.model_validate({"models": [{"name": "demo_seg", "signature": signature}]})


def certificate(
    folder: Path, name: str, *, by: tuple[x509.Certificate, ec.EllipticCurvePrivateKey] | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """A certificate, in the file NAME.pem, with its key in NAME.key: of a CA, where nobody else signs it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    issuer, signer = (subject, key) if by is None else (by[0].subject, by[1])
    usage = x509.KeyUsage(True, False, False, False, False, by is None, by is None, False, False)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=9))
        .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    (folder / f"{name}.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / f"{name}.key").write_bytes(private)
    return made, key


def test_a_package_that_was_signed_under_a_trusted_ca_is_taken_and_under_another_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    (folder / SIGNATURE).unlink()
    for name in ("ca", "other"):
        certificate(tmp_path, f"leaf_{name}", by=certificate(tmp_path, name, by=None))
    asked = signing.Config().use_certificate_signer(
        private_key=tmp_path / "leaf_ca.key",
        signing_certificate=tmp_path / "leaf_ca.pem",
        certificate_chain=[tmp_path / "ca.pem"],
    )
    sign(asked, folder)
    require_signed(folder, Signers(certificates=(tmp_path / "ca.pem",)))
    with pytest.raises(PackageError, match="signature does not hold"):
        require_signed(folder, Signers(certificates=(tmp_path / "other.pem",)))
