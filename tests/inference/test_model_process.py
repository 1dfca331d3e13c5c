"""What a model from outside may do to the node: nothing. Each attack ends in words, and the next volume is analysed."""

from __future__ import annotations

import mmap
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset
from torch import Tensor, nn

from inference import kept, memory
from inference.confined import interpreter, lending, seccomp
from inference.confined import pool as pool_module
from inference.confined import process as process_module
from inference.confined.interpreter import missing_walls
from inference.confined.pool import Pool, bounds_of, room_for
from inference.confined.process import Bounds, ModelProcess
from inference.confined.wire import WireError, memory_of, sealed_content
from inference.errors import InferenceError, ModelProcessEnded, PackageError
from inference.findings import Findings
from inference.package import Package
from inference.predict import computed
from inference.volume import SourceFrame, Volume
from tests.inference.made_models import Above, package, torchscript
from tests.waiting import LIMIT_S, eventually

AMPLE = Bounds(timeout_s=120.0, memory_bytes=2 * 1024**3)
MIB = 1024**2


class Commanded(nn.Module):
    """Does harm, of a kind that the first voxel of the image chooses; else what `Above` does with 0.

    One network for all of it: a process takes seconds to start.
    """

    def forward(self, image: Tensor) -> Tensor:
        command = float(image.flatten()[0])
        told = torch.cat([torch.zeros_like(image), image], dim=1)
        if command == 1.0:  # for ever
            while float(told.sum()) != float("inf"):
                told = told * 1.0
        if command == 2.0:  # more memory, piece by piece
            pieces = [told]
            while float(told.sum()) != float("inf"):
                pieces.append(torch.ones(16, 1024, 1024))
            told = told + pieces[-1].sum()
        if command == 3.0:  # more memory at once
            told = told + torch.ones(64, 1024, 1024, 1024).sum()
        if command == 4.0:
            told = told * float("nan")
        if command == 5.0:
            told = told / torch.zeros_like(told)
        if command == 6.0:
            told = told[:, :, :-1]
        if command == 7.0:
            image.mul_(0.0)
        return told


def commanded(command: float) -> Volume:
    voxels = np.full((3, 4, 5), 1.0, np.float32)
    voxels[0, 0, 0] = command
    header = Dataset()
    header.PatientName = "Canary^Carla"
    return Volume(voxels, np.eye(4), "2.25.1", "2.25.2", "2.25.3", (SourceFrame("", "2.25.4"),) * 3, header)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Package:
    return package(tmp_path_factory.mktemp("model"), torchscript(Commanded()))


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    pool = Pool()
    yield pool
    pool.end()


def found(pool: Pool, made: Package, command: float, bounds: Bounds = AMPLE) -> Findings:
    return pool.predict(commanded(command), made, "cpu", {}, seed=0, bounds=bounds)


KEEPS = """
import ctypes, os, sys
from inference.confined.figures import taken_bytes
from inference.confined.idle import Idle
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
idle = Idle(idle_s=0.0)
idle.seen()
layer, after = libc.malloc(256 << 20), libc.malloc(64)
ctypes.memset(layer, 1, 256 << 20)
libc.free(layer)
if sys.argv[1] == "idle":
    idle.begins()
idle.seen()
print(taken_bytes(os.getpid()))
"""
"""A layer is let go of, and something after it is not."""


def dense_voxels(findings: Findings) -> int:
    return int(findings.segments[0].mask.sum())


def test_what_a_model_process_finds_is_what_the_network_finds_here(pool: Pool, made: Package) -> None:
    there = found(pool, made, 9.0)
    here = computed(commanded(9.0), made, "cpu", {}, seed=0)
    assert np.array_equal(there.segments[0].mask, here.segments[0].mask)
    assert replace(there, segments=()) == replace(here, segments=())


@pytest.mark.parametrize(
    ("command", "bounds", "reason"),
    [
        (1.0, Bounds(1.0, AMPLE.memory_bytes), r"took longer than 1 s while it ran demo_seg@1\.0\.0, and was ended"),
        (2.0, Bounds(120.0, 512 * MIB), r"memory.* while it ran demo_seg|allocate memory"),
        (3.0, AMPLE, "can't allocate memory"),
        (4.0, AMPLE, r"no finite numbers \(NaN or infinite\)"),
        (5.0, AMPLE, r"no finite numbers \(NaN or infinite\)"),
        (6.0, AMPLE, "must answer with maps of the size that it is given"),
    ],
    ids=["endless loop", "memory hog", "a terabyte", "NaN", "infinite", "wrong shape"],
)
def test_a_network_that_misbehaves_ends_in_words_and_the_next_volume_is_analysed(
    command: float, bounds: Bounds, reason: str, pool: Pool, made: Package
) -> None:
    with pytest.raises(InferenceError, match=reason):
        found(pool, made, command, bounds)
    assert dense_voxels(found(pool, made, 9.0)) == 60


def test_where_memory_is_short_after_other_volumes_it_is_tried_once_more_in_a_fresh_process(
    made: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = list[int]()

    class Counted(ModelProcess):
        def __init__(self) -> None:
            super().__init__()
            started.append(self.pid)

    monkeypatch.setattr(pool_module, "ModelProcess", Counted)
    pool = Pool()
    try:
        with pytest.raises(InferenceError, match="can't allocate memory"):
            found(pool, made, 3.0)
        assert len(started) == 1  # nothing came before
        assert dense_voxels(found(pool, made, 9.0)) == 60
        with pytest.raises(InferenceError, match="can't allocate memory"):
            found(pool, made, 3.0)
        assert len(started) == 3
        assert dense_voxels(found(pool, made, 9.0)) == 60
        with pytest.raises(InferenceError, match="no finite numbers"):
            found(pool, made, 4.0)
        assert len(started) == 4
    finally:
        pool.end()


def test_a_network_that_writes_to_its_input_changes_nothing_here(pool: Pool, made: Package) -> None:
    volume = commanded(7.0)
    pool.predict(volume, made, "cpu", {}, seed=0, bounds=AMPLE)
    assert np.array_equal(volume.voxels, commanded(7.0).voxels)


def test_a_volume_that_was_read_for_the_process_is_lent_as_it_lies(
    pool: Pool, made: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "VOXELS", memory.Rooms(least_bytes=1))
    copied = list[int]()
    monkeypatch.setattr(lending, "memory_of", lambda parts: copied.append(1) or memory_of(parts))
    there = commanded(9.0)
    with room_for(made):
        voxels = memory.VOXELS.array(there.voxels.shape, np.float32)
    voxels[...] = there.voxels
    lent = pool.predict(replace(there, voxels=voxels), made, "cpu", {}, seed=0, bounds=AMPLE)
    of_one = len(copied)
    assert np.array_equal(lent.segments[0].mask, found(pool, made, 9.0).segments[0].mask)
    assert len(copied) - of_one == of_one + 1  # the voxels, besides what is small


def test_a_process_that_nobody_asks_gives_back_the_memory_of_its_layers() -> None:
    def memory_at(command: str) -> int:
        program, environment = [sys.executable, "-c", KEEPS, command], interpreter._environment()
        done = subprocess.run(program, check=True, capture_output=True, text=True, env=environment)
        return int(done.stdout)

    assert memory_at("asked") > 256 * MIB
    assert memory_at("idle") < 128 * MIB


def test_a_process_that_crashes_is_told_by_its_signal_and_another_takes_its_place(pool: Pool, made: Package) -> None:
    found(pool, made, 9.0)
    (running,) = pool._processes.values()
    pid = running.pid
    # It loops for ever; nothing else would tell that it has begun.
    before = cpu_ticks(pid)
    crash = threading.Thread(
        target=lambda: (eventually(lambda: cpu_ticks(pid) > before + 20), os.kill(pid, signal.SIGSEGV))
    )
    crash.start()
    reason = r"the model process ended by signal 11 \(SIGSEGV\) while it ran demo_seg@1\.0\.0"
    with pytest.raises(ModelProcessEnded, match=reason) as ended:
        found(pool, made, 1.0)
    crash.join()
    assert ended.value.outcome == "killed"
    assert dense_voxels(found(pool, made, 9.0)) == 60
    assert next(iter(pool._processes.values())).pid != pid


def cpu_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def shared_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssShmem"))


def test_descriptors_and_shared_memory_are_as_before_when_findings_are_gone(pool: Pool, made: Package) -> None:
    found(pool, made, 9.0)
    before, shared = descriptors(), shared_bytes()
    for command in (9.0, 4.0, 9.0):
        try:
            found(pool, made, command)
        except InferenceError:
            continue
    assert descriptors() == before
    assert shared_bytes() <= shared


def test_weights_that_are_refused_there_are_refused_here_in_the_same_words(tmp_path: Path) -> None:
    pool = Pool()
    made = package(tmp_path, b"no network")
    with pytest.raises(PackageError, match=r"not what runtime\.kind torchscript needs"):
        pool.load(made, "cpu", AMPLE)
    assert not pool._processes


def test_a_model_process_ends_with_the_one_that_started_it() -> None:
    """Killed, so that it could clean up nothing; its child was computing nothing that would have told it."""
    program = (
        "from inference.confined.process import ModelProcess; import os, signal;"
        "print(ModelProcess().pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    pid = int(done.stdout)
    eventually(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text().split()[2])


def walled(program: str) -> str:
    """What a program prints behind the walls of a model process."""
    raised = "import os\nfrom inference.confined import walls\nassert walls.raise_all(os.getppid()) == ()\n"
    done = subprocess.run([sys.executable, "-c", raised + program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_this_system_does_not_allow_is_found_out_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert missing_walls() == ()
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert missing_walls() == ("all walls: none could be tried",)


def test_no_network_is_reached_from_a_model_process() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        socket.create_connection(("127.0.0.1", port)).close()
        told = walled(
            "import socket\n"
            f"for kind, place in ((socket.SOCK_STREAM, ('127.0.0.1', {port})), (socket.SOCK_DGRAM, ('192.0.2.1', 53))):\n"
            "    try:\n"
            "        socket.socket(socket.AF_INET, kind).connect(place)\n"
            "        print('reached')\n"
            "    except OSError as error:\n"
            "        print('no')\n"
            "print([line.split(':')[0].strip() for line in open('/proc/self/net/dev').readlines()[2:]])\n"
        )
    assert told.splitlines() == ["no", "no", "['lo']"]


def test_no_socket_of_the_file_system_is_reached_from_a_model_process(tmp_path: Path) -> None:
    """A database or a container daemon listens there, and takes who may open it for its owner."""
    place = str(tmp_path / "daemon")
    with (
        socket.socket(socket.AF_UNIX) as listener,
        socket.socket(socket.AF_UNIX) as peer,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as log,
    ):
        listener.bind(place)
        listener.listen()
        peer.connect(place)
        log.bind(place + ".log")
        log.setblocking(False)
        told = walled(
            "import socket\n"
            "for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):\n"
            "    try:\n"
            f"        socket.socket(socket.AF_UNIX, kind).connect({place!r})\n"
            "        print('reached')\n"
            "    except PermissionError:\n"
            "        print('no')\n"
            # One of a pair is no less a socket: what it may be sent by is a place, too.
            "for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET, socket.SOCK_STREAM):\n"
            "    try:\n"
            f"        socket.socketpair(socket.AF_UNIX, kind | socket.SOCK_CLOEXEC)[0].sendto(b'out', {place + '.log'!r})\n"
            "    except OSError as error:\n"
            "        pass\n"
            # What CUDA opens for itself; nobody outside of this network finds it.
            "own = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)\n"
            "own.bind(chr(0) + 'cuda-uvmfd')\n"
            "own.listen()\n"
            "print('own')\n"
        )
        with pytest.raises(BlockingIOError):
            log.recv(16)
    assert told.splitlines() == ["no", "no", "own"]


@pytest.mark.parametrize("call", ["ptrace", "process_vm_readv", "io_uring_setup", "unshare", "keyctl", "userfaultfd"])
def test_calls_that_reach_into_the_kernel_or_other_processes_are_refused(call: str) -> None:
    _, calls, _ = seccomp._CALLS[platform.machine()]
    names = ("connect", "ptrace", "process_vm_readv", "process_vm_writev", "bpf", "perf_event_open", "userfaultfd")
    names += ("add_key", "request_key", "keyctl", "open_by_handle_at", "unshare", "setns", "mount")
    numbers = dict(zip((*names, "io_uring_setup", "pidfd_getfd"), (*calls, *seccomp._NEWER), strict=True))
    told = walled(
        "import ctypes, errno\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        # Arguments that the kernel refuses in another way where it lets the call pass.
        f"returned = libc.syscall({numbers[call]}, -1, -1, -1, -1, -1, -1)\n"
        "print(returned, errno.errorcode[ctypes.get_errno()])\n"
    )
    assert told == "-1 EPERM\n"


@pytest.mark.parametrize(
    "attempt",
    [
        "open('{file}', 'w')",
        "open('{file}', 'a')",
        "os.remove('{file}')",
        "os.symlink('/etc/passwd', '{file}.link')",
        "__import__('subprocess').run(['/bin/true'], check=True)",
        "os.kill({pid}, 0)",
        "os.setuid(1)",
    ],
)
def test_a_model_process_writes_no_file_starts_no_program_and_reaches_no_other(attempt: str, tmp_path: Path) -> None:
    file = tmp_path / "kept"
    file.write_text("kept")
    line = attempt.format(file=file, pid=os.getpid())
    told = walled(f"try:\n    {line}\n    print('done')\nexcept (OSError, PermissionError):\n    print('refused')\n")
    assert told == "refused\n"
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert file.read_text() == "kept"


def test_a_model_process_knows_nothing_of_the_environment_and_holds_no_descriptor_of_the_node(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DICOM_NODE_STORAGE__DATABASE_URL", "sqlite:///secret")
    with (tmp_path / "open").open("w") as open_file:
        os.set_inheritable(open_file.fileno(), True)
        process = ModelProcess()
        try:
            there = Path(f"/proc/{process.pid}")
            assert b"secret" not in (there / "environ").read_bytes()
            assert str(tmp_path / "open") not in {str(path.readlink()) for path in (there / "fd").iterdir()}
            assert "NoNewPrivs:\t1" in (there / "status").read_text()
            assert process.missing == ()
        finally:
            process.end()


class Liar:
    """A model process that was taken over, and says what it likes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.end: socket.socket | None = None
        monkeypatch.setattr(process_module, "started", self._started)
        monkeypatch.setattr(process_module, "_END_TIMEOUT_S", LIMIT_S)

    def _started(self, descriptor: int) -> subprocess.Popen[bytes]:
        self.close()
        self.end = socket.socket(fileno=os.dup(descriptor))
        self.says(b'{"said":"ready"}')
        self.says(b'{"said":"loaded","device":"cpu"}')
        return subprocess.Popen(["sleep", "600"], start_new_session=True)

    def close(self) -> None:
        if self.end is not None:
            self.end.close()

    def says(self, content: bytes, *lent: int, length: int | None = None) -> None:
        told = len(content) if length is None else length
        assert self.end is not None
        socket.send_fds(self.end, [told.to_bytes(8, "little")], list(lent))
        self.end.sendall(content)


@pytest.fixture
def liar(monkeypatch: pytest.MonkeyPatch) -> Iterator[Liar]:
    liar = Liar(monkeypatch)
    yield liar
    liar.close()


def told_lies(liar: Liar, made: Package, content: bytes, *lent: int, length: int | None = None) -> str:
    """What the node makes of an answer; nothing of the process is left."""
    pool = Pool()
    pool.load(made, "cpu", AMPLE)
    liar.says(content, *lent, length=length)
    before = descriptors()
    with pytest.raises(InferenceError) as refused:
        found(pool, made, 9.0, Bounds(2.0, AMPLE.memory_bytes))
    assert descriptors() <= before
    pool.end()
    return str(refused.value)


@pytest.mark.parametrize(
    ("content", "length", "reason"),
    [
        (b"no json", None, "cannot be read"),
        (b"[]", None, "must have keys with values"),
        (b"[" * 100_000, None, "cannot be read"),
        (b"{}", 2**60, "must be at most 16777216 bytes, but claims 1152921504606846976"),
        (b"{}", 1000, "took longer than 2 s"),
        (b'{"said":"found"}', None, "answered with 0 descriptors"),
        (b'{"said":"what"}', None, "gave no reason"),
        (b'{"said":"refused","kind":"OSError","words":["x"]}', None, "gave no reason"),
        (b'{"said":"refused","words":"a\\nb\\u001b[31m"}', None, r"^a b \[31m$"),
        (b'{"said":"refused","words":"' + b"x" * 9999 + b'"}', None, "^x{2000}$"),
    ],
)
def test_an_answer_that_is_none_is_refused_in_words(
    content: bytes, length: int | None, reason: str, liar: Liar, made: Package
) -> None:
    assert re.search(reason, told_lies(liar, made, content, length=length))


def test_findings_that_the_manifest_does_not_declare_or_of_another_grid_are_refused(liar: Liar, made: Package) -> None:
    (segment,) = computed(commanded(9.0), made, "cpu", {}, seed=0).segments
    larger = replace(segment, region=np.ones((9, 9, 9), np.bool_))
    for lie, reason in ((replace(segment, key="other"), "segment 'other', which"), (larger, "for images of (3, 4, 5)")):
        memory = memory_of([kept.to_bytes(Findings(segments=(lie,)))])
        assert reason in told_lies(liar, made, b'{"said":"found"}', memory)
        os.close(memory)


def test_memory_that_a_process_could_still_change_is_refused(tmp_path: Path, liar: Liar, made: Package) -> None:
    content = kept.to_bytes(Findings())
    (tmp_path / "file").write_bytes(content)
    memory = memory_of([content])
    mapped = mmap.mmap(memory, len(content))
    with (tmp_path / "file").open("r+b") as file:
        read_end, write_end = os.pipe()
        for lie in (file.fileno(), memory, read_end):
            assert "an answer must be memory" in told_lies(liar, made, b'{"said":"found"}', lie)
    mapped.close()
    for descriptor in (memory, read_end, write_end):
        os.close(descriptor)


def test_what_was_taken_cannot_be_changed_any_more() -> None:
    memory = memory_of([b"kept"])
    taken = sealed_content(memory, 100)
    with pytest.raises(PermissionError):
        os.write(memory, b"changed")
    with pytest.raises(PermissionError):
        os.ftruncate(memory, 0)
    os.close(memory)
    assert taken == b"kept"
    with pytest.raises(WireError, match="1 to 3 bytes"):
        sealed_content(memory_of([b"kept"]), 3)


def test_a_package_may_ask_for_less_than_it_is_allowed_and_not_for_more(made: Package) -> None:
    def asked(memory_bytes: int | None) -> Package:
        resources = made.manifest.resources.model_copy(update={"memory_bytes": memory_bytes})
        return replace(made, manifest=made.manifest.model_copy(update={"resources": resources}))

    assert bounds_of(asked(300 * MIB), memory_bytes=500 * MIB) == Bounds(60.0, 300 * MIB)
    assert bounds_of(asked(900 * MIB), memory_bytes=500 * MIB, timeout_s=5.0) == Bounds(5.0, 500 * MIB)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert bounds_of(asked(None)).memory_bytes == machine * 3 // 4


def test_processes_are_kept_and_the_longest_unused_makes_room(liar: Liar, made: Package, tmp_path: Path) -> None:
    pool = Pool(kept_at_once=2)
    others = [package(tmp_path / str(number), torchscript(Above(number))) for number in (1, 2)]
    for each in (made, others[0], made):
        pool.load(each, "cpu", AMPLE)
    first, second = pool._processes[made.content_sha256, "cpu"], pool._processes[others[0].content_sha256, "cpu"]
    pool.load(others[1], "cpu", AMPLE)
    assert (first.is_alive, second.is_alive, len(pool._processes)) == (True, False, 2)
    os.kill(first.pid, signal.SIGKILL)
    assert eventually(lambda: not first.is_alive)
    pool.load(made, "cpu", AMPLE)
    assert pool._processes[made.content_sha256, "cpu"].is_alive
    pool.end()
    assert not pool._processes
