"""The rows of associations: committed together, none lost when the database fails, none held up by another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import pytest

from dicom_node.network import associations as module
from dicom_node.network.associations import Associations, Ended
from dicom_node.refusals import OutOfResources
from storage.errors import StorageUnavailable
from tests.waiting import eventually


class Places:
    def __init__(self) -> None:
        self.taken = 0

    def take(self, limit: int) -> bool:
        if self.taken >= limit:
            return False
        self.taken += 1
        return True

    def free(self) -> None:
        self.taken -= 1


class Brought:
    """What an association brought, as far as this needs it."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def give_up(self, error: Exception) -> None:
        self._bench.cannot_tell()
        self._bench.given_up.append(error)


class Bench:
    def __init__(self) -> None:
        self.given_up: list[Exception] = []
        self.cannot_tell: Callable[[], None] = lambda: None
        self.committed: list[Sequence[Ended]] = []
        self.fails: Callable[[Sequence[Ended]], None] = lambda _: None
        self.places = Places()
        self.associations = Associations(
            cast(Any, None),
            open_arrivals=cast(Any, lambda _: Brought(self)),
            end=self._end,
            acceptor="acceptor-1",
            places=self.places,
        )

    def _end(self, ended: Sequence[Ended]) -> None:
        self.fails(ended)
        self.committed.append(tuple(ended))

    def thread(self, ae_title: str = "CT1", limit: int = 99) -> threading.Thread | None:
        """An association that has brought something."""
        thread = threading.Thread()
        names = {"calling_ae_title": ae_title, "called_ae_title": "NODE", "address": "192.0.2.1"}
        if not self.associations.begin(thread, **names, limit=limit):
            return None
        self.associations.arrivals(thread)
        return thread

    def ended(self) -> list[tuple[str, str | None]]:
        return [(record.calling_ae_title, record.ending) for some in self.committed for record, _ in some]


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    bench.associations.start()
    yield bench
    bench.associations.stop()


def _end_some(bench: Bench, count: int) -> None:
    for number in range(count):
        thread = bench.thread(f"CT{number}")
        assert thread
        bench.associations.end(thread, "released")


def test_ends_of_a_moment_are_committed_together(bench: Bench) -> None:
    _end_some(bench, 1)
    assert eventually(lambda: bench.ended() == [("CT0", "released")])
    _end_some(bench, 40)
    assert eventually(lambda: len(bench.ended()) == 41)
    assert len(bench.committed) <= 5


def test_an_end_that_cannot_be_committed_now_is_committed_later_and_once(bench: Bench) -> None:
    def fails(_ended: Sequence[Ended]) -> None:
        raise StorageUnavailable("database: locked")

    bench.fails = fails
    _end_some(bench, 3)
    assert not eventually(lambda: bench.committed, limit_s=0.5)
    bench.fails = lambda _: None
    assert eventually(lambda: len(bench.ended()) == 3)


def _fails_for_one(error: Exception) -> Callable[[Sequence[Ended]], None]:
    def fails(ended: Sequence[Ended]) -> None:
        if any(record.calling_ae_title == "CT1" for record, _ in ended):
            raise error

    return fails


@pytest.mark.parametrize("error", [ZeroDivisionError(), StorageUnavailable("database: torn")], ids=repr)
def test_one_that_cannot_be_recorded_does_not_hold_up_the_others(bench: Bench, error: Exception) -> None:
    bench.fails = _fails_for_one(error)
    _end_some(bench, 4)
    assert eventually(lambda: {name for name, _ in bench.ended()} == {"CT0", "CT2", "CT3"})
    if isinstance(error, StorageUnavailable):
        assert bench.given_up == []
        bench.fails = lambda _: None
        assert eventually(lambda: len(bench.ended()) == 4)
    else:
        assert eventually(lambda: bench.given_up == [error])


def test_nothing_is_given_up_that_nobody_can_be_told_of(bench: Bench) -> None:
    def cannot() -> None:
        raise StorageUnavailable("database: locked")

    error = ZeroDivisionError()
    bench.fails, bench.cannot_tell = _fails_for_one(error), cannot
    _end_some(bench, 4)
    assert eventually(lambda: len(bench.ended()) == 3)
    assert not eventually(lambda: bench.given_up, limit_s=0.5)
    bench.cannot_tell = lambda: None
    assert eventually(lambda: bench.given_up == [error])
    assert not eventually(lambda: len(bench.given_up) > 1, limit_s=0.5)


def test_while_too_many_ends_wait_nothing_more_is_begun(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_ended: Sequence[Ended]) -> None:
        raise StorageUnavailable("database: locked")

    monkeypatch.setattr(module, "_MOST_UNCOMMITTED", 3)
    bench.fails = fails
    living = bench.thread("LIVING")
    assert living
    _end_some(bench, 3)
    with pytest.raises(OutOfResources, match="storage is not available"):
        bench.thread("ONE MORE")
    bench.associations.arrivals(living)
    bench.fails = lambda _: None
    assert eventually(lambda: len(bench.ended()) == 3)
    assert bench.thread("ONE MORE")


def test_what_ended_is_committed_before_it_stops() -> None:
    bench = Bench()
    bench.associations.start()
    _end_some(bench, 5)
    bench.associations.stop()
    assert len(bench.ended()) == 5


def test_a_thread_that_ended_without_a_word_frees_its_place_and_counts_as_aborted(bench: Bench) -> None:
    thread = bench.thread(limit=1)
    assert thread
    assert bench.thread(limit=1) is None
    thread.start()
    thread.join()
    assert eventually(lambda: bench.ended() == [("CT1", "aborted")])
    assert bench.places.taken == 0


def test_only_the_first_ending_counts_and_frees_one_place(bench: Bench) -> None:
    thread = bench.thread()
    assert thread
    bench.associations.end(thread, "released")
    bench.associations.end(thread, "aborted")
    assert eventually(lambda: bench.ended() == [("CT1", "released")])
    assert bench.places.taken == 0


def test_an_association_that_brought_nothing_leaves_no_row(bench: Bench) -> None:
    thread = threading.Thread()
    bench.associations.begin(thread, calling_ae_title="ECHO", called_ae_title="", address="192.0.2.1", limit=9)
    bench.associations.end(thread, "released")
    assert not eventually(lambda: bench.committed, limit_s=0.5)
