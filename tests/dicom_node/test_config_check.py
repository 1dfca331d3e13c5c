"""What `check` finds before a node starts: everything at once, and it changes nothing."""

from __future__ import annotations

import io
import os
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dicom_node.config import Model
from dicom_node.config_check import CheckReport, check_config, echo_peer, render
from dicom_node.config_destinations import DicomDestination
from dicom_node.config_sources import Find
from tests.dicom_node.finding import FindScp
from tests.dicom_node.peers import AnsweringScp
from tests.ports import free_port

VALID = """
node: {port: 0}
access: {open: false, requestors: [{ae_title: CT1, addresses: [10.0.0.1]}]}
storage: {min_free_bytes: 0}
models: [{name: ct_lung_density}]
routes: [{name: r, models: [ct_lung_density], destinations: [out, pacs, archive]}]
destinations:
  - {type: folder, name: out, path: out}
  - {type: dicom, name: pacs, ae_title: PACS, address: pacs.example.org, port: 104}
  - {type: dicom, name: archive, ae_title: ARCHIVE, address: 10.0.0.2, port: 104, calling_ae_title: OTHER}
"""


@dataclass(frozen=True)
class Answer:
    ok: bool = True
    detail: str = "C-ECHO answered"
    seconds: float = 0.01


def nobody(destination: DicomDestination, calling_ae_title: str) -> Answer:
    raise AssertionError(f"{destination.name} was asked by {calling_ae_title}")


Check = Callable[..., CheckReport]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    def check(text: str, connect: bool = False, echo: Any = nobody, **more: Any) -> CheckReport:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return check_config(path, connect, echo, env={}, **more)

    return check


def shown(report: CheckReport) -> str:
    screen = Console(file=io.StringIO(), width=200, color_system=None)
    screen.print(render(report))
    return screen.file.getvalue()  # type: ignore[attr-defined, no-any-return]


def keys(report: CheckReport) -> list[str]:
    return [remark.key for remark in report.remarks]


def test_a_file_without_fault_is_said_to_be_valid(check: Check) -> None:
    report = check(VALID)
    assert report.ok
    assert report.remarks == ()
    assert shown(report).rstrip().endswith("config.yaml: valid, no warnings")


def test_the_check_makes_no_folder(check: Check, tmp_path: Path) -> None:
    check(VALID)
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_every_problem_of_a_wrong_file_is_shown(check: Check) -> None:
    report = check("node:\n  prot: 1\nlogging:\n  level: loud\n")
    assert not report.ok
    text = shown(report)
    assert "config.yaml:2: node.prot: unknown key, did you mean port?" in text
    assert "config.yaml:4: logging.level: must be debug, info, warning or error" in text
    assert "not valid, 2 problems" in text


def test_without_connect_no_destination_is_asked(check: Check) -> None:
    assert check(VALID, connect=False, echo=nobody).echoes == ()


def test_with_connect_every_destination_is_asked_with_its_own_calling_ae_title(check: Check) -> None:
    asked: list[tuple[str, str]] = []

    def echo(destination: DicomDestination, calling_ae_title: str) -> Answer:
        asked.append((destination.name, calling_ae_title))
        return Answer()

    report = check(VALID, connect=True, echo=echo)
    assert report.ok
    assert sorted(asked) == [("archive", "OTHER"), ("pacs", "DICOM-NODE")]
    assert [destination.name for destination, _ in report.echoes] == ["pacs", "archive"]


ASKED = """
sources:
  - {ae_titles: [CT1], find: {ae_title: PACS, address: 127.0.0.1, port: PORT, calling_ae_title: ASKS}}
  - {ae_titles: [CT2], find: {ae_title: PACS, address: 127.0.0.1, port: PORT, calling_ae_title: ASKS}}
"""


def test_with_connect_those_who_are_asked_what_there_is_are_echoed_too_each_once(check: Check) -> None:
    asked: list[tuple[str, str]] = []

    def echo(peer: DicomDestination | Find, calling_ae_title: str) -> Answer:
        asked.append((peer.address, calling_ae_title))
        return Answer()

    report = check(VALID + ASKED.replace("PORT", "104"), connect=True, echo=echo)
    assert report.ok
    assert asked.count(("127.0.0.1", "ASKS")) == 1
    assert "(asked by C-FIND)" in shown(report)


def test_who_is_to_be_asked_must_accept_c_find(check: Check) -> None:
    finds, stores = FindScp(free_port()), AnsweringScp(free_port())
    with finds.running(), stores.running():
        for scp, is_fine in ((finds, True), (stores, False)):
            text = ASKED.replace("PORT", str(scp.port)) + "\nnode: {port: 0}\n"
            report = check(text, connect=True, echo=echo_peer)
            assert report.ok == is_fine
            assert ("does not accept C-FIND" in shown(report)) != is_fine


def test_destinations_are_asked_side_by_side(check: Check) -> None:
    both = threading.Barrier(2, timeout=30)

    def echo(destination: DicomDestination, calling_ae_title: str) -> Answer:
        both.wait()
        return Answer()

    assert check(VALID, connect=True, echo=echo).ok


def test_a_destination_that_does_not_answer_is_shown_and_fails_the_check(check: Check) -> None:
    def echo(destination: DicomDestination, calling_ae_title: str) -> Answer:
        return Answer() if destination.name == "pacs" else Answer(ok=False, detail="[red]refused", seconds=1.5)

    report = check(VALID, connect=True, echo=echo)
    assert not report.ok
    assert "[red]refused" in shown(report)
    assert "with 1 error and no warnings" in shown(report)


def test_an_open_node_is_warned_of(check: Check) -> None:
    report = check(VALID.replace("open: false", "open: true"))
    assert keys(report) == ["access.open", "access.requestors"]
    assert report.ok
    opened = check(VALID.replace("open: false", "open: true").replace("port: 0", "port: 0, address: 0.0.0.0"))
    assert "every peer that reaches 0.0.0.0 may send" in shown(opened)


def test_a_port_in_use_is_warned_of(check: Check) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        report = check(VALID.replace("port: 0", f"port: {taken.getsockname()[1]}", 1))
    assert keys(report) == ["node.port"]
    assert "in use" in report.remarks[0].text
    assert report.ok


def test_an_address_of_another_machine_cannot_be_listened_on(check: Check) -> None:
    report = check(VALID.replace("port: 0", "port: 0, address: 192.0.2.1", 1))
    assert keys(report) == ["node.address"]
    assert not report.ok


def test_a_data_folder_that_is_a_file_is_an_error(check: Check, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    report = check(VALID)
    assert keys(report) == ["node.data_folder"]
    assert not report.ok


def test_a_folder_that_may_not_be_written_is_an_error(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "out").mkdir()
    allowed = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "out" and allowed(path, mode))
    report = check(VALID)
    assert keys(report) == ["destinations[0].path"]
    assert "is not writable" in shown(report)


def test_a_disk_without_room_is_warned_of(check: Check) -> None:
    report = check(VALID.replace("min_free_bytes: 0", "min_free_bytes: 1000000 TiB"))
    assert keys(report) == ["node.data_folder", "destinations[0].path"]
    assert "less than storage.min_free_bytes" in report.remarks[0].text
    assert "instances are refused and routine jobs wait" in report.remarks[0].text


def test_each_mark_of_each_folder_of_the_node_is_warned_of(check: Check, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    for marks, words in (
        ("pause_free_bytes: 1000000 TiB", "less than storage.pause_free_bytes (1000000 TiB): routine jobs wait"),
        ("warn_free_bytes: 1000000 TiB", "less than storage.warn_free_bytes (1000000 TiB): make room"),
    ):
        stores = f"objects_url: file://{elsewhere}/objects, database_url: 'sqlite:///{elsewhere}/node.sqlite3'"
        report = check(VALID.replace("min_free_bytes: 0", f"min_free_bytes: 0, {marks}, {stores}"))
        assert keys(report) == ["node.data_folder", "storage.objects_url", "storage.database_url"]
        assert all(words in remark.text for remark in report.remarks)


def test_what_no_route_names_is_warned_of(check: Check) -> None:
    text = VALID.replace("destinations: [out, pacs, archive]", "destinations: [out]")
    assert keys(check(text)) == ["destinations[1]", "destinations[2]"]
    assert "routes" in keys(check("storage: {min_free_bytes: 0}\nnode: {port: 0}\n"))


def test_a_route_to_a_model_that_is_switched_off_is_warned_of(check: Check) -> None:
    assert keys(check(VALID.replace("{name: ct_lung_density}", "{name: ct_lung_density, enabled: false}"))) == [
        "routes[0].models"
    ]


def test_a_model_that_cannot_be_loaded_is_an_error(check: Check) -> None:
    def model_problem(model: Model) -> str | None:
        return f"{model.name} is not installed"

    report = check(VALID, model_problem=model_problem)
    assert keys(report) == ["models[0]"]
    assert not report.ok
    off = VALID.replace("{name: ct_lung_density}", "{name: ct_lung_density, enabled: false}")
    assert check(off, model_problem=model_problem).ok


def test_a_model_that_is_not_installed_is_an_error(check: Check) -> None:
    report = check(VALID.replace("ct_lung_density", "ct_lung_density@99.0.0"))
    assert keys(report) == ["models[0]"]
    assert "is not installed" in shown(report)


def test_a_folder_without_a_model_package_is_an_error(check: Check) -> None:
    report = check(VALID.replace("{name: ct_lung_density}", "{name: ct_lung_density, folder: empty}"))
    assert keys(report) == ["models[0]"]


def test_a_destination_where_nothing_listens_fails_the_check(check: Check) -> None:
    place = f"address: 127.0.0.1, port: {free_port()}"
    text = VALID.replace("address: pacs.example.org, port: 104", place).replace("address: 10.0.0.2, port: 104", place)
    report = check(text, connect=True, echo=echo_peer)
    assert not report.ok
    assert all(result.detail and not result.ok for _, result in report.echoes)
