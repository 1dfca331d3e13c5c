"""The tree of definitions: what is refused, what a key left out means, and that nothing changes afterwards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from dicom_node.config import Config
from dicom_node.config_destinations import DicomDestination, FolderDestination
from dicom_node.config_node import Access
from dicom_node.room import Marks
from dicom_node.room_gauge import marks_of

ROOT = Path(__file__).parents[2]
PACS = {"type": "dicom", "name": "pacs", "ae_title": "PACS", "address": "pacs.example.org", "port": 104}


def test_an_empty_file_is_a_whole_configuration() -> None:
    config = Config()
    assert config.node.ae_title == "DICOM-NODE"
    assert config.completeness.settle_s == 2
    assert config.completeness.quiet_s == 60
    assert config.engine.attempts == 3


def test_the_default_node_cannot_be_reached_from_another_machine() -> None:
    assert Config().node.address == "127.0.0.1"


def test_nothing_in_the_tree_can_be_changed() -> None:
    with pytest.raises(ValidationError):
        Config().node.port = 104


def test_lists_become_tuples() -> None:
    config = Config.model_validate({"destinations": [PACS | {"results": ["sr"]}]})
    assert config.destinations[0].results == ("sr",)
    assert isinstance(config.destinations, tuple)


def test_relative_paths_count_from_the_folder_of_the_file_even_where_the_key_is_left_out(tmp_path: Path) -> None:
    config = Config.model_validate(
        {"destinations": [{"type": "folder", "name": "out", "path": "results"}]}, context={"folder": tmp_path}
    )
    assert config.node.data_folder == tmp_path / "data"
    destination = config.destination("out")
    assert isinstance(destination, FolderDestination)
    assert destination.path == tmp_path / "results"
    assert config.database_url == f"sqlite:///{tmp_path}/data/node.sqlite3"
    assert config.objects_url == f"file://{tmp_path}/data/objects"


def test_urls_given_in_the_file_win() -> None:
    config = Config.model_validate({"storage": {"database_url": "sqlite:////srv/a.db", "objects_url": "file:///srv/b"}})
    assert config.database_url == "sqlite:////srv/a.db"
    assert config.objects_url == "file:///srv/b"


def test_a_database_url_is_never_printed() -> None:
    config = Config.model_validate({"storage": {"database_url": "sqlite:///canary-secret"}})
    assert "canary-secret" not in repr(config)
    assert "canary-secret" not in config.model_dump_json()
    with pytest.raises(ValidationError) as refused:
        Config.model_validate({"storage": {"database_url": "mysql://u:canary-secret@host/x"}})
    assert "canary-secret" not in str(refused.value)


def test_a_condition_comes_back_as_it_was_written() -> None:
    when = {"Modality": "CT", "SliceThickness": "<= 5"}
    route = {"name": "a", "models": ["m"], "destinations": ["pacs"], "when": when}
    config = Config.model_validate({"models": [{"name": "m"}], "destinations": [PACS], "routes": [route]})
    assert config.model_dump()["routes"][0]["when"] == {"Modality": ["CT"], "SliceThickness": ["<= 5"]}


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("node", "ae_title", "SEVENTEEN-LETTERS"),
        ("node", "ae_title", "BACK\\SLASH"),
        ("node", "ae_title", "NEW\nLINE"),
        ("node", "ae_title", "   "),
        ("node", "address", "scanner.example.org"),
        ("node", "port", 65536),
        ("node", "port", -1),
        ("node", "port", True),
        ("node", "port", 104.5),
        ("node", "max_pdu_bytes", 0),
        ("node", "max_pdu_bytes", 2**32),
        ("node", "acse_timeout_s", float("nan")),
        ("node", "acse_timeout_s", float("inf")),
        ("node", "acse_timeout_s", 0),
        ("node", "data_folder", "a\0b"),
        ("completeness", "settle_s", 61),
        ("storage", "objects_url", "s3://bucket"),
        ("storage", "min_free_bytes", -1),
        ("engine", "workers", 0),
        ("engine", "workers", "many"),
        ("engine", "scheduler", "tls://host"),
        ("engine", "scheduler", "http://host:80"),
        ("engine", "scheduler", "tls://host:99999"),
        ("logging", "format", "xml"),
        ("logging", "level", "loud"),
    ],
)
def test_an_impossible_value_is_refused(section: str, key: str, value: object) -> None:
    with pytest.raises(ValidationError):
        Config.model_validate({section: {key: value}})


@pytest.mark.parametrize("change", [{"port": 0}, {"address": "a b"}, {"address": "1.2.3"}, {"results": []}])
def test_a_destination_that_cannot_be_reached_is_refused(change: dict[str, Any]) -> None:
    assert DicomDestination.model_validate(PACS).port == 104
    with pytest.raises(ValidationError):
        DicomDestination.model_validate(PACS | change)


def test_a_kind_of_result_named_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="no kind twice"):
        DicomDestination.model_validate(PACS | {"results": ["sr", "sr"]})


def test_a_retry_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ValidationError, match="first_s <= max_s"):
        DicomDestination.model_validate(PACS | {"retry": {"first_s": 60, "max_s": 30}})


def test_access_that_lets_nobody_in_is_refused() -> None:
    with pytest.raises(ValidationError, match="nobody could send"):
        Access(open=False)


@pytest.mark.parametrize("addresses", [[], ["10.0.0.1/8"], ["host"], [5], "10.0.0.1"])
def test_an_ae_title_without_a_proper_address_lets_nobody_in(addresses: object) -> None:
    with pytest.raises(ValidationError):
        Access.model_validate({"requestors": [{"ae_title": "CT1", "addresses": addresses}]})


def test_a_route_may_only_name_what_is_configured() -> None:
    route = {"name": "a", "models": ["m"], "destinations": ["pacs"]}
    with pytest.raises(ValidationError, match=r"routes\[0\]\.models\[0\] must be the name of one of the models"):
        Config.model_validate({"destinations": [PACS], "routes": [route]})


def test_two_destinations_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="must be unique"):
        Config.model_validate({"destinations": [PACS, PACS]})


def test_names_are_looked_up() -> None:
    config = Config.model_validate({"models": [{"name": "m@1.0.0"}], "destinations": [PACS]})
    assert config.model("m@1.0.0").device == "auto"
    assert config.destination("pacs").name == "pacs"
    with pytest.raises(KeyError):
        config.model("m")


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ({}, (4 * 2**30, 2 * 2**30, 2**30)),
        ({"min_free_bytes": 10}, (40, 20, 10)),
        ({"min_free_bytes": 10, "pause_free_bytes": 10}, (20, 10, 10)),
        ({"min_free_bytes": 10, "pause_free_bytes": 30, "warn_free_bytes": 30}, (30, 30, 10)),
        ({"min_free_bytes": 0}, (0, 0, 0)),
    ],
)
def test_a_mark_of_the_disk_that_is_left_out_is_twice_the_next(
    marks: dict[str, int], expected: tuple[int, int, int]
) -> None:
    assert marks_of(Config.model_validate({"storage": marks})) == Marks(*expected)


@pytest.mark.parametrize(
    "marks",
    [
        {"min_free_bytes": 10, "pause_free_bytes": 9},
        {"min_free_bytes": 10, "pause_free_bytes": 30, "warn_free_bytes": 29},
        {"min_free_bytes": 10, "warn_free_bytes": 19},
    ],
)
def test_marks_of_the_disk_in_another_order_are_refused(marks: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="min_free_bytes <= pause_free_bytes <= warn_free_bytes"):
        Config.model_validate({"storage": marks})


def test_a_quota_that_is_no_more_than_the_first_mark_is_refused() -> None:
    marks = {"min_free_bytes": 2**20}
    Config.model_validate({"storage": marks | {"quota_bytes": 2**22 + 1}})
    with pytest.raises(ValidationError, match="quota_bytes > warn_free_bytes"):
        Config.model_validate({"storage": marks | {"quota_bytes": 2**22}})


@pytest.mark.parametrize("depth", [0, 65])
def test_sequences_may_nest_to_a_depth_that_readers_bear(depth: int) -> None:
    assert Config().node.limits.sequence_depth == 64
    with pytest.raises(ValidationError):
        Config.model_validate({"node": {"limits": {"sequence_depth": depth}}})
