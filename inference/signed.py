"""Signatures of packages, in the OpenSSF model signing format: `model.sig` in the folder, by somebody whom the site trusts.

    model_signing sign key FOLDER --private_key KEY.pem --signature FOLDER/model.sig

Verified on this machine alone, with a public key or the certificate of a CA that the configuration names: nobody is asked.
"""

from __future__ import annotations

import ast
import base64
import contextlib
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path

from inference.errors import PackageError

SIGNATURE = "model.sig"
MAX_BYTES = 16 * 1024**2
_NAMED = 5
_REASON_CHARACTERS = 300
# What model_signing says of differences: after these words a list of sentences, as Python writes lists.
_DIFFERENCES = "Signature mismatch: "
_RULES = (
    (re.compile(r"Hash mismatch for '(.+)': Expected '"), "{} must be as it was signed, but has another content"),
    (re.compile(r"Extra files found in model '.*?': (.+)"), "files that were not signed must not be there: {}"),
    (re.compile(r"Missing files in model '.*?': (.+)"), "files that were signed must be there: {}"),
)


@dataclass(frozen=True, slots=True)
class Signers:
    """Whose signature is asked for: of the holder of this key (PEM, elliptic curve), or of one for whom certificates vouch."""

    public_key: Path | None = None
    certificates: tuple[Path, ...] = ()


def require_signed(folder: Path, signers: Signers) -> None:
    """Raises PackageError unless every file of the folder is as one of the signers signed it, and there is no other."""
    signature = folder / SIGNATURE
    if signature.is_symlink() or not signature.is_file():
        raise PackageError(f"{folder}: holds no {SIGNATURE}, and a signature of this model is asked for")
    if (size := signature.stat().st_size) > MAX_BYTES:
        raise PackageError(f"{signature}: must be at most {MAX_BYTES} bytes, but is {size}")
    try:
        from model_signing import verifying
    except ImportError as error:
        raise PackageError(
            "signatures are verified with model-signing, which is not installed: pip install 'dicom-node[signing]'"
        ) from error
    try:
        asked = verifying.Config()
        if signers.public_key is not None:
            asked.use_elliptic_key_verifier(public_key=signers.public_key)
        else:
            asked.use_certificate_verifier(certificate_chain=signers.certificates)
        with contextlib.redirect_stdout(io.StringIO()):  # it prints advice to those who sign
            asked.verify(folder, signature)
        unsigned = _unsigned(folder, signature)
    except Exception as error:  # its errors have no common class, and none of them may pass
        raise PackageError(
            f"{folder}: its signature does not hold ({_reason(error)}); fetch the package again, or have it signed anew"
        ) from error
    if unsigned:
        more = f" and {len(unsigned) - _NAMED} more" if len(unsigned) > _NAMED else ""
        raise PackageError(
            f"{folder}: its signature says nothing of {', '.join(unsigned[:_NAMED])}{more}, which anybody may have added:"
            " take that away"
        )


def _unsigned(folder: Path, signature: Path) -> list[str]:
    """Files of the folder that the signature, which holds, does not name: verification passes over those of git, whatever was
    signed."""
    payload = json.loads(base64.b64decode(json.loads(signature.read_bytes())["dsseEnvelope"]["payload"]))
    names = {item["name"] for item in payload["predicate"]["resources"]}
    there = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    }
    return sorted(there - names - {SIGNATURE})


def _reason(error: Exception) -> str:
    """In one line: which files are not as they were signed, or what the library says of the signature itself."""
    said = str(error)
    words = "; ".join(_rule(sentence) for sentence in _sentences(said)) or said
    return " ".join(words.split())[:_REASON_CHARACTERS] or type(error).__name__


def _sentences(said: str) -> list[str]:
    if not said.startswith(_DIFFERENCES):
        return []
    try:
        found = ast.literal_eval(said.removeprefix(_DIFFERENCES))
    except (ValueError, SyntaxError):
        return []
    return [str(sentence) for sentence in found] if isinstance(found, list) else []


def _rule(sentence: str) -> str:
    for said, rule in _RULES:
        if found := said.match(sentence):
            return rule.format(found[1])
    return sentence
