"""dicom-node: a DICOM-native AI node. Speaks DICOM, faces people, and connects inference with storage."""

__version__ = "0.1.0"
