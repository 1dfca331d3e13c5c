"""Sends the instances under a folder to a peer, in as few associations as their kinds allow."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.filereader import read_partial

from dicom_node.network.file_meta import NotPart10, read_file_meta, sop_uids_in
from dicom_node.network.requestor import MAX_CONTEXTS, Context, Outgoing, Peer, SendOutcome, send

# Media Storage Directory: the index of a medium, which no storage service takes.
_DICOMDIR = "1.2.840.10008.1.3.10"
_HEAD_BYTES = 16 * 1024
_SOP_CLASS_UID, _SOP_INSTANCE_UID = 0x00080016, 0x00080018

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class SendReport:
    """How many instances were delivered and how many were not; what was skipped was no DICOM file."""

    delivered: int
    failed: int
    skipped: int
    sent_bytes: int
    seconds: float
    # Reasons of what was not delivered, the most frequent first, each with its count.
    reasons: tuple[tuple[str, int], ...]

    def in_words(self) -> str:
        megabytes = self.sent_bytes / 1e6
        instances = "1 instance" if self.delivered == 1 else f"{self.delivered} instances"
        lines = [f"{instances} delivered, {megabytes:.1f} MB in {self.seconds:.1f} s"]
        if self.skipped:
            lines.append(f"{self.skipped} files skipped: no DICOM instance")
        lines += [f"{count} not delivered: {reason}" for reason, count in self.reasons]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    size_bytes: int


def send_folder(folder: Path, peer: Peer, progress: Progress) -> SendReport:
    """Send every DICOM Part 10 file under a folder (or the one file that `folder` is), as it is stored.

    progress: called with (instances done, instances in all), first with 0 once the files are counted.
    """
    began = time.monotonic()
    found, skipped = _instances(folder)
    delivered, sent_bytes, reasons = 0, 0, Counter[str]()
    progress(0, len(found))
    for position, (item, outcome) in enumerate(_send(found, peer), start=1):
        if outcome.verdict == "delivered":
            delivered += 1
            sent_bytes += item.size_bytes
        else:
            reasons[outcome.reason] += 1
        progress(position, len(found))
    return SendReport(
        delivered=delivered,
        failed=reasons.total(),
        skipped=skipped,
        sent_bytes=sent_bytes,
        seconds=time.monotonic() - began,
        reasons=tuple(reasons.most_common()),
    )


def in_associations(needed: Sequence[Iterable[Context]]) -> list[range]:
    """Cut a sequence into runs that need at most 128 presentation contexts each. Order is kept.

    needed: the presentation contexts that each instance asks for.
    """
    runs: list[range] = []
    begin, seen = 0, set[Context]()
    for position, contexts in enumerate(needed):
        if len(seen.union(contexts)) > MAX_CONTEXTS:
            runs.append(range(begin, position))
            begin, seen = position, set()
        seen.update(contexts)
    return [*runs, range(begin, len(needed))] if needed else []


def _send(found: Sequence[_Found], peer: Peer) -> Iterator[tuple[_Found, SendOutcome]]:
    items = [Outgoing(item.sop_class_uid, item.sop_instance_uid, item.transfer_syntax_uid, item.path) for item in found]
    for run in in_associations([item.contexts for item in items]):
        outcomes = send(peer, items[run.start : run.stop])
        yield from zip(found[run.start : run.stop], outcomes, strict=True)


def _instances(folder: Path) -> tuple[list[_Found], int]:
    """The DICOM files in order of their paths, and how many files are none."""
    paths = [folder] if folder.is_file() else sorted(path for path in folder.rglob("*") if path.is_file())
    found, skipped = [], 0
    for path in paths:
        try:
            with path.open("rb", buffering=0) as file:
                head, size_bytes = file.read(_HEAD_BYTES), os.fstat(file.fileno()).st_size
            meta = read_file_meta(head)
        except (NotPart10, OSError):
            skipped += 1
            continue
        if meta.sop_class_uid == _DICOMDIR:
            skipped += 1
            continue
        in_meta = (meta.sop_class_uid, meta.sop_instance_uid)
        sop_class_uid, sop_instance_uid = sop_uids_in(head, meta) or sop_uids(path) or in_meta
        found.append(_Found(path, sop_class_uid, sop_instance_uid, meta.transfer_syntax_uid, size_bytes))
    return found, skipped


def sop_uids(path: Path) -> tuple[str, str] | None:
    """SOP Class and SOP Instance UID as the data set of a Part 10 file gives them, whatever stands before them.

    The command of a C-STORE repeats those (PS3.7 section 9.1.1.1). A file meta header may differ: anonymizers and
    converters that change the data set often leave it as it was. None where the file cannot be read so far.
    """
    try:
        with path.open("rb") as file:
            head = read_partial(file, stop_when=lambda tag, _vr, _length: tag > _SOP_INSTANCE_UID)
        raw = [head.get_item(tag).value for tag in (_SOP_CLASS_UID, _SOP_INSTANCE_UID)]
        sop_class_uid, sop_instance_uid = (bytes(value).rstrip(b"\0 ").decode("ascii") for value in raw)
    except Exception:  # noqa: BLE001 - a broken file may fail in any way, and the peer is to judge it
        return None
    return (sop_class_uid, sop_instance_uid) if sop_class_uid and sop_instance_uid else None
