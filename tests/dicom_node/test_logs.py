"""One line an event, and a canary name that no log line ever shows."""

from __future__ import annotations

import ast
import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_node import logs
from dicom_node.config import Config
from dicom_node.delivery import Delivery
from dicom_node.network.requestor import echo
from tests.dicom_node.peers import AnsweringScp, peer_at, served
from tests.made_rows import open_house
from tests.ports import free_port
from tests.waiting import LIMIT_S

PACKAGE = Path(__file__).parents[2] / "dicom_node"
CANARY = "CANARY^NAME"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    """A stream to log to; what `configure` changes in this process is put back."""
    root = logging.getLogger()
    loggers = {name: logging.getLogger(name or None) for name in [*logs._LIBRARIES, "dicom_node"]}
    before = {name: (logger.level, logger.handlers[:], logger.propagate) for name, logger in loggers.items()}
    hooks = (sys.excepthook, threading.excepthook, sys.unraisablehook, logging.raiseExceptions, warnings.showwarning)
    yield io.StringIO()
    for name, logger in loggers.items():
        logger.setLevel(before[name][0])
        logger.handlers[:] = before[name][1]
        logger.propagate = before[name][2]
    logging.captureWarnings(False)
    sys.excepthook, threading.excepthook, sys.unraisablehook, logging.raiseExceptions, warnings.showwarning = hooks
    assert logging.getLogger() is root


def entries(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_line_of_key_and_value(stream: io.StringIO) -> None:
    logs.configure("info", "text", process="acceptor", stream=stream)
    logs.get("intake").info(
        "instance stored", association="a17", bytes=5, seconds=0.12345678, status=0xA700, calling_ae_title="CT 1"
    )
    time, rest = stream.getvalue().split(" ", 1)
    assert time.endswith("Z")
    assert rest == (
        "info acceptor intake: instance stored association=a17 bytes=5 seconds=0.123457 status=0xA700 "
        'calling_ae_title="CT 1"\n'
    )


def test_the_same_event_as_json(stream: io.StringIO) -> None:
    logs.configure("info", "json", process="acceptor", stream=stream)
    logs.get("intake").warning("instance stored", sop_instance_uid="1.2.3", reason="quiet for 2 s", state=None)
    (entry,) = entries(stream)
    assert entry.pop("time")
    assert entry == {
        "level": "warning",
        "process": "acceptor",
        "part": "intake",
        "event": "instance stored",
        "sop_instance_uid": "1.2.3",
        "reason": "quiet for 2 s",
        "state": None,
    }


def test_events_below_the_level_are_left_out(stream: io.StringIO) -> None:
    logs.configure("warning", "text", process="web", stream=stream)
    logs.get("intake").info("quiet")
    logs.get("intake").error("loud")
    assert [line.split(": ", 1)[1] for line in stream.getvalue().splitlines()] == ["loud"]


def test_configuring_again_writes_no_line_twice(stream: io.StringIO) -> None:
    logs.configure("info", "text", process="web", stream=io.StringIO())
    logs.configure("info", "text", process="web", stream=stream)
    logs.get("intake").info("once")
    assert stream.getvalue().count("once") == 1


@pytest.mark.parametrize(
    "name", ["patient_name", "patient_id", "accession_number", "study_description", "birth_date", "comment", "dataset"]
)
def test_a_field_that_is_not_allowed_is_withheld_with_its_name(stream: io.StringIO, name: str) -> None:
    logs.configure("info", "json", process="web", stream=stream)
    logs.get("intake").info("instance stored", **{name: CANARY})
    assert "CANARY" not in stream.getvalue()
    assert entries(stream)[0]["withheld"]


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    "value", [CANARY, "Canary^Name", "CANARY, NAME OF", ["CANARY"], {"name": "CANARY"}, b"CANARY^"]
)
def test_no_allowed_field_shows_a_name(stream: io.StringIO, form: Any, value: object) -> None:
    logs.configure("info", form, process="web", stream=stream)
    for name, kind in logs.ALLOWED_FIELDS.items():
        if kind != "ae_title" or "," not in str(value):
            logs.get("intake").info("instance stored", **{name: value})
    assert "canary" not in stream.getvalue().lower()
    assert all("withheld" in line for line in stream.getvalue().splitlines())


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("value", ["A\r\nB", "A\x1b[31mB", "A\x00B", "A\u2028B", "A\x9b31mB", "A\u202eB"])
def test_control_characters_reach_no_line(stream: io.StringIO, form: Any, value: str) -> None:
    logs.configure("info", form, process="web", stream=stream)
    log = logs.get("intake")
    for name in logs.ALLOWED_FIELDS:
        log.info("instance stored", **{name: value})
    log.info("folder", folder=Path(value))
    log.info(value)
    lines = stream.getvalue().removesuffix("\n").split("\n")
    assert len(lines) == len(logs.ALLOWED_FIELDS) + 2
    assert all(line.isascii() and line.isprintable() for line in lines)


def test_a_value_cannot_pretend_to_be_another_field(stream: io.StringIO) -> None:
    logs.configure("info", "text", process="web", stream=stream)
    logs.get("intake").info("rejected", calling_ae_title='A" state=done')
    assert stream.getvalue().rstrip().endswith(r'calling_ae_title="A\" state=done"')


def test_an_exception_is_shown_by_type_and_place_not_by_its_message(stream: io.StringIO) -> None:
    logs.configure("info", "json", process="web", stream=stream)
    try:
        int(CANARY)
    except ValueError as error:
        logs.get("intake").error("instance refused", error=error)
    (entry,) = entries(stream)
    assert entry["error"] == "ValueError"
    assert entry["at"].startswith("test_logs.py:")
    assert "CANARY" not in stream.getvalue()


@pytest.mark.parametrize("library", ["pydicom", "distributed.worker", "sqlalchemy", "unheard.of"])
@pytest.mark.parametrize(
    "write",
    [
        lambda logger: logger.error(f"Patient {CANARY}"),
        lambda logger: logger.error("Patient %s", CANARY),
        lambda logger: logger.error({"PatientName": CANARY}),
        lambda logger: logger.error("failed", exc_info=ValueError(CANARY)),
        lambda logger: logger.error("failed", stack_info=True, extra={"patient": CANARY}),
    ],
)
def test_what_a_library_says_of_a_patient_is_not_written(
    stream: io.StringIO, library: str, write: Callable[[logging.Logger], None]
) -> None:
    logs.configure("debug", "json", process="web", stream=stream)
    write(logging.getLogger(library))
    (entry,) = entries(stream)
    assert "CANARY" not in stream.getvalue()
    assert (entry["part"], entry["library"]) == ("library", library)
    assert entry["source"].startswith("test_logs.py:")


def test_the_constant_part_of_the_engine_s_messages_is_kept(stream: io.StringIO) -> None:
    logs.configure("info", "json", process="web", stream=stream)
    logging.getLogger("distributed.nanny").warning("Worker exceeded %d%% memory budget", 95)
    assert entries(stream)[0]["event"] == "Worker exceeded %d%% memory budget"


def test_libraries_are_heard_from_warning_on_only(stream: io.StringIO) -> None:
    logs.configure("debug", "text", process="web", stream=stream)
    for library in ("pynetdicom.dul", "distributed.scheduler", "alembic.runtime", "unheard.of"):
        logging.getLogger(library).info("chatter")
    assert stream.getvalue() == ""


def test_a_delivery_that_finds_nobody_listening_is_one_line(stream: io.StringIO, tmp_path: Path) -> None:
    """pynetdicom would add two, and three where an association is rejected."""
    place = {"name": "PACS1", "type": "dicom", "ae_title": "PACS1", "address": "127.0.0.1", "port": free_port()}
    house = open_house(tmp_path)
    house.analysed_study()
    logs.configure("info", "json", process="dispatcher", stream=stream)
    delivery = Delivery(Config.model_validate({"destinations": [place]}), house)  # type: ignore[arg-type]
    assert delivery._couriers["PACS1"].step()
    house.database.close()
    (entry,) = entries(stream)
    assert (entry["event"], entry["outcome"], entry["destination"]) == ("delivery tried", "failed", "PACS1")
    assert f"no connection to 127.0.0.1:{place['port']}" in entry["reason"]


def test_an_association_that_is_rejected_or_breaks_off_adds_no_line_of_a_library(stream: io.StringIO) -> None:
    logs.configure("info", "json", process="dispatcher", stream=stream)
    scp = AnsweringScp(free_port())
    with scp.running(called="OTHER"):
        assert not echo(peer_at(scp.port)).ok
    with served(lambda connection: connection.recv(10)) as port:
        assert not echo(peer_at(port)).ok
    assert entries(stream) == []


def test_an_error_in_the_library_itself_is_one_line_with_its_place(stream: io.StringIO) -> None:
    logs.configure("info", "json", process="acceptor", stream=stream)
    library = logging.getLogger("pynetdicom.dul")
    try:
        raise KeyError(CANARY)
    except KeyError as error:
        library.error("Exception in DUL.run(), aborting association")
        library.exception(error)
    (entry,) = entries(stream)
    assert (entry["library"], entry["error"]) == ("pynetdicom.dul", "KeyError")
    assert entry["at"].startswith("test_logs.py:")
    assert "CANARY" not in stream.getvalue()


def test_the_own_handler_of_a_library_is_taken_away(stream: io.StringIO) -> None:
    own = io.StringIO()
    logger = logging.getLogger("distributed.nanny")
    logger.addHandler(logging.StreamHandler(own))
    logger.propagate = False
    logs.configure("info", "text", process="web", stream=stream)
    logger.error(CANARY)
    assert own.getvalue() == ""
    assert "library=distributed.nanny" in stream.getvalue()


def test_a_warning_is_shown_by_category_and_place(stream: io.StringIO) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.configure("info", "json", process="web", stream=stream)
        warnings.warn(f"Invalid value {CANARY}", UserWarning, stacklevel=1)
        logging.captureWarnings(False)
    (entry,) = entries(stream)
    assert entry["category"] == "UserWarning"
    assert entry["source"].startswith("test_logs.py:")
    assert "CANARY" not in stream.getvalue()


UNCAUGHT = f"""
import gc, threading
from dicom_node import logs
logs.configure("info", "text", process="worker")

class Finalized:
    def __del__(self):
        raise RuntimeError("{CANARY}")

def fail():
    raise KeyError("{CANARY}")

thread = threading.Thread(target=fail)
thread.start()
thread.join()
Finalized()
gc.collect()
fail()
"""


def test_uncaught_exceptions_end_the_process_with_a_line_and_without_their_message() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", UNCAUGHT], capture_output=True, text=True, check=False, timeout=LIMIT_S
    )
    assert ended.returncode == 1
    assert "CANARY" not in ended.stderr + ended.stdout
    assert [line.split(": ", 1)[1].split(" at=")[0] for line in ended.stderr.splitlines()] == [
        "uncaught exception in a thread error=KeyError",
        "uncaught exception in a finalizer error=RuntimeError",
        "uncaught exception error=KeyError",
    ]


def test_a_broken_stream_does_not_stop_the_node() -> None:
    script = (
        "import os, sys\nfrom dicom_node import logs\n"
        "logs.configure('info', 'text', process='web')\nos.close(2)\nlogs.get('intake').info('x')\nprint('alive')"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, timeout=LIMIT_S)
    assert ended.stdout == "alive\n"


def log_calls() -> Iterator[tuple[str, ast.Call]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            target = node.func.value
            name = target.id if isinstance(target, ast.Name) else getattr(target, "attr", "")
            if name in {"log", "_log"} and node.func.attr in {"debug", "info", "warning", "error"}:
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node


def test_every_event_in_the_code_is_a_constant_with_allowed_fields() -> None:
    calls = list(log_calls())
    for place, call in calls:
        assert len(call.args) == 1, f"{place}: an event has fields, no arguments"
        assert isinstance(call.args[0], ast.Constant), f"{place}: an event is a constant, values go into fields"
        for keyword in call.keywords:
            assert keyword.arg in logs.ALLOWED_FIELDS or place.startswith("logs.py"), (
                f"{place}: {keyword.arg} is no field of dicom_node.logs.ALLOWED_FIELDS; add it if it can hold no "
                "patient data"
            )


def test_no_module_writes_logs_past_this_one() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        imported = {
            alias.name
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert "logging" not in imported or path.name == "logs.py", path
