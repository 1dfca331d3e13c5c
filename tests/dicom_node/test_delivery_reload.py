"""Destinations that change while results are sent to them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dicom_node import delivery as delivery_module
from dicom_node.config import Config
from dicom_node.delivery import Delivery
from dicom_node.destinations.protocol import Outcome, Parcel
from tests.made_rows import House, open_house
from tests.ports import free_port
from tests.waiting import LIMIT_S, wait_until


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    house = open_house(tmp_path)
    yield house
    house.database.close()


def config_of(*destinations: dict[str, Any], **node: object) -> Config:
    return Config.model_validate({"destinations": destinations, "node": node})


def folder(path: Path, name: str = "PACS1", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": "folder", "path": str(path), **more}


def nobody(name: str = "PACS1") -> dict[str, Any]:
    """A PACS that is down, and is given up for an hour at the first failure."""
    patience = {"retry": {"first_s": 600}, "breaker": {"failures": 1, "pause_s": 3600}}
    return {"name": name, "type": "dicom", "ae_title": name, "address": "127.0.0.1", "port": free_port(), **patience}


@pytest.fixture
def sending(house: House) -> Iterator[Callable[[Config], Delivery]]:
    with ExitStack() as running:

        def start(config: Config) -> Delivery:
            delivery = Delivery(config, house)  # type: ignore[arg-type]
            running.callback(delivery.stop)
            delivery.start()
            return delivery

        yield start


Sending = Callable[[Config], Delivery]


def test_what_waits_for_a_destination_that_is_down_goes_at_once_where_it_is_now(
    house: House, sending: Sending, tmp_path: Path
) -> None:
    house.analysed_study()
    delivery = sending(config_of(nobody()))
    wait_until(lambda: house.events_of_kind("destination_down"))
    delivery.use(config_of(folder(tmp_path / "now")))
    wait_until(lambda: house.states() == {"delivered": 3})
    wait_until(lambda: [event.text for event in house.events_of_kind("destination_up")], "people are told")


def test_results_of_a_destination_that_is_removed_wait_and_go_when_it_is_back(
    house: House, sending: Sending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_module, "WATCH_S", 0.05)
    delivery = sending(config_of(folder(tmp_path / "here")))
    for count in (1, 2):
        delivery.use(config_of())
        house.analysed_study()
        wait_until(lambda wanted=count: len(house.events_of_kind("no_such_destination")) == wanted)  # type: ignore[misc]
        assert house.states()["waiting"] == 3
        delivery.use(config_of(folder(tmp_path / "here")))
        wait_until(lambda: "waiting" not in house.states())
    assert house.states() == {"delivered": 6}


def test_a_destination_that_is_added_is_served(house: House, sending: Sending, tmp_path: Path) -> None:
    delivery = sending(config_of(folder(tmp_path / "one", "PACS1")))
    house.analysed_study(destinations=("PACS1", "PACS2"))
    wait_until(lambda: house.states("PACS1") == {"delivered": 3})
    delivery.use(config_of(folder(tmp_path / "one", "PACS1"), folder(tmp_path / "two", "PACS2")))
    wait_until(lambda: house.states("PACS2") == {"delivered": 3})


class Slow:
    """A destination that takes as long as the test wants."""

    name = "PACS1"

    def __init__(self, log: list[str], mark: str) -> None:
        self.log, self.mark = log, mark
        self.begun, self.may_end = threading.Event(), threading.Event()

    def deliver(self, parcels: Sequence[Parcel]) -> tuple[Outcome, ...]:
        self.log.append(f"{self.mark} begins")
        self.begun.set()
        assert self.may_end.wait(LIMIT_S)
        self.log.append(f"{self.mark} ends")
        return tuple(Outcome(parcel.result.sop_instance_uid, "delivered", "stored") for parcel in parcels)


def test_settings_change_between_two_deliveries_and_never_two_send_at_once(
    house: House, sending: Sending, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log: list[str] = []
    opened = {str(tmp_path / name): Slow(log, name) for name in ("first", "second", "third")}
    monkeypatch.setattr(delivery_module, "open_destination", lambda settings, _: opened[str(settings.path)])
    first, second, third = opened.values()
    house.analysed_study()
    delivery = sending(config_of(folder(tmp_path / "first")))
    assert first.begun.wait(LIMIT_S)
    house.analysed_study()
    for name in ("second", "third"):
        delivery.use(config_of(folder(tmp_path / name)))
    for one in (second, third, first):
        one.may_end.set()
    wait_until(lambda: house.states() == {"delivered": 6})
    assert log == ["first begins", "first ends", "third begins", "third ends"]


def test_a_courier_whose_destination_did_not_change_goes_on(house: House, sending: Sending, tmp_path: Path) -> None:
    delivery = sending(config_of(nobody(name="DOWN"), folder(tmp_path / "one")))
    before = dict(delivery._couriers)
    delivery.use(delivery_of_same(delivery, folder(tmp_path / "other", "PACS2")))
    assert {name: delivery._couriers[name] is courier for name, courier in before.items()} == {
        "DOWN": True,
        "PACS1": True,
    }
    delivery.use(config_of(folder(tmp_path / "one"), ae_title="ANOTHER"))
    assert delivery._couriers["PACS1"] is not before["PACS1"]


def delivery_of_same(delivery: Delivery, more: dict[str, Any]) -> Config:
    served = [item.settings.model_dump() for item in delivery._served.values()]
    return config_of(*served, more)
