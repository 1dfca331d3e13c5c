"""A series of images to a volume: seconds and peak memory, ours and that of other readers, taken in turn in each round.

400 CT images of 512 x 512 (`--images`), uncompressed, and a quarter of them in three compressions without loss. Run:
python -m benchmarks.volume [--rounds 5] [--quick] [--peers FOLDER] [--json FILE]. `make bench-volume` makes the environment that
MONAI and dcm2niix are installed in (`--peers`); without it they are left out.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from rich.console import Console
from rich.table import Table

from benchmarks.rounds import Bar, Rounds, machine
from benchmarks.volume_readers import DCM2NIIX, KEYS, MONAI_ITK, MONAI_PYDICOM, OURS, PYDICOM, RAW, SIMPLEITK, STORE
from dicom_node.attempt import JobSpec, run_attempt
from dicom_node.phantom import chest_ct
from inference.registry import Registry
from storage.objects.file import FileStore, pack_key

PLAIN, J2K, JPEG_LS, RLE = "uncompressed", "JPEG 2000", "JPEG-LS", "RLE"
SYNTAXES = {PLAIN: None, J2K: uid.JPEG2000Lossless, JPEG_LS: uid.JPEGLSLossless, RLE: uid.RLELossless}
SLOW = (MONAI_ITK, MONAI_PYDICOM)
FIRST, AGAIN = "first", "again"
"""The first reading of a process, and one of a process that has read such a series before, as a worker of the node has."""
LEAST = {(PLAIN, DCM2NIIX): 1.4, (PLAIN, MONAI_ITK): 15.0, (PLAIN, MONAI_PYDICOM): 15.0} | {
    (form, peer): 1.0 for form in (J2K, JPEG_LS, RLE) for peer in (DCM2NIIX, SIMPLEITK, PYDICOM)
}
BARS = tuple(
    Bar(f"{form}, {when}: against {peer}", (form, when, OURS), (form, when, peer), least)
    for when in (AGAIN, FIRST)
    for (form, peer), least in LEAST.items()
)
COMPRESSED_PART = 4
_IMAGES_A_PACK = 100
_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Read:
    """Seconds of the first reading and of a later one, and the peak memory of their process."""

    first_s: float
    again_s: float
    peak_bytes: int


@dataclass(slots=True)
class Measured:
    """rounds: images a second. seconds and the most memory of any round, of a whole series."""

    rounds: Rounds = field(default_factory=lambda: Rounds(unit="images/s"))
    seconds: dict[tuple[str, ...], list[float]] = field(default_factory=dict)
    peak_bytes: dict[tuple[str, ...], int] = field(default_factory=dict)

    def add(self, form: str, reader: str, images: int, read: Read) -> None:
        for when, seconds in ((FIRST, read.first_s), (AGAIN, read.again_s)):
            case = form, when, reader
            self.rounds.add(case, images, seconds)
            self.seconds.setdefault(case, []).append(seconds)
            self.peak_bytes[case] = max(read.peak_bytes, self.peak_bytes.get(case, 0))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--images", type=int, default=400)
    arguments.add_argument("--quick", action="store_true", help="60 images, 2 rounds")
    arguments.add_argument("--peers", type=Path, help="a virtual environment with monai, itk and dcm2niix")
    arguments.add_argument("--json", type=Path, help="a file for the figures of every round")
    given = arguments.parse_args()
    rounds, images = (2, 60) if given.quick else (given.rounds, given.images)
    console = Console(width=130)
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        on = machine([], {"images": Path(folder)})
        console.print(on)
        measured = measure(Path(folder), rounds, images, given.peers)
        judged = measured.rounds.report(
            f"{images} CT images, {rounds} rounds", ("images", "reading", "reader"), BARS, console
        )
        console.print(table(measured), job(Path(folder) / PLAIN, images))
    if given.json:
        measured.rounds.write(given.json, judged, on)


def measure(folder: Path, rounds: int, images: int, peers: Path | None) -> Measured:
    """The folder should be in memory: what is measured is not a disk. Its images stay in it."""
    counts = {form: images if form == PLAIN else images // COMPRESSED_PART for form in SYNTAXES}
    for form, syntax in SYNTAXES.items():
        write(folder / form, counts[form], syntax)
    measured = Measured()
    for _ in range(rounds):
        for form, count in counts.items():
            for name in (OURS, SIMPLEITK, PYDICOM, *((RAW,) if form == PLAIN else ())):
                measured.add(form, name, count, _in_process(sys.executable, name, folder / form, count))
            for name in (DCM2NIIX, *(SLOW if form == PLAIN else ())) if peers else ():
                python = str(peers / "bin" / "python")
                measured.add(form, name, count, _in_process(python, name, folder / form, count))
    return measured


def write(folder: Path, images: int, syntax: str | None) -> None:
    """The phantom as files, in no order, and as received: in packs."""
    (folder / "files").mkdir(parents=True)
    order = np.random.default_rng(5).permutation(images)
    datasets = chest_ct(slices=images).datasets
    objects, keys = FileStore(folder / STORE), []
    for number, index in enumerate(order.tolist()):
        if number % _IMAGES_A_PACK == 0:
            pack = objects.open_pack()
        path = folder / "files" / f"{number:05d}.dcm"
        (compressed(datasets[index], syntax) if syntax else datasets[index]).save_as(path, enforce_file_format=True)
        pack.begin(b"", b"")
        pack.write([memoryview(path.read_bytes())])
        keys.append(pack_key(pack.path, pack.commit()))
        if number % _IMAGES_A_PACK == _IMAGES_A_PACK - 1 or number == images - 1:
            pack.close(sealed=True)
    (folder / KEYS).write_text("\n".join(keys))


def compressed(dataset: Dataset, syntax: str) -> Dataset:
    """The same, its pixels compressed without loss."""
    pixels = np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
    encode = {uid.JPEG2000Lossless: _jpeg2000, uid.JPEGLSLossless: imagecodecs.jpegls_encode, uid.RLELossless: _rle}
    dataset.PixelData = encapsulate([bytes(encode[uid.UID(syntax)](pixels))])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta.TransferSyntaxUID = uid.UID(syntax)
    return dataset


def _jpeg2000(pixels: NDArray[np.uint16]) -> bytes:
    return bytes(imagecodecs.jpeg2k_encode(pixels, level=0, reversible=True, codecformat="j2k"))


def _rle(pixels: NDArray[np.uint16]) -> bytes:
    """A segment for the high bytes and one for the low ones, each row packed by itself (PS3.5 annex G)."""
    halves = (pixels >> 8).astype(np.uint8), pixels.astype(np.uint8)
    segments = [b"".join(bytes(imagecodecs.packbits_encode(row.tobytes())) for row in half) for half in halves]
    segments = [segment + b"\0" * (len(segment) % 2) for segment in segments]
    header = np.zeros(16, "<u4")
    header[:3] = 2, 64, 64 + len(segments[0])
    return header.tobytes() + b"".join(segments)


def _in_process(python: str, name: str, folder: Path, images: int) -> Read:
    done = subprocess.run(
        [python, "-m", "benchmarks.volume_readers", name, str(folder / "files")],
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-1000:]
    first_s, again_s, peak_bytes, *shape = done.stdout.splitlines()[-1].split()
    assert name in (RAW, DCM2NIIX) or str(images) in shape, f"{name} made {shape} of {images} images"
    return Read(float(first_s), float(again_s), int(peak_bytes))


def table(measured: Measured) -> Table:
    """Seconds, and peak memory of the whole process, the program itself included."""
    shown = Table("images", "reading", "reader", "median s", "least", "most", "peak MB", title="a series, start to end")
    for case, seconds in measured.seconds.items():
        figures = (f"{value:.3f}" for value in (statistics.median(seconds), min(seconds), max(seconds)))
        shown.add_row(*case, *figures, f"{measured.peak_bytes[case] / 1e6:.0f}")
    return shown


def job(folder: Path, images: int) -> str:
    """What a whole job on the uncompressed images took of memory, in a process of its own."""
    run = f"from benchmarks.volume import run_job; run_job({str(folder)!r})"
    said = subprocess.run([sys.executable, "-c", run], capture_output=True, text=True, timeout=_TIMEOUT_S, check=True)
    peak_bytes = int(said.stdout.split()[-1])
    volume_bytes = images * 512 * 512 * 4
    return (
        f"a job on them: peak memory {peak_bytes / 1e6:.0f} MB; two volumes and 500 MB are"
        f" {(2 * volume_bytes + 500_000_000) / 1e6:.0f} MB"
    )


def run_job(folder: str) -> None:
    package = Registry().get("ct_lung_density")
    outcome = run_attempt(
        JobSpec(
            study_instance_uid="2.25.1",
            series_instance_uid="2.25.2",
            revision=1,
            created_at=1_790_000_000.0,
            objects_url=(Path(folder) / STORE).as_uri(),
            object_keys=tuple((Path(folder) / KEYS).read_text().split()),
            package_folder=str(package.folder),
            package_sha256=package.content_sha256,
            device="cpu",
            kinds=("seg", "sr", "sc"),
            report_not_analysed=True,
        )
    )
    assert outcome.results, outcome
    lines = Path("/proc/self/status").read_text().splitlines()
    print(next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM")))


def _memory() -> str | None:
    shared_memory = Path("/dev/shm")  # noqa: S108 - a fresh folder is made in it
    return str(shared_memory) if shared_memory.is_dir() else None


if __name__ == "__main__":
    main()
