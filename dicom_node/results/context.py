"""What every result begins with: patient, study, time, who made it, and the series that it is in."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from pydicom.dataset import Dataset

from dicom_node.results import identity
from dicom_node.results.contributing_equipment import add_contributing_equipment
from dicom_node.results.equipment import add_equipment
from dicom_node.results.patient import inherit
from dicom_node.results.report import Report


def new_object(report: Report, ordered: str, sop_class_uid: str, modality: str) -> Dataset:
    """A data set with all modules that do not depend on the kind of result."""
    dataset = Dataset()
    inherit(dataset, report.first_source)
    created = local_time(report)
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = identity.sop_instance_uid(report, ordered)
    dataset.InstanceCreationDate = dataset.SeriesDate = dataset.ContentDate = created.strftime("%Y%m%d")
    dataset.InstanceCreationTime = dataset.SeriesTime = dataset.ContentTime = created.strftime("%H%M%S")
    dataset.TimezoneOffsetFromUTC = created.strftime("%z")[:5]
    dataset.Modality = modality
    dataset.SeriesInstanceUID = identity.series_instance_uid(report, ordered)
    dataset.SeriesNumber = identity.series_number(report, ordered)
    dataset.SeriesDescription = identity.series_description(report)
    dataset.InstanceNumber = 1
    add_equipment(dataset, report.equipment)
    add_contributing_equipment(dataset, report)
    return dataset


def local_time(report: Report) -> datetime:
    """created_at in the zone of the source, whose dates stand in the same object and obey the same offset."""
    offset = zone(str(report.first_source.get("TimezoneOffsetFromUTC") or ""))
    return report.created_at.astimezone(offset) if offset else report.created_at


def zone(offset: str) -> timezone | None:
    """+0100 as a time zone; None for anything else than PS3.3 C.12.1.1.8 allows."""
    if len(offset) != 5 or offset[0] not in "+-" or not offset[1:].isdigit():
        return None
    size = timedelta(hours=int(offset[1:3]), minutes=int(offset[3:5]))
    return timezone(size if offset[0] == "+" else -size) if size <= timedelta(hours=14) else None
