"""Would the node start and work with this config.yaml, on this machine, now?

`check_config` looks and changes nothing; `render` shows what it found. Errors keep the node from working; warnings
are what a person should know.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import unquote, urlsplit

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from dicom_node.config import Config, Model
from dicom_node.config_destinations import DestinationTls, DicomDestination, FolderDestination
from dicom_node.config_file import load_config
from dicom_node.config_node import Tls
from dicom_node.config_sources import Find
from dicom_node.destinations.dicom import peer_of
from dicom_node.errors import ConfigError, Problem
from dicom_node.models import problem_of
from dicom_node.network.certificates import findings
from dicom_node.network.find import NotAsked, ask
from dicom_node.network.requestor import echo
from dicom_node.room import Place, judge
from dicom_node.room_gauge import marks_of
from dicom_node.sources import asked_peers
from dicom_node.sources import peer_of as peer_to_ask
from inference.confined.interpreter import missing_walls

ECHOES_AT_ONCE = 8


class EchoResult(Protocol):
    """Whether a peer answered a C-ECHO, in words, and how long that took."""

    @property
    def ok(self) -> bool: ...
    @property
    def detail(self) -> str: ...
    @property
    def seconds(self) -> float: ...


# Who is spoken to: results go to a destination, and others are asked what they hold.
Peer = DicomDestination | Find
Echo = Callable[[Peer, str], EchoResult]


@dataclass(frozen=True, slots=True)
class _NotFound:
    """The peer answers a C-ECHO, and would not answer a C-FIND."""

    detail: str
    seconds: float
    ok: bool = False


def echo_peer(peer: Peer, calling_ae_title: str) -> EchoResult:
    """C-ECHO from the node to a peer; one that is to be asked must accept C-FIND as well."""
    if isinstance(peer, DicomDestination):
        return echo(peer_of(peer, calling_ae_title))
    asked = peer_to_ask(peer, calling_ae_title)
    answer = echo(asked)
    if not answer.ok:
        return answer
    try:
        list(ask(asked, []))
    except NotAsked as error:
        return _NotFound(f"{answer.detail}; {error}", answer.seconds)
    return answer


def name_of(peer: Peer) -> str:
    """As the table of answers has it."""
    return peer.name if isinstance(peer, DicomDestination) else "(asked by C-FIND)"


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that the check found about a valid file. `key` is the key path it is about."""

    severity: Literal["error", "warning"]
    key: str
    text: str


@dataclass(frozen=True, slots=True)
class CheckReport:
    """All that a check found. `echoes` holds the peers that were asked, in the order of the file."""

    path: str
    problems: tuple[Problem, ...] = ()
    remarks: tuple[Remark, ...] = ()
    echoes: tuple[tuple[Peer, EchoResult], ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the node would start and reach every peer that was asked."""
        errors = any(remark.severity == "error" for remark in self.remarks)
        return not self.problems and not errors and all(result.ok for _, result in self.echoes)


def check_config(
    path: str | Path,
    connect: bool,
    echo: Echo = echo_peer,
    env: Mapping[str, str] = os.environ,
    model_problem: Callable[[Model], str | None] = problem_of,
) -> CheckReport:
    """Check the file and what it names on this machine.

    connect: also ask every DICOM peer, with `echo(peer, calling_ae_title)`. model_problem: what keeps a
    model from being found, or None.
    """
    try:
        config = load_config(path, env)
    except ConfigError as error:
        return CheckReport(str(path), problems=error.problems)
    remarks = (*_access(config), *_listening(config), *machine_remarks(config, model_problem), *_unused(config))
    return CheckReport(str(path), remarks=remarks, echoes=_echo_all(config, echo) if connect else ())


def machine_remarks(config: Config, model_problem: Callable[[Model], str | None]) -> tuple[Remark, ...]:
    """What is to be said of certificates, folders and models on this machine, now; ports are left out."""
    return (*_certificates(config), *_folders(config), *_models(config, model_problem))


def render(report: CheckReport) -> RenderableType:
    """The report for a terminal: problems with their lines, then remarks, then the peers."""
    parts: list[RenderableType] = [Text(str(problem), style="red") for problem in report.problems]
    for remark in report.remarks:
        style = "red" if remark.severity == "error" else "yellow"
        parts.append(Text.assemble((f"{remark.severity}: ", style), f"{remark.key}: {remark.text}"))
    if report.echoes:
        table = Table("destination", "AE title", "address", "answer", "seconds")
        for peer, result in report.echoes:
            address = f"{peer.address}:{peer.port}"
            answer = Text(result.detail, style="green" if result.ok else "red")
            seconds = f"{result.seconds:.2f}"
            table.add_row(Text(name_of(peer)), Text(peer.ae_title), Text(address), answer, seconds)
        parts.append(table)
    parts.append(Text(f"{report.path}: {_verdict(report)}", style="green" if report.ok else "red"))
    return Group(*parts)


def _verdict(report: CheckReport) -> str:
    if report.problems:
        return f"not valid, {_counted(len(report.problems), 'problem')}"
    errors = sum(remark.severity == "error" for remark in report.remarks)
    errors += sum(not result.ok for _, result in report.echoes)
    warnings = _counted(sum(remark.severity == "warning" for remark in report.remarks), "warning")
    return f"valid, but with {_counted(errors, 'error')} and {warnings}" if errors else f"valid, {warnings}"


def _counted(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _access(config: Config) -> Iterator[Remark]:
    if not config.access.open:
        return
    local = ip_address(config.node.address).is_loopback
    who = "every program of this machine" if local else f"every peer that reaches {config.node.address}"
    yield Remark("warning", "access.open", f"{who} may send: set open: false and name the requestors")
    if config.access.requestors:
        yield Remark("warning", "access.requestors", "has no effect while access.open is true")


def _listening(config: Config) -> Iterator[Remark]:
    """Whether the ports could be bound now; a node that is running already holds them."""
    node = config.node
    if node.tls is None or not node.tls.only:
        yield from _port(node.address, "node.port", node.port)
    if node.tls is not None:
        yield from _port(node.address, "node.tls.port", node.tls.port)


def _port(address: str, key: str, port: int) -> Iterator[Remark]:
    family = socket.AF_INET6 if ip_address(address).version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                text = f"{port} is in use on {address}: by this node if it is running, else choose another"
                yield Remark("warning", key, text)
            elif error.errno == errno.EACCES:
                yield Remark("error", key, f"{port} may not be opened by this user: choose one above 1023")
            else:
                yield Remark("error", "node.address", f"{address} cannot be listened on: {error.strerror}")


def _certificates(config: Config) -> Iterator[Remark]:
    """Those that the node shows and trusts, as acceptor and to each peer."""
    sections: list[tuple[str, Tls | DestinationTls | None]] = [("node.tls", config.node.tls)]
    for index, destination in enumerate(config.destinations):
        if isinstance(destination, DicomDestination):
            sections.append((f"destinations[{index}].tls", destination.tls))
    for index, source in enumerate(config.sources):
        if source.find is not None:
            sections.append((f"sources[{index}].find.tls", source.find.tls))
    for section, settings in sections:
        for found in findings(settings, datetime.now(UTC)) if settings is not None else ():
            yield Remark(found.severity, f"{section}.{found.key}", found.text)


def _folders(config: Config) -> Iterator[Remark]:
    """The data folder, the stores that lie elsewhere, and the destinations that are folders: writable, and with room."""
    folders = [("node.data_folder", config.node.data_folder)]
    if config.storage.objects_url:
        folders.append(("storage.objects_url", Path(unquote(urlsplit(config.storage.objects_url).path))))
    if config.storage.database_url:
        path = config.database_url.partition(":///")[2].partition("?")[0]
        folders.append(("storage.database_url", Path(path).absolute().parent))
    for index, destination in enumerate(config.destinations):
        if isinstance(destination, FolderDestination):
            folders.append((f"destinations[{index}].path", destination.path))
    for key, folder in folders:
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not existing.is_dir():
            yield Remark("error", key, f"{folder} is not a folder: {existing} is a file")
        elif not os.access(existing, os.W_OK | os.X_OK):
            yield Remark("error", key, f"{folder} is not writable: give this user write access to {existing}")
        else:
            yield from _room(config, key, existing)


def _room(config: Config, key: str, folder: Path) -> Iterator[Remark]:
    """What the node would do about the room that it has now; of a destination's folder, whether there is nearly none."""
    free_bytes = shutil.disk_usage(folder).free
    room = judge([Place(f"in {folder}", free_bytes)], marks_of(config))
    if key.startswith("destinations"):
        if room.level == "full":
            yield Remark("warning", key, f"{folder} has {free_bytes} bytes free, less than storage.min_free_bytes")
    elif room.level != "ok":
        yield Remark("warning", key, room.in_words())


def _unused(config: Config) -> Iterator[Remark]:
    """What is defined and has no effect, or is named and switched off."""
    if not config.routes:
        yield Remark("warning", "routes", "there are none: images are stored and nothing is analysed")
    disabled = {model.name for model in config.models if not model.enabled}
    for index, route in enumerate(config.routes):
        for name in route.models:
            if name in disabled:
                yield Remark("warning", f"routes[{index}].models", f"{name} is not enabled, so it is passed over")
    sections: Sequence[tuple[str, Sequence[str], set[str]]] = (
        ("models", [model.name for model in config.models], {name for route in config.routes for name in route.models}),
        (
            "destinations",
            [destination.name for destination in config.destinations],
            {name for route in config.routes for name in route.destinations},
        ),
    )
    for section, names, used in sections:
        for index, name in enumerate(names):
            if name not in used:
                yield Remark("warning", f"{section}[{index}]", f"no route names {name}")


def _models(config: Config, model_problem: Callable[[Model], str | None]) -> Iterator[Remark]:
    for index, model in enumerate(config.models):
        if model.enabled and (text := model_problem(model)):
            yield Remark("error", f"models[{index}]", text)
    if any(model.enabled and model.folder for model in config.models):
        for words in missing_walls():
            yield Remark(
                "warning", "engine", f"model processes cannot have all walls on this system; missing is {words}"
            )


def _echo_all(config: Config, ask: Echo) -> tuple[tuple[Peer, EchoResult], ...]:
    """Ask the peers side by side, so that dead ones cost one timeout together."""
    destinations = (destination for destination in config.destinations if isinstance(destination, DicomDestination))
    asked: list[Peer] = [*destinations, *asked_peers(config)]
    titles = [peer.calling_ae_title or config.node.ae_title for peer in asked]
    with ThreadPoolExecutor(ECHOES_AT_ONCE) as pool:
        return tuple(zip(asked, pool.map(ask, asked, titles), strict=True))
