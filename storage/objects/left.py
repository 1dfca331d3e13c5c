"""What the writers that died left in their packs, and what of it may be tidied away.

Each record is on the disk before the next one is begun. So a crash tears the last one at most, and only that is cut off;
whatever else is not whole is damage, and stays as it is.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from storage.objects.pack import (
    HEAD_BYTES,
    Record,
    Span,
    has_no_writer,
    head_at,
    heads,
    is_head_damaged,
    record_at,
    sealed_at,
    settle,
)


@dataclass(frozen=True, slots=True)
class LeftPack:
    """A pack of a writer that died. While it is handed out, no other process is handed it.

    records: those that live and are whole. torn: the last one, where only its head is whole; a power cut leaves that of
    what was not acknowledged yet, but where it is indexed it is damage. trouble: why the pack must stay as it is, though
    its records may be indexed. settle: for a pack without trouble, once all its records are; cuts off what is torn.
    Raises OSError.
    """

    path: Path
    records: tuple[Record, ...] = ()
    torn: Span | None = None
    trouble: str | None = None
    settle: Callable[[], None] = lambda: None


def read_left(path: Path, descriptor: int) -> LeftPack | None:
    """None where a writer lives or nothing is left to be done; a file without a living record is removed then.

    Raises OSError where not even its beginning can be read.
    """
    if not has_no_writer(descriptor) or sealed_at(path, descriptor) is not None:
        return None
    opening = os.pread(descriptor, HEAD_BYTES, 0)
    # Within one sector: a power cut does not tear the first head.
    if len(opening) == HEAD_BYTES and opening.strip(b"\0") and head_at(descriptor, 0) is None:
        return LeftPack(path, trouble="it does not begin as a pack of this version does")
    left = _surveyed(path, descriptor)
    if left.records or left.torn or left.trouble:
        return left
    left.settle()
    return None


def _surveyed(path: Path, descriptor: int) -> LeftPack:
    whole: list[Record] = []
    damaged: list[Span] = []
    troubles: list[str] = []
    end = 0
    try:
        for span, head in heads(descriptor):
            end = span.start + span.length
            if not head.is_alive:
                continue
            try:
                record = record_at(descriptor, span, head, proven=True)
            except OSError as error:
                troubles.append(f"record at byte {span.start}: {error.strerror}")
                continue
            if record is None:
                damaged.append(span)
            else:
                whole.append(record)
        torn = None
        if is_head_damaged(descriptor, end):
            troubles.append(f"record at byte {end}: damaged head")
        elif damaged and damaged[-1].start + damaged[-1].length == end:
            torn = damaged.pop()
            end = torn.start
    except OSError as error:
        torn = None
        troubles.append(f"behind byte {end}: {error.strerror}")
    troubles += [f"record at byte {span.start}: damaged content" for span in damaged]
    trouble = "; ".join(troubles) or None
    return LeftPack(path, tuple(whole), torn, trouble, partial(settle, path, descriptor, end))
