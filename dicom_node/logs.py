"""What happened, one line an event, without patient data.

An event is a fixed phrase of the code and `key=value` fields. Patient data cannot get in by two rules: the names of
fields are a closed set, and each field has a kind that its value must look like (a UID is digits and dots, a word has
no space and no caret). A value that does not is withheld, and the line says so. A lone word looks like any other: give
such fields names of the configuration or of the code, never a value of a data set. An accession number is patient data
and has no field; UIDs are allowed. An exception is shown by its type and place: its message may quote the data set.

    log = logs.get("intake")
    log.info("instance stored", association="a17", sop_instance_uid=uid, bytes=524288)
    log.error("instance refused", error=exception, status=0xC000)

Libraries write what they like, so of their records only the place and the constant part of the message are kept. Of
pynetdicom only errors that it did not foresee are: what a peer or the network did, the node tells in words of its own.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import math
import re
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePath
from types import MappingProxyType, TracebackType
from typing import IO, Literal

MAX_VALUE_CHARACTERS = 200
_FRAMES = 6
_ROOT = "dicom_node"
# The libraries that write logs of their own, and the least severe level at which the node wants to hear them.
_LIBRARIES: Mapping[str, int] = MappingProxyType(
    {
        "": logging.WARNING,
        "alembic": logging.WARNING,
        "asyncio": logging.WARNING,
        "distributed": logging.WARNING,
        "py.warnings": logging.WARNING,
        "pydicom": logging.ERROR,
        "pynetdicom": logging.WARNING,
        "sqlalchemy": logging.WARNING,
        "tornado": logging.ERROR,
    }
)
# Libraries whose messages are constant wherever arguments are left to be filled in. They see no data set.
_CONSTANT_TEXT = frozenset({"distributed"})
_WARNING = re.compile(r"(?P<file>.*?):(?P<line>\d+): (?P<category>\w+): ")
_KINDS: Mapping[str, re.Pattern[str]] = MappingProxyType(
    {
        "uid": re.compile(r"[0-9.]{1,64}"),
        "ae_title": re.compile(r"[ -\[\]_-~]{1,16}"),  # PS3.5 section 6.2, less the caret, which names have
        "word": re.compile(r"[A-Za-z0-9_.@:+-]{1,128}"),
        "phrase": re.compile(r"[a-z0-9 ,.:;()<>=%/_+-]{1,200}"),  # lower case alone: the code's words, not a person's
        "host": re.compile(r"[A-Za-z0-9_.:%-]{1,255}"),
    }
)
ALLOWED_FIELDS: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys(
            ("study_instance_uid", "series_instance_uid", "sop_class_uid", "sop_instance_uid", "transfer_syntax_uid"),
            "uid",
        ),
        **dict.fromkeys(("frame_of_reference_uid", "result_uid"), "uid"),
        **dict.fromkeys(("ae_title", "called_ae_title", "calling_ae_title"), "ae_title"),
        **dict.fromkeys(("address", "host"), "host"),
        **dict.fromkeys(("bytes", "free_bytes", "limit_bytes"), "number"),
        **dict.fromkeys(("limit_s", "pause_s", "quiet_s", "seconds", "settle_s", "timeout_s", "wait_s"), "number"),
        **dict.fromkeys(("associations", "count", "deliveries", "destinations", "failures", "frames"), "number"),
        **dict.fromkeys(("instances", "jobs", "results", "series", "studies", "workers"), "number"),
        **dict.fromkeys(("attempt", "attempts", "exit_code", "limit", "line", "pid", "port"), "number"),
        **dict.fromkeys(("position", "revision", "signal"), "number"),
        **dict.fromkeys(("association", "delivery_id", "job_id", "message_id", "result_id"), "word"),
        **dict.fromkeys(("destination", "model", "name", "route", "service", "stage", "version", "worker"), "word"),
        **dict.fromkeys(("device", "kind", "modality", "outcome", "priority", "severity", "source", "state"), "word"),
        **dict.fromkeys(("category", "library", "scheduler"), "word"),
        **dict.fromkeys(("reason", "evidence"), "phrase"),
        "error": "error",
        "folder": "folder",
        "key": "word",
        "status": "status",
    }
)


class EventLogger:
    """Writes events of one part of the node."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(f"{_ROOT}.{name}")

    def debug(self, event: str, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._log(logging.WARNING, event, fields)

    def error(self, event: str, **fields: object) -> None:
        self._log(logging.ERROR, event, fields)

    def _log(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        if self._logger.isEnabledFor(level):
            safe = {name: value for key, given in fields.items() for name, value in _safe(key, given).items()}
            self._logger.log(level, "%s", event, extra={"event": event, "fields": safe})


def get(name: str) -> EventLogger:
    """The logger of a part of the node ("intake"). Cheap; silent below warning until `configure` was called."""
    return EventLogger(name)


def configure(
    level: str,
    format: Literal["text", "json"],  # noqa: A002 - the name of the key in config.yaml
    process: str,
    stream: IO[str] | None = None,
) -> None:
    """Send every log of this process, and what nothing catches, to `stream` (standard error).

    Called again, it replaces what it set before.

    level: debug, info, warning or error, of the node's own events. process: what this process is ("acceptor").
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_TextFormatter(process) if format == "text" else _JsonFormatter(process))
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    for name, least in _LIBRARIES.items():
        logging.getLogger(name or None).setLevel(least)
    for name, logger in list(logging.root.manager.loggerDict.items()):
        # A library's own handler would write its text past this one (distributed installs one on import).
        if isinstance(logger, logging.Logger) and name.split(".")[0] in _LIBRARIES:
            logger.handlers.clear()
            logger.propagate = True
    set_level(level)
    logging.captureWarnings(True)
    # When standard error breaks, the node works on; the default prints the record, arguments and all.
    logging.raiseExceptions = False
    _catch_uncaught()


def set_level(level: str) -> None:
    """Of the node's own events, from now on; what else `configure` was told stays."""
    logging.getLogger(_ROOT).setLevel(level.upper())


def _is_news(record: logging.LogRecord) -> bool:
    """False for what pynetdicom says of a connection or an association that failed: the node tells it, with the reason.

    The library's two or three lines each would leave its place alone. An error that it did not foresee is news.
    """
    if record.name.split(".")[0] != "pynetdicom":
        return True
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return error is not None and not isinstance(error, OSError)


def _catch_uncaught() -> None:
    """Log exceptions that nothing caught, in threads too, in place of Python's traceback, which quotes messages."""
    log = get("process")

    def of_process(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        log.error("uncaught exception", error=error.with_traceback(trace))

    def of_thread(args: threading.ExceptHookArgs) -> None:
        if not issubclass(args.exc_type, SystemExit):
            error = args.exc_value or args.exc_type()
            log.error("uncaught exception in a thread", error=error.with_traceback(args.exc_traceback))

    sys.excepthook = of_process
    threading.excepthook = of_thread
    sys.unraisablehook = lambda args: log.error("uncaught exception in a finalizer", error=args.exc_value)


def _safe(name: str, value: object) -> dict[str, object]:
    """The field as it may be written; an error becomes two fields."""
    kind = ALLOWED_FIELDS.get(name)
    if kind is None:
        return {"withheld": "a field that dicom_node.logs does not allow"}
    if value is None or isinstance(value, bool):
        return {name: value}
    if kind == "error":
        return _error_fields(value)
    shown = _CONVERTERS[kind](value) if kind in _CONVERTERS else _by_pattern(_KINDS[kind], value)
    return {name: f"(withheld, not a {kind.replace('_', ' ')})" if shown is None else shown}


def _by_pattern(pattern: re.Pattern[str], value: object) -> object:
    if isinstance(value, int):
        return value
    text = value.strip(" ") if isinstance(value, str) else ""
    return str(text) if pattern.fullmatch(text) else None


def _number(value: object) -> object:
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return round(value, 6) if math.isfinite(value) else str(value)
    return None


def _status(value: object) -> object:
    """A DIMSE status as PS3.7 annex C writes it."""
    return f"0x{value:04X}" if isinstance(value, int) and 0 <= value <= 0xFFFF else None


def _folder(value: object) -> object:
    """A folder that the configuration names; escaped when written, but not a path that holds received names."""
    return str(value)[:MAX_VALUE_CHARACTERS] if isinstance(value, PurePath) else None


def _host(value: object) -> object:
    try:
        return str(ipaddress.ip_address(str(value)))
    except ValueError:
        return _by_pattern(_KINDS["host"], value)


_CONVERTERS: Mapping[str, Callable[[object], object]] = MappingProxyType(
    {"number": _number, "status": _status, "folder": _folder, "host": _host}
)


def _error_fields(value: object) -> dict[str, object]:
    if not isinstance(value, BaseException):
        return {"error": "(withheld, not an exception)"}
    frames = traceback.extract_tb(value.__traceback__)[-_FRAMES:]
    shown: dict[str, object] = {"error": type(value).__name__}
    places = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames)]
    return shown | ({"at": " < ".join(places)} if places else {})


def _entry(record: logging.LogRecord, process: str) -> dict[str, object]:
    own = getattr(record, "fields", None)
    part = record.name.removeprefix(f"{_ROOT}.") if own is not None else "library"
    event, fields = (record.event, own) if own is not None else _of_library(record)  # type: ignore[attr-defined]
    time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    head = {"time": time, "level": record.levelname.lower(), "process": process, "part": part, "event": event}
    return head | fields


def _of_library(record: logging.LogRecord) -> tuple[str, dict[str, object]]:
    """Place and kind of a library's record, and its text where that is constant, its arguments not filled in."""
    fields: dict[str, object] = {"library": record.name, "source": f"{record.filename}:{record.lineno}"}
    error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    if error is not None:
        fields |= _error_fields(error)
    if record.name == "py.warnings":
        if found := _WARNING.match(record.getMessage()):
            fields |= {"source": f"{Path(found['file']).name}:{found['line']}", "category": found["category"]}
        return "warning of a library", fields
    trusted = record.name.split(".")[0] in _CONSTANT_TEXT
    constant = trusted and isinstance(record.msg, str) and bool(record.args)
    return (str(record.msg)[:MAX_VALUE_CHARACTERS] if constant else "message of a library"), fields


class _JsonFormatter(logging.Formatter):
    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        return json.dumps(_entry(record, self._process), ensure_ascii=True)


class _TextFormatter(_JsonFormatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = _entry(record, self._process)
        head = f"{entry.pop('time')} {entry.pop('level')} {entry.pop('process')} {entry.pop('part')}: "
        event = json.dumps(str(entry.pop("event")), ensure_ascii=True)[1:-1].replace('\\"', '"')
        return head + " ".join([event, *(f"{name}={_text(value)}" for name, value in entry.items())])


def _text(value: object) -> str:
    """A value as one token; anything but plain characters is quoted and escaped, control characters with it."""
    text = value if isinstance(value, str) else json.dumps(value)
    return text if re.fullmatch(r"[!#-<>-\[\]-~]+", text) else json.dumps(text, ensure_ascii=True)
