"""A phantom's study with every object that can be made of it, in an Orthanc and in OHIF."""

from __future__ import annotations

import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pydicom import Dataset, dcmread

from dicom_node.phantom import chest_ct
from inference.series import read_series
from inference.volume import Volume
from tests.conformance.objects import Made, objects_of
from tests.orthanc import Orthanc
from tests.viewer.ohif import Viewer, pacs_of, showing


@dataclass(frozen=True)
class Study:
    """The open viewer, and what was stored beside the images, by its row in the table of verdicts."""

    viewer: Viewer
    uid: str
    volume: Volume
    objects: Mapping[str, Made]
    folder: Path

    def dataset(self, row: str) -> Dataset:
        return dcmread(self.objects[row].path)

    def show(self, row: str) -> None:
        """Open the study, and in it the object."""
        self.viewer.open(self.uid)
        self.viewer.show(int(self.dataset(row).SeriesNumber), patience_s=30)


@contextmanager
def study_in_ohif(
    peer: Callable[[str], str], folder: Path, packed: Callable[[bytes], bytes] | None = None
) -> Iterator[Study]:
    """packed: what is done to each file before it is stored."""
    phantom = chest_ct(slices=32, rows=256, identity="every object")
    datasets = list(phantom.datasets)
    volume = read_series(datasets).volumes[0]
    objects = {}
    for number, made in enumerate(objects_of(datasets, volume, folder)):
        if made.kind in (made.row, "sr"):
            objects.setdefault(made.row, apart_in_the_list(made, number))
    if packed:
        for made in objects.values():
            made.path.write_bytes(packed(made.path.read_bytes()))
    files = [*phantom.write(folder / "images"), *(made.path for made in objects.values())]
    with pacs_of(peer, folder / "orthanc").running() as orthanc:
        upload(orthanc, files)
        with showing(orthanc, peer("chromium"), folder / "profile") as viewer:
            yield Study(viewer, volume.study_instance_uid, volume, objects, folder)


def apart_in_the_list(made: Made, number: int) -> Made:
    """The object with a series number that no other has: kinds that exclude each other share theirs."""
    dataset = dcmread(made.path)
    dataset.SeriesNumber = 5000 + number
    path = made.path.with_suffix(".numbered.dcm")
    dataset.save_as(path)
    return replace(made, path=path)


def upload(orthanc: Orthanc, files: list[Path]) -> None:
    """By HTTP: DCMTK's senders know no label maps."""
    for file in files:
        url = f"http://127.0.0.1:{orthanc.http_port}/instances"
        with urllib.request.urlopen(urllib.request.Request(url, file.read_bytes(), method="POST")) as answer:
            answer.read()
