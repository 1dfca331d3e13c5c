"""The limits of a node hold for its acceptor processes together, and those that died count no more."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicom_node.network.occupancy import Occupancy, new_table

PROCESSES, CONNECTIONS = 3, 16
ROOT = Path(__file__).parents[2]
# Does what each line of its standard input says, and answers with what came of it.
OTHER = f"""
import sys
from dicom_node.network.occupancy import Occupancy
table = Occupancy(int(sys.argv[1]), row=int(sys.argv[2]), processes={PROCESSES}, connections={CONNECTIONS})
print("ready", flush=True)
for line in sys.stdin:
    print(repr(eval(line)), flush=True)
"""


class Other:
    """A second process with a row of its own."""

    def __init__(self, table: int, row: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OTHER, str(table), str(row)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=[table],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        assert self.answer() == "ready"

    def does(self, what: str) -> str:
        self.asks(what)
        return self.answer()

    def asks(self, what: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"table.{what}\n")
        self.process.stdin.flush()

    def has_answered(self, within_s: float) -> bool:
        assert self.process.stdout
        return bool(select.select([self.process.stdout], [], [], within_s)[0])

    def kill(self) -> None:
        self.process.kill()
        self.close()

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20)

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()


@pytest.fixture
def table() -> Iterator[int]:
    descriptor = new_table(processes=PROCESSES, connections=CONNECTIONS)
    yield descriptor
    os.close(descriptor)


@contextmanager
def others(table: int, *rows: int) -> Iterator[list[Other]]:
    running = [Other(table, row) for row in rows]
    try:
        yield running
    finally:
        for other in running:
            if other.process.poll() is None:
                other.close()


def of_row(table: int, row: int) -> Occupancy:
    return Occupancy(os.dup(table), row=row, processes=PROCESSES, connections=CONNECTIONS)


def test_associations_of_all_processes_count(table: int) -> None:
    with others(table, 1, 2) as (one, two):
        assert [one.does("take(3)"), two.does("take(3)"), two.does("take(3)")] == ["True"] * 3
        assert (one.does("take(3)"), two.does("take(3)")) == ("False", "False")
        two.does("free()")
        assert (one.does("take(3)"), two.does("take(3)")) == ("True", "False")


def test_connections_of_one_address_and_of_all_count_wherever_they_are_held(table: int) -> None:
    def connect(address: str) -> str:
        return f"connect({address!r}, per_address=2, in_all=3)"

    with others(table, 0, 2) as (one, two):
        assert one.does(connect("192.0.2.1")) == two.does(connect("192.0.2.1")) == "None"
        assert "of_address=True" in one.does(connect("192.0.2.1"))
        assert one.does(connect("192.0.2.2")) == "None"
        assert "of_address=False" in two.does(connect("192.0.2.3"))
        one.does("disconnect('192.0.2.1')")
        assert two.does(connect("192.0.2.1")) == "None"


@pytest.mark.parametrize("asked", ["take(1)", "connect('192.0.2.1', per_address=1, in_all=9)"])
def test_what_a_killed_process_held_counts_no_more(table: int, asked: str) -> None:
    with others(table, 0, 1) as (killed, left):
        granted = killed.does(asked)
        assert granted in {"True", "None"}
        assert left.does(asked) != granted
        killed.kill()
        assert left.does(asked) == granted


def test_a_process_that_is_started_again_begins_with_nothing_and_sees_what_others_hold(table: int) -> None:
    with others(table, 0, 1) as (killed, left):
        assert (killed.does("take(2)"), left.does("take(2)")) == ("True", "True")
        killed.kill()
        with others(table, 0) as (again,):
            assert (again.does("take(2)"), again.does("take(2)")) == ("True", "False")


def test_one_at_a_time_judges_and_one_that_is_killed_over_it_does_not_hold_up_the_others(table: int) -> None:
    with others(table, 0, 1) as (killed, left):
        killed.does("__dict__.update(held=table._alone()) or table.held.__enter__()")
        left.asks("take(1)")
        assert not left.has_answered(within_s=0.3)
        killed.kill()
        assert left.answer() == "True"


def test_no_more_get_in_than_may_when_all_ask_at_once(table: int) -> None:
    with others(table, 0, 1, 2) as three:
        for one in three:
            one.asks("take(0) or sum(table.take(100) for _ in range(90))")
        assert sum(int(one.answer()) for one in three) == 100


def test_a_row_of_as_many_addresses_as_connections_has_room(table: int) -> None:
    occupancy = of_row(table, PROCESSES - 1)
    for number in range(CONNECTIONS):
        assert occupancy.connect(f"192.0.2.{number}", per_address=1, in_all=CONNECTIONS) is None
    assert occupancy.connect("192.0.2.99", per_address=1, in_all=CONNECTIONS) is not None
    occupancy.close()


def test_a_row_beyond_the_table_is_refused(table: int) -> None:
    with pytest.raises(ValueError, match="row must be one of 3, but is 3"):
        Occupancy(table, row=PROCESSES, processes=PROCESSES, connections=CONNECTIONS)


def test_a_thread_that_ends_after_the_table_was_closed_changes_nothing(table: int) -> None:
    occupancy = of_row(table, 0)
    assert occupancy.take(9)
    occupancy.close()
    occupancy.free()
    occupancy.disconnect("192.0.2.1")
    with others(table, 1) as (other,):
        assert other.does("take(1)") == "True"
