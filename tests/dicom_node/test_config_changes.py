"""What an edit of config.yaml changes: named by key, never by value."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from dicom_node.config import Config
from dicom_node.config_changes import Change, changes
from dicom_node.config_docs import keys
from dicom_node.config_section import AT_START

BASE: dict[str, Any] = {
    "models": [{"name": "lung"}],
    "routes": [
        {"name": "ct", "models": ["lung"], "destinations": ["pacs"]},
        {"name": "stat", "models": ["lung"], "destinations": ["pacs"]},
    ],
    "destinations": [{"name": "pacs", "type": "dicom", "ae_title": "PACS1", "address": "pacs", "port": 104}],
}


def found(change: Any) -> list[str]:
    after = deepcopy(BASE)
    change(after)
    return [item.path for item in changes(Config.model_validate(BASE), Config.model_validate(after))]


def test_nothing_changed_where_the_values_are_the_same() -> None:
    assert changes(Config.model_validate(BASE), Config.model_validate({**BASE, "node": {"port": 11112}})) == ()


def test_a_key_is_named_by_its_path() -> None:
    assert found(lambda tree: tree["routes"][1].update(priority="stat")) == ["routes[1].priority"]
    assert found(lambda tree: tree["destinations"][0].update(retry={"first_s": 1})) == ["destinations[0].retry.first_s"]
    assert found(lambda tree: tree["routes"][0].update(when={"Modality": "CT"})) == ["routes[0].when"]


def test_an_entry_is_the_same_one_wherever_it_stands() -> None:
    new = {"name": "new", "models": ["lung"], "destinations": ["pacs"], "priority": "stat"}
    assert found(lambda tree: tree["routes"].insert(0, new)) == ["routes[0] added"]
    assert found(lambda tree: tree["routes"].pop(0)) == ["routes: ct removed"]
    assert found(lambda tree: tree["routes"].reverse()) == ["routes (order)"]


def test_a_destination_that_becomes_one_of_another_kind_is_named_as_a_whole() -> None:
    folder = {"name": "pacs", "type": "folder", "path": "out"}
    assert found(lambda tree: tree.update(destinations=[folder])) == ["destinations[0]"]


def test_requestors_of_one_ae_title_are_named_together() -> None:
    def closed(*addresses: str) -> Config:
        requestors = [{"ae_title": "CT1", "addresses": [address]} for address in addresses]
        return Config.model_validate({"access": {"open": False, "requestors": requestors}})

    two, other = closed("10.0.0.1", "10.0.0.2"), closed("10.0.0.1", "10.0.0.3")
    assert changes(two, other) == (Change("access.requestors"),)


@pytest.mark.parametrize(
    ("before", "after", "path"),
    [
        ({}, {"port": 104}, "node.port"),
        ({}, {"data_folder": "/elsewhere"}, "node.data_folder"),
        ({"acceptors": 1}, {"acceptors": 2}, "node.acceptors"),
        ({}, {"tls": {"certificate": "c", "key": "k", "require_certificate": False}}, "node.tls"),
        ({"tls": {"certificate": "c", "key": "k", "require_certificate": False}}, {}, "node.tls"),
    ],
)
def test_what_is_taken_at_start_is_told_apart(before: dict[str, Any], after: dict[str, Any], path: str) -> None:
    one, other = (Config.model_validate({"node": section}) for section in (before, after))
    assert changes(one, other) == (Change(path, at_start=True),)


def test_certificates_may_change_and_the_port_for_tls_may_not() -> None:
    one, other = (
        Config.model_validate(
            {"node": {"tls": {"certificate": name, "key": "k", "require_certificate": False, "port": port}}}
        )
        for name, port in (("c", 2762), ("d", 2763))
    )
    assert set(changes(one, other)) == {Change("node.tls.certificate"), Change("node.tls.port", at_start=True)}


def test_a_secret_that_changed_is_named_without_its_value() -> None:
    def tls(password: str) -> Config:
        section = {"certificate": "c", "key": "k", "require_certificate": False, "key_password": password}
        return Config.model_validate({"node": {"tls": section}})

    (change,) = changes(tls("old secret"), tls("new secret"))
    assert change == Change("node.tls.key_password")


def test_the_keys_that_are_taken_at_start_are_those_of_ports_processes_and_places() -> None:
    assert {path for path, field in keys() if field.json_schema_extra == AT_START} == {
        "node.address",
        "node.port",
        "node.acceptors",
        "node.data_folder",
        "node.tls.port",
        "node.tls.only",
        "storage.database_url",
        "storage.objects_url",
        "engine.scheduler",
        "engine.workers",
        "engine.threads_per_worker",
        "engine.memory_limit_bytes",
        "logging.format",
    }
