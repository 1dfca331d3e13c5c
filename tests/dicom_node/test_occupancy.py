"""The limits of a node hold for its acceptor processes together, and those that died count no more."""

from __future__ import annotations

import os
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
        assert self._answer() == "ready"

    def does(self, what: str) -> str:
        assert self.process.stdin
        self.process.stdin.write(f"table.{what}\n")
        self.process.stdin.flush()
        return self._answer()

    def kill(self) -> None:
        self.process.kill()
        self.close()

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(20)

    def _answer(self) -> str:
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


def test_what_a_killed_process_held_counts_no_more(table: int) -> None:
    with others(table, 0, 1) as (killed, left):
        assert killed.does("take(1)") == "True"
        assert killed.does("connect('192.0.2.1', per_address=1, in_all=9)") == "None"
        assert left.does("take(1)") == "False"
        assert "of_address=True" in left.does("connect('192.0.2.1', per_address=1, in_all=9)")
        killed.kill()
        assert left.does("take(1)") == "True"
        assert left.does("connect('192.0.2.1', per_address=1, in_all=9)") == "None"


def test_a_process_that_is_started_again_begins_with_nothing_and_sees_what_others_hold(table: int) -> None:
    with others(table, 0, 1) as (killed, left):
        assert (killed.does("take(2)"), left.does("take(2)")) == ("True", "True")
        killed.kill()
        with others(table, 0) as (again,):
            assert (again.does("take(2)"), again.does("take(2)")) == ("True", "False")


def test_a_process_that_was_killed_under_the_lock_does_not_hold_up_the_others(table: int) -> None:
    with others(table, 0, 1) as (killed, left):
        killed.does("_alone().__enter__()")
        killed.kill()
        assert left.does("take(1)") == "True"


def test_no_more_get_in_than_may_when_all_ask_at_once(table: int) -> None:
    with others(table, 0, 1, 2) as three:
        for one in three:
            assert one.process.stdin
            one.process.stdin.write("sum(table.take(100) for _ in range(90))\n")
            one.process.stdin.flush()
        assert sum(int(one._answer()) for one in three) == 100


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
