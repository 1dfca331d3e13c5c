"""Whatever way the images of a study come, the results that count in the end are the same."""

from __future__ import annotations

import hashlib
import io
import json
import random
import re
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread

from dicom_node.attempt import JobOutcome, JobSpec, run_attempt
from dicom_node.phantom import chest_ct
from dicom_node.result_objects import put_result
from dicom_node.results.reading import comments_of, numbers_of, tracking_uids
from storage.database import Database
from storage.objects import open_store
from storage.records.announced import Announcement
from tests.acceptance.turned_clock import Live, Run, Sent, TurnedNode
from tests.dicom_node.peers import data_set_bytes

SLICES, ROWS = 34, 64
DELAYS_S = (0.0, 0.5, 3.0, 30.0, 90.0, 400.0, 1500.0)
TELLS = ("nothing", "mpps", "ian", "c-find")
# Each image is synced: on a disk that would take most of the time of these tests.
MEMORY = Path("/dev/shm")
MODEL, KINDS = "ct_lung_density@1.0.0", ("seg", "sr", "sc")
REVISION = re.compile(r"Revision \d+ of the series[.:].*")


@dataclass(frozen=True)
class Part:
    """What one association brings: the images up to that share of all, and `again` of those that were sent before.

    delay_s: how long nothing comes then. is_busy: a job that runs does not end meanwhile.
    """

    until: float
    again: int
    ending: str
    delay_s: float
    is_busy: bool


@dataclass(frozen=True)
class Way:
    """One way to send the study. told_before: the part before which somebody tells what it consists of.

    sent_again: all of it comes once more in the end.
    """

    shuffle: int
    parts: tuple[Part, ...]
    tells: str
    told_before: int
    sent_again: bool


PARTS = st.builds(
    Part,
    until=st.floats(0.0, 1.0),
    again=st.integers(0, 6),
    ending=st.sampled_from(("released", "aborted")),
    delay_s=st.sampled_from(DELAYS_S),
    is_busy=st.booleans(),
)
WAYS = st.builds(
    Way,
    shuffle=st.integers(0, 2**32 - 1),
    parts=st.lists(PARTS, max_size=5).map(lambda parts: tuple(sorted(parts, key=lambda part: part.until))),
    tells=st.sampled_from(TELLS),
    told_before=st.integers(0, 6),
    sent_again=st.booleans(),
)
IN_ORDER = Way(0, (), "nothing", 0, sent_again=False)
# Cut so that the geometry of each part closes, with a job of each part still running when the next one comes.
TOO_EARLY = Way(
    0, tuple(Part(share, 3, "released", 90.0, is_busy=True) for share in (0.35, 0.8)), "nothing", 0, sent_again=True
)
# Held for longer than anybody waits, and complete after all.
GIVEN_UP = Way(7, (Part(0.9, 0, "aborted", 1500.0, is_busy=False),), "mpps", 0, sent_again=False)


class Study:
    """Two series of a phantom, image by image in turn."""

    def __init__(self) -> None:
        images = list(chest_ct(slices=SLICES, rows=ROWS, identity="any way").datasets)
        self.uid = str(images[0].StudyInstanceUID)
        self.series: dict[str, list[str]] = {}
        self.sent: list[Sent] = []
        for image in images:
            for suffix in ("", ".2"):
                self._add(image, suffix)

    def _add(self, image: Dataset, suffix: str) -> None:
        copy = dcmread(io.BytesIO(_part10(image)))
        copy.SeriesInstanceUID = f"{str(image.SeriesInstanceUID)[:60]}{suffix}"
        copy.SOPInstanceUID = copy.file_meta.MediaStorageSOPInstanceUID = f"{str(image.SOPInstanceUID)[:60]}{suffix}"
        self.series.setdefault(str(copy.SeriesInstanceUID), []).append(str(copy.SOPInstanceUID))
        self.sent.append(Sent(str(copy.SOPInstanceUID), data_set_bytes(_part10(copy))))

    def told(self, kind: str, at: float) -> list[Announcement]:
        """What somebody says of it, and all of it is true."""
        return [
            Announcement(
                kind,  # type: ignore[arg-type]
                f"9.1 {series}",
                "CT1",
                self.uid,
                series,
                "completed",
                at,
                len(uids),
                None if kind == "c-find" else tuple(uids),
            )
            for series, uids in self.series.items()
        ]


def _part10(dataset: Dataset) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def study() -> Study:
    return Study()


@pytest.fixture(scope="module")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file of the current schema."""
    path = tmp_path_factory.mktemp("migrated") / "node.sqlite3"
    database = Database(f"sqlite:///{path}")
    database.migrate()
    database.close()
    return path


@contextmanager
def a_node(migrated: Path, run: Run) -> Iterator[TurnedNode]:
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        node = TurnedNode(Path(folder), migrated, run)
        try:
            yield node
        finally:
            node.close()


def send(node: TurnedNode, study: Study, way: Way) -> None:
    """All of it in that way; then time goes by until nothing is left to wait for."""
    images = list(study.sent)
    if way.shuffle:
        random.Random(way.shuffle).shuffle(images)
    if way.tells == "mpps":
        step = Announcement("mpps", "9.1 -", "CT1", study.uid, None, "in progress", node.now)
        node.stores.announcements.announce(step)
    begins = 0
    for number, part in enumerate((*way.parts, Part(1.0, 0, "released", 0.0, is_busy=False))):
        if number == min(way.told_before, len(way.parts)):
            tell(node, study, way.tells)
        end = round(part.until * len(images))
        node.engine.is_held = part.is_busy
        node.associate([*images[max(0, begins - part.again) : begins], *images[begins:end]], part.ending)
        node.wait(part.delay_s)
        begins = end
    node.engine.is_held = False
    if way.sent_again:
        node.wait(3.0)
        node.associate(images, "released")
    node.wait(10_000.0)


def tell(node: TurnedNode, study: Study, kind: str) -> None:
    if kind == "mpps":
        done = Announcement("mpps", "9.1 -", "CT1", study.uid, None, "completed", node.now)
        node.stores.announcements.announce(done)
    if kind != "nothing":
        node.stores.announcements.announce(*study.told(kind, node.now))


def assert_one_of_each(node: TurnedNode, study: Study, kinds: Sequence[str]) -> list[Live]:
    """One result set counts for each series, of all its images, and nothing else is still to be sent."""
    live = node.live()
    expected = {(series, MODEL, kind): 1 for series in study.series for kind in kinds}
    assert Counter((one.series_instance_uid, one.model, one.kind) for one in live) == expected
    for series in node.stores.studies.series_of(study.uid):
        assert (series.state, series.instance_count) == ("whole", SLICES)
    assert node.waiting() == {one.sop_instance_uid for one in live}
    return live


def described(spec: JobSpec) -> JobOutcome:
    """In place of the model: reports that say which images, by content, and what else the job was told."""
    objects = open_store(spec.objects_url)
    images = sorted(hashlib.sha256(objects.get(key)).hexdigest() for key in spec.object_keys)
    said = {"images": images, "remark": spec.remark, "give_up": spec.give_up_reason}
    results = []
    for number, kind in enumerate(spec.kinds):
        origin = f"{spec.series_instance_uid} {spec.revision} {kind}"
        payload = json.dumps({"origin": origin, "said": said}).encode()
        uid = f"2.25.{int(hashlib.sha256(origin.encode()).hexdigest()[:24], 16)}"
        results.append(
            put_result(
                objects,
                [payload],
                kind=kind,
                sop_class_uid=f"1.2.{number + 1}",
                sop_instance_uid=uid,
                series_instance_uid=f"{uid}.1",
                study_instance_uid=spec.study_instance_uid,
                description="described",
            )
        )
    return JobOutcome("described", tuple(results))


def said_by(live: list[Live]) -> dict[tuple[str, str], object]:
    return {(one.series_instance_uid, one.kind): json.loads(one.content)["said"] for one in live}


def findings_of(live: list[Live]) -> dict[tuple[str, str], object]:
    """What each result found, without the revision that it names. The picture has that, and the time, in its pixels."""
    return {(one.series_instance_uid, one.kind): _content(dcmread(io.BytesIO(one.content))) for one in live}


def _content(result: Dataset) -> tuple[object, ...]:
    if result.Modality == "SR":
        said = tuple(text for text in comments_of(result) if not REVISION.fullmatch(text))
        return (numbers_of(result), said, tracking_uids(result), result.CompletionFlag)
    if result.Modality == "SEG":
        frames = [
            (
                group.SegmentIdentificationSequence[0].ReferencedSegmentNumber,
                group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID,
            )
            for group in result.PerFrameFunctionalGroupsSequence
        ]
        segments = [(item.SegmentLabel, item.TrackingUID) for item in result.SegmentSequence]
        return (frames, segments, result.PixelData)
    return (result.Rows, result.Columns)


def sent_in_order(study: Study, migrated: Path, run: Run) -> list[Live]:
    """What counts when all comes in order on one association."""
    with a_node(migrated, run) as node:
        send(node, study, IN_ORDER)
        return assert_one_of_each(node, study, KINDS)


@pytest.fixture(scope="module")
def said_in_order(study: Study, migrated: Path) -> dict[tuple[str, str], object]:
    return said_by(sent_in_order(study, migrated, described))


@given(way=WAYS)
@example(way=TOO_EARLY)
@example(way=GIVEN_UP)
@settings(max_examples=15, phases=(Phase.explicit, Phase.reuse, Phase.generate))  # to shrink one takes minutes
def test_the_job_that_counts_has_every_image_once_and_nothing_to_remark(
    study: Study, migrated: Path, way: Way, said_in_order: dict[tuple[str, str], object]
) -> None:
    with a_node(migrated, described) as node:
        send(node, study, way)
        assert said_by(assert_one_of_each(node, study, KINDS)) == said_in_order


@pytest.fixture(scope="module")
def found_in_order(study: Study, migrated: Path) -> dict[tuple[str, str], object]:
    return findings_of(sent_in_order(study, migrated, run_attempt))


@pytest.mark.parametrize("way", [TOO_EARLY, GIVEN_UP], ids=["too early", "given up"])
def test_the_findings_that_count_are_the_same_bit_for_bit(
    study: Study, migrated: Path, way: Way, found_in_order: dict[tuple[str, str], object]
) -> None:
    with a_node(migrated, run_attempt) as node:
        send(node, study, way)
        assert findings_of(assert_one_of_each(node, study, KINDS)) == found_in_order
