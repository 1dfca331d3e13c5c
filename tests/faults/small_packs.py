"""An acceptor whose packs are full soon, as a process: `python -m tests.faults.small_packs FOLDER [SABOTAGE]`.

So that within seconds packs are made, filled and sealed, as otherwise in a day. SABOTAGE takes a sync away: those of
tests.dicom_node.acceptor_process, and "no commit sync".
"""

from __future__ import annotations

import sys
from pathlib import Path

from sqlalchemy import event

from dicom_node import arrivals, intake
from storage.objects import spares
from tests.dicom_node.acceptor_process import SABOTAGE
from tests.dicom_node.serving import Serving, serving

FULL_PACK_BYTES = 40_000


def _without_commit_sync(served: Serving) -> None:
    engine = served.house.database.engine
    event.listen(engine, "connect", lambda connection, _record: connection.execute("PRAGMA synchronous=OFF"))
    engine.dispose()


def main() -> None:
    folder, *sabotage = sys.argv[1:]
    intake.PACK_BYTES = arrivals.PACK_BYTES = spares.PACK_BYTES = FULL_PACK_BYTES
    with serving(Path(folder)) as served:
        for name in sabotage:
            if name == "no commit sync":
                _without_commit_sync(served)
            else:
                SABOTAGE[name]()
        print(served.port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
