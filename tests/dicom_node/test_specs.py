"""What a worker is told of a job, by the configuration that holds when the job starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.config import Config
from dicom_node.errors import NodeError
from dicom_node.models import routable_models
from dicom_node.processes.dispatcher import spec_of
from tests.made_rows import House, open_house


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = open_house(tmp_path)
    yield made
    made.database.close()


def _config(*, enabled: bool) -> Config:
    return Config.model_validate({"models": [{"name": "ct_lung_density", "enabled": enabled}]})


def test_a_model_that_was_switched_off_starts_no_job_that_is_ready(house: House) -> None:
    on, off = _config(enabled=True), _config(enabled=False)
    job = house.ready_job(model=routable_models(on)["ct_lung_density"].package.key)
    spec_of(on, house, routable_models(on), job)  # type: ignore[arg-type]
    with pytest.raises(NodeError, match="switched off"):
        spec_of(off, house, routable_models(off), job)  # type: ignore[arg-type]


def test_a_model_that_was_switched_off_still_tells_why_nothing_is_analysed(house: House) -> None:
    off = _config(enabled=False)
    key = routable_models(off)["ct_lung_density"].package.key
    job = house.ready_job(model=key, give_up_reason="the acquisition was discontinued")
    spec = spec_of(off, house, routable_models(off), job)  # type: ignore[arg-type]
    assert spec.give_up_reason == "the acquisition was discontinued"
