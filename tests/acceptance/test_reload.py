"""config.yaml is edited while the node runs: what is whole and right is taken up, and nothing under way is disturbed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydicom import dcmread
from pynetdicom import AE

from dicom_node.config_in_use import why_not_in_use
from storage.records.events import Event
from tests.acceptance.node import NodeUnderTest, configuration, kill
from tests.acceptance.studies import Study, made_study
from tests.dicom_node.peers import data_set_bytes
from tests.dicom_node.raw_scu import RawScu, associated
from tests.encoded import CT_IMAGE_STORAGE, EXPLICIT_LITTLE
from tests.waiting import PATIENCE_S, wait_until

pytestmark = pytest.mark.timeout(PATIENCE_S)

CT = (CT_IMAGE_STORAGE, EXPLICIT_LITTLE)
CANARY = "canary-of-the-database"


class Edited:
    """A node that runs, and the file that it was started with."""

    def __init__(self, folder: Path) -> None:
        self.tree = configuration(completeness={"settle_s": 0.5, "quiet_s": 60}, logging={"level": "error"})
        self.tree["node"]["acceptors"] = 2
        self.node = NodeUnderTest(folder, self.tree)

    def edit(self, **sections: Any) -> Event:
        """What the node says of the file with these sections."""
        self.tree = deepcopy(self.tree) | sections
        return self.write(yaml.safe_dump(self.tree))

    def write(self, text: str) -> Event:
        before = self.said()
        self.node.config_path.write_text(text)
        wait_until(lambda: len(self.said()) > len(before), "the node looks at the file")
        return self.said()[len(before)]

    def said(self) -> list[Event]:
        kinds = {"config_reloaded", "config_refused", "config_unchanged"}
        events = self.node.stores.events.recent(severities=("info", "warning", "alarm"), limit=1000)
        return [event for event in reversed(events) if event.kind in kinds]

    def hang_up(self) -> None:
        assert self.node.process
        os.kill(self.node.process.pid, signal.SIGHUP)

    @property
    def pids(self) -> dict[str, int | None]:
        return {name: self.node.pid(name) for name in self.node.process_names}


@pytest.fixture(scope="module")
def edited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edited]:
    edited = Edited(tmp_path_factory.mktemp("node"))
    with edited.node.running():
        yield edited


def association(edited: Edited, calling_ae_title: str = "CT1") -> AbstractContextManager[RawScu]:
    return associated(edited.node.port, [CT], calling_ae_title=calling_ae_title)


def is_turned_away(edited: Edited, calling_ae_title: str) -> bool:
    entity = AE(calling_ae_title)
    entity.add_requested_context(CT_IMAGE_STORAGE)
    return entity.associate("127.0.0.1", edited.node.port).is_rejected


def store(scu: RawScu, files: list[Path]) -> None:
    for path in files:
        uid = str(dcmread(path, specific_tags=["SOPInstanceUID"]).SOPInstanceUID)
        response = scu.store(data_set_bytes(path.read_bytes()), CT, sop_instance_uid=uid)
        assert response is not None
        assert response.Status == 0


def push(edited: Edited, study: Study) -> None:
    with association(edited) as one:
        store(one, study.files)


def jobs(edited: Edited, study: Study) -> list[tuple[str, int, str, tuple[str, ...]]]:
    """Of each: how it stands, attempts, priority, and where its results go."""
    account = edited.node.account(study.uid)
    found = [entry.job for entry in account.jobs] if account else []
    return [(job.state, job.attempt, job.priority, tuple(job.destinations)) for job in found]


def taken_up(edited: Edited) -> int:
    """How often a process took a configuration up."""
    return edited.node.log().count("config: configuration taken up")


def delivered(edited: Edited, study: Study) -> set[str]:
    account = edited.node.account(study.uid)
    return {item.destination for item in account.deliveries if item.state == "delivered"} if account else set()


def test_an_edit_holds_for_what_comes_and_a_job_and_an_association_under_way_end_as_they_began(
    edited: Edited, tmp_path: Path
) -> None:
    running, under_way, after = (made_study(tmp_path, f"reload-{number}") for number in (1, 2, 3))
    before = edited.pids
    with association(edited, "CT2") as open_before:
        store(open_before, under_way.files[:20])
        with edited.node.paused_worker():
            push(edited, running)
            wait_until(lambda: [state for state, *_ in jobs(edited, running)] == ["running"])
            route = dict(edited.tree["routes"][0], priority="stat", destinations=["more"])
            event = edited.edit(
                routes=[route],
                destinations=[{"name": "more", "type": "folder", "path": "more"}, *edited.tree["destinations"]],
                logging={"level": "info"},
            )
            assert event.text == (
                "config.yaml was reloaded: routes[0].destinations, routes[0].priority, destinations[0] added, "
                "logging.level"
            )
        store(open_before, under_way.files[20:])
    push(edited, after)
    for study in (running, under_way, after):
        wait_until(lambda study=study: edited.node.settled(study.uid))  # type: ignore[misc]
    assert jobs(edited, running) == [("done", 1, "routine", ("results",))]
    assert jobs(edited, under_way) == jobs(edited, after) == [("done", 1, "stat", ("more",))]
    assert [delivered(edited, study) for study in (running, under_way, after)] == [{"results"}, {"more"}, {"more"}]
    assert edited.pids == before
    assert "dispatcher dispatch: job ended" in edited.node.log()  # which the level before would have left out
    wait_until(lambda: taken_up(edited) == len(before), "each process took it up once")


def test_an_edit_that_is_wrong_is_refused_with_the_reason_and_the_node_serves_on(edited: Edited) -> None:
    good = yaml.safe_dump(edited.tree)
    refused = edited.write(good.replace("priority: stat", "priority: stta"))
    assert (refused.kind, refused.severity) == ("config_refused", "alarm")
    assert "routes[0].priority" in refused.text
    assert "did you mean stat?" in refused.text
    status = edited.node.cli("status")
    assert (status.returncode, status.stderr) == (0, "")
    assert "config.yaml on disk is not the one in use: " in status.stdout
    assert "did you mean stat?" in status.stdout

    elsewhere = edited.tree["node"] | {"port": 104, "ae_title": "OTHER"}
    refused = edited.write(yaml.safe_dump(edited.tree | {"node": elsewhere}))
    assert "node.port: cannot change while the node runs; it needs a restart" in refused.text
    secret = edited.tree["storage"] | {"database_url": f"sqlite:///{CANARY}/node.sqlite3"}
    assert "storage.database_url" in edited.write(yaml.safe_dump(edited.tree | {"storage": secret})).text
    states = [path.read_text() for path in edited.node.stores.run_folder.iterdir()]
    assert CANARY not in edited.node.log() + repr(edited.said()) + repr(states)

    with association(edited) as one:
        assert one.association.is_established
    assert edited.write(good).text == "config.yaml was looked at: it is again the one in use"
    assert why_not_in_use(edited.node.stores.run_folder, edited.node.config_path) is None


def test_a_process_that_is_killed_after_a_half_written_edit_comes_back_with_what_was_accepted(
    edited: Edited, tmp_path: Path
) -> None:
    good = edited.node.config_path.read_text()
    assert edited.write(good[: len(good) // 2] + "\n  - {").kind == "config_refused"
    before = edited.pids
    for pid in before.values():
        assert pid
        kill(pid)
    wait_until(lambda: all(edited.pids[name] != pid for name, pid in before.items()), "each is started again")
    study = made_study(tmp_path, "reload-5")
    push(edited, study)
    wait_until(lambda: edited.node.settled(study.uid))
    assert jobs(edited, study) == [("done", 1, "stat", ("more",))]
    assert edited.node.stores.events.count("process_restarted") == len(before)
    edited.write(good)


def test_hanging_up_without_an_edit_says_that_nothing_changed(edited: Edited) -> None:
    before = len(edited.said())
    edited.hang_up()
    wait_until(lambda: len(edited.said()) > before)
    assert edited.said()[-1].text == "config.yaml was looked at: nothing changed"


def test_access_that_is_closed_turns_away_who_comes_and_not_who_is_there(edited: Edited, tmp_path: Path) -> None:
    study, before = made_study(tmp_path, "reload-6"), taken_up(edited)
    with association(edited, "CT9") as there:
        store(there, study.files[:5])
        known = {"ae_title": "CT1", "addresses": ["127.0.0.1"]}
        assert edited.edit(access={"open": False, "requestors": [known]}).kind == "config_reloaded"
        wait_until(lambda: taken_up(edited) == before + len(edited.pids), "each took it up")
        assert all(is_turned_away(edited, "CT9") for _ in range(4)), "whichever process takes it"
        with association(edited, "CT1") as known_one:
            assert known_one.association.is_established
        store(there, study.files[5:])
        assert there.association.is_established
    assert "Traceback" not in edited.node.log()
