"""A folder as destination: <path>/<Study Instance UID>/<kind>-<SOP Instance UID>.dcm, each file whole or not there.

Names hold UIDs and nothing of the patient.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.config_destinations import FolderDestination as Settings
from dicom_node.destinations.forms import form_for, in_words
from dicom_node.destinations.protocol import Outcome, Parcel
from dicom_node.lossless import Method
from dicom_node.stored_file import pieces_of
from storage.disk import sync_folder
from storage.errors import StorageError
from storage.records.results import Result

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")  # PS3.5 section 9.1; at most 64 characters
_KIND = re.compile(r"[a-z0-9_]+(-[a-z0-9_]+){0,2}")


@dataclass(frozen=True, slots=True)
class FolderDestination:
    """compression: what is tried of it, the first rather, for each result."""

    name: str
    path: Path
    compression: Sequence[Method] = ()

    def deliver(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        return tuple(self._deliver(parcel) for parcel in parcels)

    def _deliver(self, parcel: Parcel) -> Outcome:
        result = parcel.result
        fault = _unfit(result)
        if fault:
            return Outcome(result.sop_instance_uid, "refused", fault)
        study = self.path / result.study_instance_uid
        form = form_for(parcel, self.compression, self.name)
        try:
            _make_durably(study)
            content = pieces_of(form.part10 if form else parcel.part10)
            _write_durably(study / f"{result.kind}-{result.sop_instance_uid}.dcm", content)
        except OSError as error:
            return Outcome(result.sop_instance_uid, "failed", f"{self.path}: {error.strerror}")
        except StorageError:
            return Outcome(result.sop_instance_uid, "failed", "its stored object cannot be read now", is_unread=True)
        sent_as = in_words(form, form.transfer_syntax_uid, self.name) if form else ""
        return Outcome(result.sop_instance_uid, "delivered", "written", sent_as=sent_as)


def open_folder(settings: Settings) -> FolderDestination:
    return FolderDestination(settings.name, settings.path, settings.compression)


def _unfit(result: Result) -> str | None:
    """Why a result must not become a file name. Study Instance UIDs come from peers, so they are not trusted."""
    for word, uid in (
        ("Study Instance UID", result.study_instance_uid),
        ("SOP Instance UID", result.sop_instance_uid),
    ):
        if len(uid) > 64 or not _UID.fullmatch(uid):
            return f"the {word} is no UID (PS3.5 section 9.1), so it cannot name a file"
    return (
        None if len(result.kind) <= 48 and _KIND.fullmatch(result.kind) else "the kind of the result cannot name a file"
    )


def _make_durably(folder: Path) -> None:
    """Make a folder and those above it, each entered in its parent on the disk."""
    if folder.is_dir():
        return
    _make_durably(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def _write_durably(path: Path, content: Iterable[bytes | memoryview]) -> None:
    """Replace a file at once; a reader sees the old one or the new one. On the disk when this returns."""
    # One name for each target: what a crash left half-written is overwritten by the next attempt.
    partial = path.with_name(f".{path.name}.part")
    with partial.open("wb") as file:
        file.writelines(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    sync_folder(path.parent)
