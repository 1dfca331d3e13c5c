"""A model package: a folder with model.yaml and the files it names, proven to be those files before any is used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from inference import bundle
from inference.errors import PackageError
from inference.findings import ModelIdentity
from inference.golden_case import GoldenCase
from inference.manifest import Manifest, PythonRuntime, Weights, frozen, read_manifest, validated

MANIFEST = "model.yaml"
BUILT_IN = Path(__file__).parent / "models"
MAX_FILES, MAX_BYTES = 4096, 32 * 1024**3
"""Of a package: what is larger is none, and would keep whoever verifies it for hours."""
IGNORED_FOLDERS = frozenset({"__pycache__"})


@dataclass(frozen=True, slots=True)
class Package:
    """A verified package. content_sha256 covers the manifest, every file beside it, and the models that it builds on."""

    manifest: Manifest
    folder: Path
    content_sha256: str

    @property
    def key(self) -> str:
        return f"{self.manifest.name}@{self.manifest.version}"

    def device_for(self, wanted: str) -> str:
        """What is wanted, or where that is "auto", what the manifest asks for."""
        return self.manifest.resources.device if wanted == "auto" else wanted

    @property
    def identity(self) -> ModelIdentity:
        manifest = self.manifest
        return ModelIdentity(
            name=manifest.name,
            version=manifest.version,
            manufacturer=manifest.manufacturer,
            title=manifest.title,
            intended_use=manifest.intended_use,
            limits=manifest.limits,
            device_uid=device_uid(self.content_sha256),
            content_sha256=self.content_sha256,
            card=manifest.model_card.card,
        )


def load_package(folder: Path) -> Package:
    """Read and verify the package, or MONAI bundle, in folder; nothing of it is imported or unpickled.

    Raises PackageError with every problem of model.yaml, or with the file that is not as it says.
    """
    digests = file_digests(folder)
    if MANIFEST not in digests and bundle.is_bundle(folder):
        manifest = validated(frozen(bundle.manifest_of(folder, digests)), folder / bundle.METADATA)
    else:
        manifest = read_manifest(folder / MANIFEST)
    if isinstance(manifest.runtime, PythonRuntime):
        check_built_in(manifest.runtime, folder)
    for weights in manifest.weights:
        check_file(weights, "weights", digests, folder)
    for case in manifest.golden:
        check_file(case, "golden", digests, folder)
    for name in manifest.runtime.builds_on if isinstance(manifest.runtime, PythonRuntime) else ():
        digests |= {f"../{name}/{file}": digest for file, digest in built_in_digests(name, folder).items()}
    return Package(manifest, folder, content_digest(digests))


def load_exactly(folder: Path, content_sha256: str, otherwise: str) -> Package:
    """As `load_package`, of the one content that was decided on.

    otherwise: what to do where the folder holds another one, which is not run. Raises PackageError.
    """
    package = load_package(folder)
    if package.content_sha256 != content_sha256:
        raise PackageError(
            f"{folder}: its content must be {content_sha256}, but is {package.content_sha256}: it was changed or is"
            f" damaged; {otherwise}"
        )
    return package


def check_built_in(runtime: PythonRuntime, folder: Path) -> None:
    """Code runs only from the package that it came with: a folder under inference/models."""
    module = runtime.entry_point.partition(":")[0]
    home = BUILT_IN / module.split(".")[2]
    if folder.resolve() != home.resolve():
        raise PackageError(
            f"{folder / MANIFEST}: runtime.kind python is for built-in models only, and this package is not at "
            f"inference/models/{home.name}; package weights for another runtime instead"
        )


def built_in_digests(name: str, folder: Path) -> dict[str, str]:
    """Of the built-in model that the one in `folder` builds on."""
    home = BUILT_IN / name
    if not (home / MANIFEST).is_file():
        raise PackageError(
            f"{folder / MANIFEST}: runtime.builds_on names {name}, and there is no built-in model so named"
        )
    return file_digests(home)


def file_digests(folder: Path) -> dict[str, str]:
    """SHA-256 of every file in the folder by its relative path; links are refused, since they may point anywhere.

    Raises PackageError, before any file is read, where they are more or larger than those of a model.
    """
    files = _files(folder)
    sizes = {path: path.stat().st_size for path in files}
    if len(sizes) > MAX_FILES or sum(sizes.values()) > MAX_BYTES:
        raise PackageError(
            f"{folder}: a model package holds at most {MAX_FILES} files of {MAX_BYTES} bytes together, but this one"
            f" {len(sizes)} of {sum(sizes.values())}"
        )
    digests = {}
    for path in files:
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _files(folder: Path) -> list[Path]:
    files = []
    for path in sorted(folder.rglob("*")):
        if IGNORED_FOLDERS.intersection(path.relative_to(folder).parts):
            continue
        if path.is_symlink():
            raise PackageError(f"{path}: is a symbolic link; a model package holds plain files only")
        if path.is_file():
            files.append(path)
        elif not path.is_dir():
            raise PackageError(f"{path}: is neither a file nor a folder; a model package holds plain files only")
    return files


def check_file(named: Weights | GoldenCase, part: str, digests: dict[str, str], folder: Path) -> None:
    """A file that the manifest names is there, and is the one that it means."""
    found = digests.get(named.file)
    if found is None:
        raise PackageError(f"{folder / named.file}: is named in {MANIFEST} under {part}, but is missing")
    if found != named.sha256:
        raise PackageError(
            f"{folder / named.file}: SHA-256 must be {named.sha256}, but is {found}; fetch the file again, or "
            f"correct {MANIFEST} if it was meant to change"
        )


def content_digest(digests: dict[str, str]) -> str:
    """One digest over names and contents, the same whatever the order in which the disk lists them."""
    whole = hashlib.sha256()
    for name in sorted(digests):
        whole.update(f"{name}\0{digests[name]}\n".encode())
    return whole.hexdigest()


def device_uid(content_sha256: str) -> str:
    """A UID of the 2.25 branch (PS3.5 B.2) from the digest: other content, other device (IHE AI Results)."""
    octets = bytearray(bytes.fromhex(content_sha256)[:16])
    octets[6] = octets[6] & 0x0F | 0x80  # UUID version 8, of our own making (RFC 9562)
    octets[8] = octets[8] & 0x3F | 0x80
    return f"2.25.{int.from_bytes(octets, 'big')}"
