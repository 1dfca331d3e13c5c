"""A disk of 8 MB: what finds no room is refused as out of resources, and room that is made is used again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.dicom_node.serving import eventually
from tests.faults.checks import OUT_OF_RESOURCES, SUCCESS, Sender, acceptor_process, assert_nothing_lost_or_torn
from tests.faults.small_disks import mounted

SIZE_BYTES = 8_000_000
LEFT_BYTES = 700_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", SIZE_BYTES) as disk:
        yield disk


def test_a_full_disk_refuses_and_takes_in_again_once_there_is_room(small_disk: Path) -> None:
    sender, node, ballast = Sender(), small_disk / "node", small_disk / "ballast"
    with acceptor_process(node) as (process, port):
        assert sender.send(port, 2) == [SUCCESS, SUCCESS]
        for _ in range(3):
            ballast.write_bytes(bytes(max(0, shutil.disk_usage(small_disk).free - LEFT_BYTES)))
            answers = sender.send(port, 120)
            assert set(answers) == {SUCCESS, OUT_OF_RESOURCES}
            assert process.poll() is None
            ballast.unlink()
            assert eventually(lambda: sender.send(port, 1) == [SUCCESS])
    assert_nothing_lost_or_torn(node, sender.acknowledged, sender.sent)
