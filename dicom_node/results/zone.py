"""In which time zone a study stands: one offset governs all dates and times of an object (PS3.3 C.12.1.1.8)."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from pydicom.dataset import Dataset

WEST_MOST, EAST_MOST = timedelta(hours=-12), timedelta(hours=14)


def stated_zone(source: Dataset) -> timezone | None:
    """What the source says; None where it says nothing, or nothing that the standard allows."""
    return zone(str(source.get("TimezoneOffsetFromUTC") or ""))


def zone(offset: str) -> timezone | None:
    """+0100 as a time zone; None for anything else than PS3.3 C.12.1.1.8 allows."""
    if not re.fullmatch(r"[+-][0-9]{2}[0-5][0-9]", offset):
        return None
    size = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
    size = size if offset[0] == "+" else -size
    return timezone(size) if WEST_MOST <= size <= EAST_MOST else None


def of_study(moment_s: float, source: Dataset) -> datetime:
    """A moment (seconds since 1970) as it is to stand in an object beside the date and time of the study.

    Where the source states no zone, it is taken to be in that of this machine, with the offset that held there when the
    study was made: in winter a study of July keeps its summer time.
    """
    return datetime.fromtimestamp(moment_s, stated_zone(source) or machine_zone(source, moment_s))


def machine_zone(source: Dataset, otherwise_s: float) -> timezone:
    """This machine's offset from UTC when the study was made; at another moment, where the source does not say when."""
    stated = str(source.get("StudyDate") or "") + str(source.get("StudyTime") or "")[:6].ljust(6, "0")
    try:
        made = datetime.strptime(stated, "%Y%m%d%H%M%S").astimezone()
    except (ValueError, OverflowError, OSError):
        made = datetime.fromtimestamp(otherwise_s, UTC).astimezone()
    # A zone of the nineteenth century had seconds, too.
    minutes = round((made.utcoffset() or timedelta()).total_seconds() / 60)
    return timezone(timedelta(minutes=minutes))
