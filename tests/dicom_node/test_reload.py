"""An edit of config.yaml while the node runs: accepted whole, or refused whole with every reason."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_node.config import Config
from dicom_node.config_file import parse_config
from dicom_node.config_in_use import Follower, InUse
from dicom_node.errors import NodeError
from dicom_node.models import routable_models
from dicom_node.reload import STILL_S, Reload, standing
from dicom_node.supervisor import read_state
from inference import package, registry
from inference.package import BUILT_IN
from storage.records.events import Event
from tests.acceptance.node import configuration
from tests.made_rows import House, open_house

CANARY = "canary-of-the-key"


class Edited:
    """A configuration that is edited, and what becomes of it. The clock is turned by the test."""

    def __init__(self, folder: Path, tree: dict[str, Any]) -> None:
        self.file = folder / "config.yaml"
        self.tree = tree
        self.write(tree)
        self.in_use = InUse.of(folder / "run", self.file)
        content = self.file.read_bytes()
        config = parse_config(content, self.file)
        self.in_use.accept(content)
        self.now = 100.0
        self.events: list[Event] = []
        self.accepted: list[Config] = []
        self.reload = Reload(
            self.in_use,
            standing(content, config, routable_models(config)),
            record=self.events.append,
            on_accepted=self.accepted.append,
            clock=lambda: self.now,
        )
        self.settle()

    def write(self, tree: dict[str, Any]) -> None:
        self.text(yaml.safe_dump(tree))

    def text(self, text: str) -> None:
        part = self.file.with_suffix(".new")  # as editors do
        part.write_text(text)
        part.replace(self.file)

    def settle(self) -> None:
        """Let the file stand still for as long as it takes."""
        self.reload.step()
        self.now += STILL_S
        self.reload.step()

    def edit(self, **sections: Any) -> Event:
        """What is said of the file with these sections instead of what it had."""
        self.tree = deepcopy(self.tree) | sections
        self.write(self.tree)
        return self.said()

    def said(self) -> Event:
        before = len(self.events)
        self.settle()
        (event,) = self.events[before:]
        return event

    @property
    def refused(self) -> list[str]:
        state = read_state(self.in_use.accepted.parent, "config")
        assert state
        return list(state["refused"])


@pytest.fixture
def edited(tmp_path: Path) -> Edited:
    return Edited(tmp_path, configuration())


def test_an_edit_is_accepted_with_the_keys_that_it_changes(edited: Edited) -> None:
    event = edited.edit(completeness={"settle_s": 1}, logging={"level": "debug"})
    assert (event.kind, event.severity) == ("config_reloaded", "info")
    assert event.text == "config.yaml was reloaded: completeness.settle_s, logging.level"
    assert event.data == {"keys": ["completeness.settle_s", "logging.level"]}
    assert edited.in_use.load()[0] == edited.accepted[0] == parse_config(edited.file.read_bytes(), edited.file)
    assert edited.accepted[0].completeness.settle_s == 1


def test_a_file_that_was_not_edited_is_no_news(edited: Edited) -> None:
    edited.file.touch()
    edited.settle()
    assert edited.events == []


def test_a_file_is_left_alone_until_it_stands_still(edited: Edited) -> None:
    for settle_s in (0.5, 0.6, 0.7):
        edited.write(edited.tree | {"completeness": {"settle_s": settle_s}})
        edited.reload.step()
        edited.now += STILL_S / 2
        edited.reload.step()
    assert edited.accepted == []
    edited.settle()
    assert [config.completeness.settle_s for config in edited.accepted] == [0.7]


@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_half_written_file_is_refused_and_the_one_in_use_stays(edited: Edited, part: float) -> None:
    before = edited.in_use.content()
    whole = yaml.safe_dump(edited.tree | {"storage": {"min_free_bytes": "50 MB", "zz_last": [1, 2]}}, indent=2)
    edited.text(whole[: int(len(whole) * part)] + "\n: [")
    event = edited.said()
    assert (event.kind, event.severity) == ("config_refused", "alarm")
    assert event.text.startswith("config.yaml was refused, the one in use stays: ")
    assert edited.in_use.content() == before
    assert edited.refused
    assert edited.accepted == []


def test_every_reason_is_told_at_once(edited: Edited, tmp_path: Path) -> None:
    (tmp_path / "plain file").touch()
    event = edited.edit(
        node={"port": 104, "data_folder": "elsewhere"},
        engine={"workers": 7},
        destinations=[{"name": "results", "type": "folder", "path": "plain file"}],
    )
    reasons = event.data["reasons"]
    for path in ("node.port", "node.data_folder", "engine.workers"):
        assert f"config.yaml: {path}: cannot change while the node runs; it needs a restart" in reasons
    assert [reason for reason in reasons if "destinations[0].path" in reason and "is not a folder" in reason]
    assert edited.refused == reasons
    assert edited.accepted == []


def test_an_empty_file_is_refused(edited: Edited) -> None:
    edited.text("# nothing left\n")
    assert "holds no key" in edited.said().text


def test_a_file_that_is_gone_is_refused_and_is_in_use_again_when_it_is_back(edited: Edited) -> None:
    text = edited.file.read_text()
    edited.file.unlink()
    assert "cannot be read" in edited.said().text
    edited.text(text)
    event = edited.said()
    assert (event.kind, event.text) == ("config_unchanged", "config.yaml was looked at: it is again the one in use")
    assert edited.refused == []


def test_asked_without_a_change_it_says_so_at_once(edited: Edited) -> None:
    edited.reload.ask()
    edited.reload.step()
    (event,) = edited.events
    assert (event.kind, event.text) == ("config_unchanged", "config.yaml was looked at: nothing changed")
    edited.reload.step()
    assert len(edited.events) == 1


def test_asked_after_an_edit_nobody_waits_for_the_file_to_stand_still(edited: Edited) -> None:
    edited.write(edited.tree | {"completeness": {"settle_s": 1}})
    edited.reload.ask()
    edited.reload.step()
    assert [event.kind for event in edited.events] == ["config_reloaded"]


def test_a_comment_changes_no_key_and_is_kept(edited: Edited) -> None:
    edited.text("# by night\n" + edited.file.read_text())
    assert edited.said().text == "config.yaml was looked at: no key changed"
    assert edited.in_use.content().startswith(b"# by night")


def test_secrets_are_told_neither_where_they_change_nor_where_they_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEY_PASSWORD", CANARY)
    edited = Edited(tmp_path, configuration())
    tls = {"ca": "none.pem", "certificate": "none.pem", "key": "none.pem", "key_password": "${KEY_PASSWORD}"}
    place = {"name": "results", "type": "dicom", "ae_title": "P", "address": "127.0.0.1", "port": 104, "tls": tls}
    refused = edited.edit(destinations=[place], storage={"database_url": f"postgresql://node:{CANARY}@db/node"})
    again = edited.edit(storage={"min_free_bytes": "50 MB", "prepared_packs": 0})
    state = (edited.in_use.accepted.parent / "config.json").read_text()
    assert "database_url" in refused.text
    assert "destinations[0].tls" in again.text
    for text in (repr(refused), repr(again), state, edited.in_use.content().decode()):
        assert CANARY not in text


def test_what_is_accepted_is_for_this_user_alone(edited: Edited) -> None:
    edited.edit(completeness={"settle_s": 1})
    assert stat.S_IMODE(edited.in_use.accepted.stat().st_mode) == 0o600
    assert [path.name for path in edited.in_use.accepted.parent.iterdir() if path.suffix == ".part"] == []


def test_relative_paths_count_from_the_folder_of_the_file_that_is_edited(edited: Edited, tmp_path: Path) -> None:
    config = InUse.told(edited.in_use.in_words()).load()[0]
    assert config.node.data_folder == tmp_path / "data"


def test_what_was_wrong_already_does_not_stand_in_the_way(edited: Edited, tmp_path: Path) -> None:
    (tmp_path / "results").touch()  # the folder of the destination is a file by now
    assert edited.edit(completeness={"settle_s": 1}).kind == "config_reloaded"
    event = edited.edit(destinations=[{"name": "results", "type": "folder", "path": "results/below"}])
    assert event.kind == "config_refused"


def test_a_model_that_cannot_be_verified_is_refused(edited: Edited) -> None:
    event = edited.edit(models=[{"name": "ct_lung_density"}, {"name": "none", "folder": "no-such-folder"}])
    assert event.kind == "config_refused"
    assert "models[1]" in event.text


def test_a_package_that_was_changed_in_its_place_needs_a_restart_and_a_broken_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = tmp_path / "models"
    shutil.copytree(BUILT_IN / "ct_lung_density", installed / "ct_lung_density")
    for module in (package, registry):
        monkeypatch.setattr(module, "BUILT_IN", installed)
    edited = Edited(tmp_path, configuration())
    (installed / "ct_lung_density" / "notes.txt").write_text("another content")
    edited.reload.ask()
    assert "models[0]: its package" in (text := edited.said().text)
    assert "was changed; that needs a restart" in text
    (installed / "ct_lung_density" / "notes.txt").unlink()
    assert edited.edit(completeness={"settle_s": 1}).kind == "config_reloaded"
    shutil.rmtree(installed / "ct_lung_density")
    assert edited.edit(completeness={"settle_s": 3}).kind == "config_refused"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path)
    yield house
    house.database.close()


def test_a_process_takes_up_what_is_accepted_once_and_goes_on_where_it_cannot(edited: Edited, house: House) -> None:
    taken: list[float] = []

    def take_up(config: Config) -> None:
        taken.append(config.completeness.settle_s)
        if config.completeness.settle_s == 3:
            raise NodeError("a file that it names is gone")

    follower = Follower(edited.in_use, edited.in_use.load()[1], take_up, house.events, "acceptor-1")
    follower.step()
    for settle_s in (1, 3, 4):
        edited.edit(completeness={"settle_s": settle_s})
        follower.step()
        follower.step()
    assert taken == [1, 3, 4]
    (event,) = house.events_of_kind("config_refused")
    assert event.severity == "alarm"
    assert "the acceptor-1 goes on with the configuration before: a file that it names is gone" in event.text


def test_what_is_accepted_while_a_process_starts_is_not_missed(edited: Edited, house: House) -> None:
    taken: list[float] = []
    _, taken_up = edited.in_use.load()
    edited.edit(completeness={"settle_s": 1})
    follower = Follower(
        edited.in_use, taken_up, lambda config: taken.append(config.completeness.settle_s), house.events, "dispatcher"
    )
    follower.step()
    assert taken == [1]
