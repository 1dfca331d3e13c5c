"""One of the acceptor processes: receives, and answers only for what is durable. It never loads a model."""

from __future__ import annotations

import gc
import sys
from typing import Literal

from dicom_node import logs
from dicom_node.config import Config
from dicom_node.config_in_use import Follower, InUse
from dicom_node.door import open_intake, open_notices
from dicom_node.errors import NodeError
from dicom_node.network.acceptor import Acceptor
from dicom_node.network.listening import Listening
from dicom_node.network.tls_context import TlsError
from dicom_node.preparation import Preparation
from dicom_node.room_gauge import marks_of, quota_of
from dicom_node.stores import open_stores
from dicom_node.supervisor import EXIT_CONFIG, stop_requested, write_state
from storage.errors import StorageError

# How long a configuration that was accepted waits to be taken up.
FOLLOW_S = 0.1

log = logs.get("acceptor")


def main(name: str, configuration: str, log_format: Literal["text", "json"], row: str, listening: str) -> int:
    """row, listening: which of the acceptor processes this is, and what it inherits from the supervisor."""
    in_use = InUse.told(configuration)
    config, taken_up = in_use.load()
    logs.configure(config.logging.level, log_format, process=name)
    stopping = stop_requested()
    stores = open_stores(config)
    intake, notices = open_intake(config, stores), open_notices(config, stores)
    acceptor = Acceptor(
        config.node,
        config.access,
        intake=intake,
        notices=notices,
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

    def take_up(then: Config) -> None:
        _meet(acceptor, then)
        intake.use(marks_of(then), quota_of(then), then.node.limits.sequence_depth)
        notices.use(then.node.limits.sequence_depth)
        preparation.use(then.storage.prepared_packs)
        logs.set_level(then.logging.level)

    follower = Follower(in_use, taken_up, take_up, stores.events, name)
    while not stopping.wait(FOLLOW_S):
        follower.step()
    acceptor.stop()
    preparation.stop()
    intake.close()
    stores.objects.close()
    stores.database.close()
    return 0


def _meet(acceptor: Acceptor, config: Config) -> None:
    """Who associates from now on. Raises NodeError, and then nothing has changed."""
    try:
        acceptor.use(config.node, config.access)
    except TlsError as error:
        raise NodeError(str(error)) from error


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))  # type: ignore[arg-type]
