"""Studies sent over TCP to `dicom-node serve`, and how soon the job that has all images starts.

DCMTK's storescu is the scanner, pynetdicom the MPPS SCU, Orthanc the PACS that answers C-FIND, and another Orthanc the peer
whose StableAge runs beside.
"""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import generate_uid
from rich.console import Console
from rich.table import Table

from dicom_node.phantom import chest_ct
from tests.acceptance.node import NodeUnderTest, configuration
from tests.conftest import find_peer
from tests.dicom_node.modality import Modality, association_of, notify
from tests.orthanc import Orthanc
from tests.waiting import wait_until

FORWARDER = "PACSFWD"
STABLE_AGE_S = 60
# No longer than a minute in all: the clock plays the longer ones.
PAUSES_S = (1.0, 5.0, 20.0)
BARS_S = {"exact": 0.5, "closing": 2.5}


@dataclass(frozen=True, slots=True)
class Measured:
    """One series. too_early: jobs that started while images of it were still to come."""

    case: str
    kind: str
    images: int
    seconds: float
    too_early: int


@dataclass
class Scanner:
    """DCMTK's storescu: an association each time. told_at: when the node was told last what the series consists of."""

    port: int
    folder: Path
    calling_ae_title: str
    told_at: float = 0.0

    def send(self, datasets: Sequence[Dataset], *, ending: str = "released") -> None:
        files = [self._file(dataset) for dataset in datasets]
        how = ["--abort"] if ending == "aborted" else []
        titles = ["-aet", self.calling_ae_title, "-aec", "DICOM-NODE"]
        command = [find_peer("storescu"), *how, *titles, "127.0.0.1", str(self.port), *map(str, files)]
        done = subprocess.run(command, check=False, capture_output=True, timeout=600)
        assert ending == "aborted" or done.returncode == 0, done.stderr

    def _file(self, dataset: Dataset) -> Path:
        path = self.folder / f"{dataset.SOPInstanceUID}.dcm"
        if not path.exists():
            dataset.save_as(path, enforce_file_format=True)
        return path


@dataclass(frozen=True)
class Place:
    node: NodeUnderTest
    pacs: Orthanc
    images: list[Dataset]
    folder: Path
    calling_ae_title: str

    def scanner(self, calling_ae_title: str | None = None) -> Scanner:
        """A source of its own for each case: what one is used to is no habit of another."""
        return Scanner(self.node.port, self.folder, calling_ae_title or self.calling_ae_title)


Case = Callable[[Place], Scanner]


def step_completed_first(place: Place) -> Scanner:
    """MPPS completed, then the images."""
    return _with_step(place, lambda scanner: scanner.send(place.images))


def step_and_pauses(place: Place) -> Scanner:
    """MPPS completed, then the images over several associations with pauses."""
    return _with_step(place, lambda scanner: _with_pauses(scanner, place.images))


def step_completed_last(place: Place) -> Scanner:
    """MPPS completed a second after the images: seconds from its N-SET response."""
    scanner, modality = place.scanner(), _modality(place)
    with association_of(place.node.port) as association:
        modality.begin(association)
        scanner.send(place.images)
        time.sleep(1.0)
        modality.set(association, "COMPLETED", _listed(place.images))
        scanner.told_at = time.time()
    return scanner


def notified(place: Place) -> Scanner:
    """An availability notification, then the images in random order."""
    scanner = place.scanner()
    with association_of(place.node.port) as association:
        notify(association, str(place.images[0].StudyInstanceUID), _listed(place.images))
    scanner.send(random.Random(1).sample(place.images, len(place.images)))
    return scanner


def forwarded(place: Place) -> Scanner:
    """Orthanc holds the study and is asked."""
    return _forward(place, 1)


def forwarded_in_parallel(place: Place) -> Scanner:
    """The same over two associations at the same time, in random order."""
    return _forward(place, 2)


def plain(place: Place) -> Scanner:
    """One association."""
    scanner = place.scanner()
    scanner.send(place.images)
    return scanner


def parallel(place: Place) -> Scanner:
    """Two associations at the same time."""
    return _in_parallel(place.scanner(), place.images, 2)


def shuffled(place: Place) -> Scanner:
    """Random order."""
    scanner = place.scanner()
    scanner.send(random.Random(2).sample(place.images, len(place.images)))
    return scanner


def shuffled_with_pauses(place: Place) -> Scanner:
    """Random order, over several associations with pauses."""
    scanner = place.scanner()
    _with_pauses(scanner, random.Random(3).sample(place.images, len(place.images)))
    return scanner


def in_order_with_pauses(place: Place) -> Scanner:
    """In order, over several associations with pauses, by a source that is not known yet."""
    scanner = place.scanner(f"CT{time.time_ns() % 10**9}")
    _with_pauses(scanner, place.images)
    return scanner


def aborted(place: Place) -> Scanner:
    """Aborted in the middle, resumed 3 s later from the beginning."""
    scanner, half = place.scanner(), len(place.images) // 2
    scanner.send(place.images[:half], ending="aborted")
    time.sleep(3.0)
    scanner.send(place.images)
    return scanner


def localizer_first(place: Place) -> Scanner:
    """Two localizer images on an association of their own, in the same series."""
    scanner, scout = place.scanner(), []
    for number, orientation in enumerate(([1, 0, 0, 0, 0, -1], [0, 1, 0, 0, 0, -1])):
        image = _changed(place.images[0], f"9.{number}", ImageOrientationPatient=orientation)
        image.InstanceNumber = len(place.images) + 1 + number
        scout.append(image)
    scanner.send(scout)
    scanner.send(place.images)
    return scanner


def interleaved(place: Place) -> Scanner:
    """Two series image by image in turn on one association."""
    uid = generate_uid(entropy_srcs=[_series(place), "other"])
    other = [_changed(image, f"8.{number}", SeriesInstanceUID=uid) for number, image in enumerate(place.images)]
    scanner = place.scanner()
    scanner.send([image for pair in zip(place.images, other, strict=True) for image in pair])
    return scanner


def four_dimensional(place: Place) -> Scanner:
    """Three temporal positions, an association each, 3 s apart."""
    scanner, count = place.scanner(), len(place.images)
    for phase in range(3):
        if phase:
            time.sleep(3.0)
        scanner.send(
            [
                _changed(
                    image,
                    f"7.{phase}.{number}",
                    TemporalPositionIdentifier=phase + 1,
                    NumberOfTemporalPositions=3,
                    InstanceNumber=1 + phase * count + number,
                )
                for number, image in enumerate(place.images)
            ]
        )
    return scanner


CASES: dict[str, tuple[tuple[Case, ...], int]] = {
    "exact": (
        (step_completed_first, step_completed_last, step_and_pauses, notified, forwarded, forwarded_in_parallel),
        40,
    ),
    "closing": (
        (plain, parallel, shuffled, interleaved, localizer_first, four_dimensional, aborted, shuffled_with_pauses),
        40,
    ),
    "closing, source not known": ((in_order_with_pauses,), 40),
    "closing, 2,000 images": ((plain,), 2000),
}


def measure(folder: Path, *, rounds: int = 2, with_peer: bool = True) -> list[Measured]:
    pacs = Orthanc(find_peer("Orthanc"), folder / "pacs", more={"DicomAlwaysAllowFind": True})
    peer = Orthanc(find_peer("Orthanc"), folder / "peer", ae_title="PEER", more={"StableAge": STABLE_AGE_S})
    find = {"ae_title": "PACS1", "address": "127.0.0.1", "port": pacs.dicom_port, "has_whole_series": True}
    tree = configuration(sources=[{"ae_titles": [FORWARDER], "find": find}], engine={"workers": 2})
    node = NodeUnderTest(folder, tree)
    found: list[Measured] = []
    with pacs.running(), peer.running(), node.running():
        stable = threading.Thread(target=lambda: found.append(_stable(peer, folder)))
        if with_peer:
            stable.start()
        for number in range(rounds):
            for kind, (cases, images) in CASES.items():
                if images == 40 or number == 0:
                    found += [
                        one
                        for case in cases
                        for one in _measured(node, pacs, case, kind=kind, images=images, number=number)
                    ]
        if with_peer:
            stable.join()
    return found


def _measured(node: NodeUnderTest, pacs: Orthanc, case: Case, *, kind: str, images: int, number: int) -> list[Measured]:
    """The job's start, from when the last image began to arrive: a little before its response, which favours nobody."""
    phantom = chest_ct(slices=images, rows=128 if images < 100 else 64, identity=f"{case.__name__} {images} {number}")
    study = str(phantom.datasets[0].StudyInstanceUID)
    with tempfile.TemporaryDirectory() as folder:
        scanner = case(Place(node, pacs, list(phantom.datasets), Path(folder), case.__name__.upper()[-16:]))
    wait_until(lambda: node.settled(study), f"{case.__name__}: no end", at_most_s=240)
    account = node.account(study)
    assert account
    found = []
    for series in account.series:
        jobs = [entry.job for entry in account.jobs if entry.job.series_id == series.series_id and entry.job.started_at]
        last = max(jobs, key=lambda job: job.revision)
        assert last.started_at
        seconds = last.started_at - max(series.last_received_at, scanner.told_at)
        words = " ".join(str(case.__doc__).split())
        found.append(Measured(words, kind, series.instance_count, seconds, len(jobs) - 1))
    return found


def _stable(peer: Orthanc, folder: Path) -> Measured:
    """Orthanc itself, on a study of its own: from the end of the association until it says that the series is stable."""
    images = list(chest_ct(slices=40, rows=128, identity="stable").datasets)
    Scanner(peer.dicom_port, folder, "SCANNER").send(images)
    ended_at = time.time()
    url = f"http://127.0.0.1:{peer.http_port}/changes?limit=1000"
    while True:
        with urllib.request.urlopen(url, timeout=60) as answer:
            changes = json.load(answer)["Changes"]
        if any(change["ChangeType"] == "StableSeries" for change in changes):
            seconds = time.time() - ended_at
            return Measured(f"Orthanc, StableAge {STABLE_AGE_S}: StableSeries", "peer", len(images), seconds, 0)
        time.sleep(0.1)


def report(console: Console, found: Sequence[Measured]) -> None:
    table = Table("evidence", "case", "images", "series", "median s", "most s", "jobs too early", title="For real")
    for kind, case in dict.fromkeys((one.kind, one.case) for one in found):
        series = [one for one in found if (one.kind, one.case) == (kind, case)]
        seconds = [one.seconds for one in series]
        figures = (f"{statistics.median(seconds):.2f}", f"{max(seconds):.2f}")
        early = str(sum(one.too_early for one in series))
        table.add_row(kind, case, str(series[0].images), str(len(series)), *figures, early)
    console.print(table)
    for kind, bar in BARS_S.items():
        median = statistics.median(one.seconds for one in found if one.kind.startswith(kind))
        console.print(f"{'pass' if median <= bar else 'fail'}  {kind}: median {median:.2f} s (bar {bar:g})")


def _with_step(place: Place, send: Callable[[Scanner], None]) -> Scanner:
    scanner, modality = place.scanner(), _modality(place)
    with association_of(place.node.port) as association:
        modality.begin(association)
        modality.set(association, "COMPLETED", _listed(place.images))
    send(scanner)
    return scanner


def _forward(place: Place, associations: int) -> Scanner:
    Scanner(place.pacs.dicom_port, place.folder, "SCANNER").send(place.images)
    images = random.Random(4).sample(place.images, len(place.images)) if associations > 1 else place.images
    return _in_parallel(place.scanner(FORWARDER), images, associations)


def _in_parallel(scanner: Scanner, images: Sequence[Dataset], count: int) -> Scanner:
    threads = [threading.Thread(target=scanner.send, args=(images[number::count],)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return scanner


def _with_pauses(scanner: Scanner, images: Sequence[Dataset]) -> None:
    part = len(images) // (len(PAUSES_S) + 1)
    for number, pause_s in enumerate((*PAUSES_S, 0.0)):
        end = None if pause_s == 0.0 else (number + 1) * part
        scanner.send(images[number * part : end])
        time.sleep(pause_s)


def _modality(place: Place) -> Modality:
    return Modality(study_instance_uid=str(place.images[0].StudyInstanceUID))


def _series(place: Place) -> str:
    return str(place.images[0].SeriesInstanceUID)


def _listed(images: Sequence[Dataset]) -> dict[str, list[str]]:
    return {str(images[0].SeriesInstanceUID): [str(image.SOPInstanceUID) for image in images]}


def _changed(image: Dataset, suffix: str, **values: object) -> Dataset:
    """A copy under a UID of its own, with other values."""
    copy = Dataset()
    copy.update(image)
    copy.file_meta = FileMetaDataset()
    copy.file_meta.update(image.file_meta)
    for keyword, value in values.items():
        setattr(copy, keyword, value)
    copy.SOPInstanceUID = generate_uid(entropy_srcs=[str(image.SOPInstanceUID), suffix])
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    return copy
