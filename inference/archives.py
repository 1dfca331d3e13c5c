"""Archives (zip) of weights and golden cases, looked into before anything unpacks them.

Nothing is ever unpacked to the disk; but a name that leads out of the folder, or is there twice, or a content that claims to be
larger than any model, says that somebody means harm.
"""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import PurePosixPath

from inference.errors import PackageError

MAX_BYTES = 32 * 1024**3
MAX_ENTRIES = 65536


def check_archive(content: BytesIO) -> None:
    """Raises PackageError where the archive holds what none should. What is no archive passes: whoever reads it says so."""
    if zipfile.is_zipfile(content):
        content.seek(0)
        with zipfile.ZipFile(content) as archive:
            check_entries(archive)
    content.seek(0)


def check_entries(archive: zipfile.ZipFile) -> None:
    """Raises PackageError, as `check_archive` does."""
    entries = archive.infolist()
    if len(entries) > MAX_ENTRIES:
        raise PackageError(f"the archive holds {len(entries)} entries, more than the {MAX_ENTRIES} that it may")
    names = set()
    for entry in entries:
        path = PurePosixPath(entry.filename)
        if path.is_absolute() or ".." in path.parts or "\\" in entry.filename or ":" in path.parts[:1]:
            raise PackageError(f"the archive holds {entry.filename!r}, which leads out of it: refused")
        if path in names:
            raise PackageError(
                f"the archive holds {entry.filename!r} twice, so nobody knows which one is meant: refused"
            )
        names.add(path)
    if (size := sum(entry.file_size for entry in entries)) > MAX_BYTES:
        raise PackageError(f"the archive holds {size} bytes unpacked, more than the {MAX_BYTES} that it may")
