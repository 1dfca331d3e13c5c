"""Where results go; one file a kind of destination."""

from __future__ import annotations

from dicom_node import config_destinations as config
from dicom_node.destinations.dicom import destination_at, open_dicom, peer_of
from dicom_node.destinations.folder import open_folder
from dicom_node.destinations.protocol import Destination

__all__ = ["Destination", "destination_at", "open_destination", "peer_of"]


def open_destination(settings: config.DicomDestination | config.FolderDestination, node_ae_title: str) -> Destination:
    """The destination that a section of config.yaml describes.

    node_ae_title: calling AE title of a DICOM destination that sets none of its own.
    """
    if isinstance(settings, config.DicomDestination):
        return open_dicom(settings, node_ae_title)
    return open_folder(settings)
