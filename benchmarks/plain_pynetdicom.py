"""pynetdicom as its documentation has it, to be measured against: a storage SCP that writes files, and an SCU."""

from __future__ import annotations

import sys
from pathlib import Path

from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification


def receive(port: int, folder: Path) -> None:
    def store(event: evt.Event) -> int:
        (folder / f"{event.request.AffectedSOPInstanceUID}.dcm").write_bytes(event.encoded_dataset())
        return 0x0000

    entity = AE("DICOM-NODE")
    entity.add_supported_context(CTImageStorage, ExplicitVRLittleEndian)
    entity.add_supported_context(Verification)
    entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


def send(port: int, folder: Path, most: int) -> None:
    entity = AE("REPLAY")
    entity.dimse_timeout = 5
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port)
    assert association.is_established
    answers = [association.send_c_store(path).get("Status") for path in sorted(folder.iterdir())[:most]]
    association.release()
    assert set(answers) == {0x0000}, f"answered {answers.count(0x0000)} of {len(answers)}"


if __name__ == "__main__":
    what, at_port, of_folder, *first = sys.argv[1:]
    if what == "send":
        send(int(at_port), Path(of_folder), int(first[0]))
    else:
        receive(int(at_port), Path(of_folder))
