"""What must hold of a store whatever went wrong, and a real acceptor process to let it go wrong in."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dicom_node.network.file_meta import read_file_meta
from dicom_node.network.store_message import data_pdu
from storage.objects.file import FileStore
from tests.dicom_node.limited_acceptor import AcceptorProcess
from tests.dicom_node.raw_scu import RawScu, associated
from tests.dicom_node.serving import eventually
from tests.dicom_node.test_receive import STORE, Socket, store_command
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE, ct_image
from tests.made_rows import open_house

ROOT = Path(__file__).resolve().parents[2]
CT = (CT_IMAGE_STORAGE, EXPLICIT_LITTLE)
SUCCESS, OUT_OF_RESOURCES = 0x0000, 0xA700
AT_ONCE, STEADY_BURSTS = 24, 5


@contextmanager
def acceptor_process(
    folder: Path,
    *arguments: str,
    module: str = "tests.dicom_node.acceptor_process",
    log_folder: Path | None = None,
) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """The process and its port; it ends with the block, if it was not killed before."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        ((log_folder or folder) / "stderr").open("a") as stderr,
        subprocess.Popen(
            [sys.executable, "-m", module, str(folder), *arguments],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        ) as process,
    ):
        assert process.stdin
        assert process.stdout
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def image(number: int) -> tuple[str, bytes]:
    """A CT image of its own UID and content, of more than one page."""
    uid = f"1.2.3.4.{number}"
    return uid, ct_image(uid, InstanceNumber=number, Rows=64, Columns=64, PixelData=number.to_bytes(4, "little") * 2048)


class Line(Socket):
    """An association, closed whatever happens on it."""

    def __init__(self, port: int) -> None:
        try:
            super().__init__(port)
        except BaseException:
            if hasattr(self, "_socket"):
                self.close()
            raise

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def store(self, number: int) -> dict[str, bytes]:
        """An instance, which must be taken in."""
        uid, payload = image(number)
        self.begin(uid, payload, is_last=True)
        assert self.status() == SUCCESS
        return {uid: payload}

    def begin(self, uid: str, part: bytes, *, is_last: bool) -> None:
        self.send(data_pdu(STORE, store_command(uid), is_command=True, is_last=True))
        self.send(data_pdu(STORE, part, is_command=False, is_last=is_last))


def fill_pools(acceptor: AcceptorProcess, first_number: int) -> dict[str, bytes]:
    """Open what the acceptor keeps open for later: packs, and connections of its database. What was stored for that.

    After this no descriptor may come to stay: many associations at once, again and again, until none did.
    """
    stored: dict[str, bytes] = {}
    steady, descriptors, number = 0, 0, first_number
    while steady < STEADY_BURSTS:
        with ThreadPoolExecutor(AT_ONCE) as pool, ExitStack() as stack:
            lines = [stack.enter_context(Line(acceptor.port)) for _ in range(AT_ONCE)]
            for one in pool.map(Line.store, lines, range(number, number + AT_ONCE)):
                stored |= one
            list(pool.map(Line.release, lines))
        number += AT_ONCE
        assert eventually(lambda: acceptor.threads() < AT_ONCE // 2)
        steady = 0 if acceptor.descriptors() > descriptors else steady + 1
        descriptors = max(descriptors, acceptor.descriptors())
    return stored


class Sender:
    """Sends images each under a number of its own, and remembers all of them and those that were acknowledged."""

    def __init__(self) -> None:
        self.sent: dict[str, bytes] = {}
        self.acknowledged: dict[str, bytes] = {}
        self.answers: list[int | None] = []

    def send(self, port: int, count: int) -> list[int | None]:
        """The status of each image; None where no answer came."""
        try:
            with associated(port, [CT]) as scu:
                if not scu.association.is_established:
                    return [None] * count
                return [self.store(scu) for _ in range(count)]
        except (OSError, RuntimeError):
            return [None] * count

    def store(self, scu: RawScu) -> int | None:
        """The status of the next image, on an association that is open already."""
        uid, payload = image(len(self.sent))
        self.sent[uid] = payload
        if not scu.association.is_established:
            return None
        response = scu.store(payload, CT, sop_instance_uid=uid)
        status = None if response is None else response.Status
        if status == SUCCESS:
            self.acknowledged[uid] = payload
        self.answers.append(status)
        return status


def assert_nothing_lost_or_torn(
    folder: Path, acknowledged: Mapping[str, bytes], sent: Mapping[str, bytes], *, others_allowed: bool = False
) -> None:
    """After a restart on the folder: what was acknowledged is there as sent; nothing else is, but what was sent whole.

    Each object has its row, and each row its object. others_allowed: other senders stored instances that are not known.
    """
    house = open_house(folder)
    objects = FileStore(folder / "objects")
    objects.sweep()
    intake = house.intake(objects)
    try:
        intake.recover()
        intake.sweep()
        keys = list(objects.keys())
        stored: dict[str, list[bytes]] = {}
        for key in keys:
            file = objects.get(key)
            meta = read_file_meta(file)
            stored.setdefault(meta.sop_instance_uid, []).append(file[meta.data_set_at :])
        lost = [uid for uid, payload in acknowledged.items() if payload not in stored.get(uid, [])]
        torn = [
            uid
            for uid, payloads in stored.items()
            if (uid in sent or not others_allowed) and payloads != [sent.get(uid)]
        ]
        assert not lost, f"lost: {lost}"
        assert not torn, f"torn, twice there or never sent: {[(uid, len(stored[uid])) for uid in torn]}"
        assert house.instances.known_objects(keys) == set(keys), "an object is without its row"
        rows = {
            kept.object_key
            for series in house.studies.arriving()
            for kept in house.instances.of_series(series.series_id, up_to_revision=10**6)
        }
        # Another content under a known UID is kept beside it, and is no part of the series.
        assert rows <= set(keys) if others_allowed else rows == set(keys), "a row is without its object"
        assert not any((folder / "objects" / ".writing").iterdir())
    finally:
        intake.close()
        house.database.close()
