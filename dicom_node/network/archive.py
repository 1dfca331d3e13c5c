"""A small storage SCP that keeps what it receives as files: the PACS of the demo, on loopback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.transport import ThreadedAssociationServer

from dicom_node.content import is_uid
from dicom_node.part10 import file_meta

_REFUSED = 0xA900


class Archive:
    """Keeps each instance as <folder>/<Modality>-<SOP Instance UID>.dcm; listens on a free port of 127.0.0.1."""

    def __init__(self, ae_title: str, folder: Path) -> None:
        self.ae_title = ae_title
        self._folder = folder
        self._server: ThreadedAssociationServer | None = None

    def start(self) -> int:
        """Returns the port."""
        _config.LOG_HANDLER_LEVEL = "none"
        self._folder.mkdir(parents=True, exist_ok=True)
        entity = AE(self.ae_title)
        entity.supported_contexts = AllStoragePresentationContexts
        entity.add_supported_context("1.2.840.10008.1.1")
        server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._keep)])
        self._server = server
        return int(server.server_address[1]) if server else 0

    def stop(self) -> None:
        if self._server:
            self._server.shutdown()

    def _keep(self, event: evt.Event) -> int:
        request: Any = event.request  # a C_STORE; the library's type is the union of all requests
        uid = str(request.AffectedSOPInstanceUID)
        if not is_uid(uid):
            return _REFUSED
        meta = file_meta(
            sop_class_uid=str(request.AffectedSOPClassUID),
            sop_instance_uid=uid,
            transfer_syntax_uid=str(event.context.transfer_syntax),
        )
        modality = str(event.dataset.get("Modality", "OT"))
        (self._folder / f"{modality}-{uid}.dcm").write_bytes(meta + request.DataSet.getvalue())
        return 0x0000
