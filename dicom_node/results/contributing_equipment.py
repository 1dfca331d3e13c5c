"""Who found what the object says: the model, as equipment that contributed to it (IHE AI Results)."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_node.results import codes
from dicom_node.results.report import Report


def add_contributing_equipment(dataset: Dataset, report: Report) -> None:
    """One item for the model (PS3.3 C.12.1.1.5). Device UID is another one as soon as the model's content is."""
    model, item = report.model, Dataset()
    item.PurposeOfReferenceCodeSequence = [codes.concept(codes.PROCESSING_EQUIPMENT)]
    item.Manufacturer = model.manufacturer
    item.ManufacturerModelName = model.title
    item.SoftwareVersions = model.version
    item.DeviceUID = model.device_uid
    item.ContributionDescription = f"Findings by {model.name}@{model.version}"
    dataset.ContributingEquipmentSequence = [item]
