"""What the configuration says of one who sends: whom to ask, and how long to wait."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from dicom_node.completeness_rules import rules_by_source
from dicom_node.config import Config
from dicom_node.sources import asked_peers, peer_of

FIND = {"ae_title": "PACS1", "address": "10.0.0.5", "port": 104}


def configured(*sources: dict[str, Any], **more: Any) -> Config:
    return Config.model_validate({"sources": list(sources), **more})


def waits(config: Config, calling_ae_title: str) -> tuple[float, float]:
    rules = rules_by_source(config)(calling_ae_title)
    return rules.settle_s, rules.quiet_s


def test_what_a_source_says_holds_for_its_ae_titles_alone() -> None:
    config = configured({"ae_titles": ["CT1", "CT2"], "settle_s": 1, "quiet_s": 30}, completeness={"held_s": 7})
    assert waits(config, "CT1") == waits(config, "CT2") == (1, 30)
    assert waits(config, "MR1") == (2, 60)
    assert rules_by_source(config)("CT1").held_s == 7


@pytest.mark.parametrize(
    ("source", "expected"),
    [({}, (2, 60)), ({"settle_s": 90}, (90, 90)), ({"quiet_s": 1}, (1, 1)), ({"settle_s": 0}, (0, 60))],
)
def test_what_a_source_does_not_say_gives_way_to_what_it_says(
    source: dict[str, Any], expected: tuple[float, float]
) -> None:
    assert waits(configured({"ae_titles": ["CT1"], **source}), "CT1") == expected


def test_a_source_that_waits_longer_with_evidence_than_without_is_refused() -> None:
    with pytest.raises(ValidationError, match="settle_s <= quiet_s"):
        configured({"ae_titles": ["CT1"], "settle_s": 3, "quiet_s": 2})


def test_an_ae_title_of_two_sources_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"sources\[1\].ae_titles\[1\] must stand in one source"):
        configured({"ae_titles": ["CT1"]}, {"ae_titles": ["CT2", "CT1 "]})


def test_a_source_without_ae_titles_is_refused() -> None:
    with pytest.raises(ValidationError):
        configured({"ae_titles": []})


def test_sources_that_are_asked_about_at_one_peer_are_asked_about_together() -> None:
    config = configured(
        {"ae_titles": ["CT1"], "find": FIND},
        {"ae_titles": ["CT2"]},
        {"ae_titles": ["CT3", "CT4"], "find": FIND},
        {"ae_titles": ["CT5"], "find": FIND | {"port": 105}},
    )
    assert [(find.port, titles) for find, titles in asked_peers(config).items()] == [
        (104, ("CT1", "CT3", "CT4")),
        (105, ("CT5",)),
    ]


def test_nobody_is_believed_at_once_unless_the_configuration_says_so() -> None:
    (find,) = asked_peers(configured({"ae_titles": ["CT1"], "find": FIND}))
    assert not find.has_whole_series


def test_a_peer_is_asked_in_the_name_of_the_node_or_another_one() -> None:
    (find,) = asked_peers(configured({"ae_titles": ["CT1"], "find": FIND}))
    assert peer_of(find, "DICOM-NODE").calling_ae_title == "DICOM-NODE"
    assert peer_of(find.model_copy(update={"calling_ae_title": "ASKS"}), "DICOM-NODE").calling_ae_title == "ASKS"
