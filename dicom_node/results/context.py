"""What every result begins with: patient, study, time, who made it, and the series that it is in."""

from __future__ import annotations

from datetime import datetime

from pydicom.dataset import Dataset

from dicom_node.results import identity
from dicom_node.results.contributing_equipment import add_contributing_equipment
from dicom_node.results.equipment import add_equipment
from dicom_node.results.patient import inherit
from dicom_node.results.report import Report
from dicom_node.results.zone import stated_zone


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
    offset = stated_zone(report.first_source)
    return report.created_at.astimezone(offset) if offset else report.created_at
