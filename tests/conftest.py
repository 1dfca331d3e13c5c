"""Fixtures that every test may use: real data where it is present, and peers that CI must have."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from pynetdicom.transport import AssociationSocket

# How long an example takes is the machine's affair. In CI each run tries the same examples, so that it can be repeated.
settings.register_profile(
    "tests",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=os.environ.get("CI") == "true",
    print_blob=True,
)
settings.load_profile("tests")


def _shut_and_closed(transport: AssociationSocket) -> None:
    with suppress(OSError, AttributeError):
        transport.socket.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]
    if transport.socket is not None:
        transport.socket.close()


# The library's own leaves the socket open where the peer closed first, since shutdown raises then: a peer of the tests
# would leak one whenever the node is the quicker of the two. (The node closes its connections itself.)
AssociationSocket._shutdown_socket = _shut_and_closed  # type: ignore[method-assign]

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


# They run whole nodes, or a browser; two of these at a time starve each other. What takes longest begins first, so that no worker
# is left with it when the others end.
LONGEST = ("viewer/test_node_in_ohif.py", "test_docs.py", "acceptance", "fuzz", "faults")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def rank(item: pytest.Item) -> int:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        return next((place for place, part in enumerate(LONGEST) if path.startswith(part)), len(LONGEST))

    items.sort(key=rank)  # stable: files keep their order, and tests theirs in a file


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """What a module left open is told at its own last test, not at whichever test runs when the garbage is collected."""
    yield
    gc.collect()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real DICOM data beside the checkout; tests that need it are skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real DICOM data is not present beside this checkout (shared/data)")
    return SHARED_DATA


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models from outside run here, for tests of what they find: a process for each package would take seconds."""
    from inference.confined.pool import Pool
    from inference.devices import chosen_device
    from inference.network import network_of
    from inference.predict import computed

    def predict(_: Pool, *arguments: Any, seed: int, bounds: object) -> Any:
        return computed(*arguments, seed=seed)

    def load(_: Pool, package: Any, device: str, bounds: object) -> str:
        network_of(package, chosen_device(device))
        return str(chosen_device(device))

    monkeypatch.setattr(Pool, "predict", predict)
    monkeypatch.setattr(Pool, "load", load)


# pynetdicom installs scripts of these names beside Python; what tests mean by them are DCMTK's tools.
_OF_DCMTK = {"storescp", "storescu", "echoscu"}


def find_peer(name: str) -> str:
    """Path of an external program; in CI a missing one is a failure, elsewhere a skip."""
    beside_python = Path(sys.executable).parent
    folders = [*os.environ["PATH"].split(os.pathsep), "/usr/sbin"]
    if name in _OF_DCMTK:
        folders = [folder for folder in folders if Path(folder) != beside_python]
    else:
        folders.insert(0, str(beside_python))
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found:
        return found
    message = f"{name} is not installed: `make peers` installs what the tests need"
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


@pytest.fixture(scope="session")
def peer() -> Callable[[str], str]:
    return find_peer
