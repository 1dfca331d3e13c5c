"""Who wrote the object: the node."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_node.results.report import Equipment


def add_equipment(dataset: Dataset, equipment: Equipment) -> None:
    """General and Enhanced General Equipment (PS3.3 C.7.5.1 and C.7.5.2)."""
    dataset.Manufacturer = equipment.manufacturer
    dataset.ManufacturerModelName = equipment.model_name
    dataset.DeviceSerialNumber = equipment.serial_number
    dataset.SoftwareVersions = equipment.software_version
    if equipment.station_name:
        dataset.StationName = equipment.station_name
