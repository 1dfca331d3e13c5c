"""One of the acceptor processes: receives, and answers only for what is durable. It never loads a model."""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Literal

from dicom_node import logs
from dicom_node.config_file import load_config
from dicom_node.door import open_intake, open_notices
from dicom_node.network.acceptor import Acceptor
from dicom_node.network.listening import Listening
from dicom_node.network.tls_context import TlsError
from dicom_node.preparation import Preparation
from dicom_node.stores import open_stores
from dicom_node.supervisor import EXIT_CONFIG, stop_requested, write_state
from storage.errors import StorageError

log = logs.get("acceptor")


def main(name: str, config_path: str, log_format: Literal["text", "json"], row: str, listening: str) -> int:
    """row, listening: which of the acceptor processes this is, and what it inherits from the supervisor."""
    config = load_config(Path(config_path))
    logs.configure(config.logging.level, log_format, process=name)
    stopping = stop_requested()
    stores = open_stores(config)
    intake = open_intake(config, stores)
    acceptor = Acceptor(
        config.node,
        config.access,
        intake=intake,
        notices=open_notices(config, stores),
        studies=stores.studies,
        events=stores.events,
        answers=stores.answers,
        name=name,
        listening=Listening.inherited(listening),
        row=int(row),
    )
    preparation = Preparation(stores.objects, intake.quiet_s, intake.level, config.storage.prepared_packs)
    # A thread that commits rows must not keep those that answer peers waiting for the interpreter's usual 5 ms.
    sys.setswitchinterval(0.0005)
    gc.freeze()  # what is loaded stays: the library collects all garbage at every sixtieth connection, in 45 ms
    try:
        stores.database.assert_durable()
        intake.recover()
        acceptor.start()
    except TlsError as error:
        log.error("certificates cannot be used: dicom-node check says why", key=f"node.tls.{error.key}")
        return EXIT_CONFIG
    except StorageError as error:
        log.error("storage fails, the acceptor starts again", error=error)
        return 1
    preparation.start()
    write_state(stores.run_folder, name, port=acceptor.port)
    stopping.wait()
    acceptor.stop()
    preparation.stop()
    intake.close()
    stores.objects.close()
    stores.database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))  # type: ignore[arg-type]
