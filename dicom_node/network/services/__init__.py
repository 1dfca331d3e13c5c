"""The DIMSE services of the acceptor, a file each; a new one is added to SERVICES."""

from __future__ import annotations

from dicom_node.network.services import echo, ian, mpps, store

SERVICES = (echo.SERVICE, store.SERVICE, mpps.SERVICE, ian.SERVICE)
