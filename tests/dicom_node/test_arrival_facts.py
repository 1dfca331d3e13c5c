"""Facts as they were at a moment of the past, from the rows that were left: what `replay` judges again."""

from __future__ import annotations

from dataclasses import replace

from dicom_node.arrival_facts import Facts, facts_at
from dicom_node.completeness import judge
from storage.records.received import Association, Instance, SeriesPart
from tests.dicom_node.arrived import RULES, SERIES, habit, said, stack

FIRST = Association("a1", "acceptor-1", "CT1", "NODE", "127.0.0.1", 990.0, 1006.0, "released")
SECOND = replace(FIRST, association_id="a2", opened_at=1020.0, closed_at=1026.0)
BESIDE = replace(FIRST, association_id="b", opened_at=1000.0, closed_at=1030.0)
PARTS = (SeriesPart(FIRST, 6, 0), SeriesPart(SECOND, 4, 0))


def instances() -> list[Instance]:
    """Six by the first association, a second apart from 1000 on, and four by the second, from 1021 on."""
    return [
        Instance("1.2", image.sop_instance_uid, "1.2.840.10008.1.2.1", "", "", 1, at, image.header, association)
        for number, image in enumerate(stack(10))
        for association, at in [("a1", 1000.0 + number) if number < 6 else ("a2", 1015.0 + number)]
    ]


def known_at(moment: float, **more: object) -> Facts:
    facts = facts_at(moment, SERIES, instances(), PARTS, **more)  # type: ignore[arg-type]
    assert facts is not None
    return facts


def test_before_its_first_image_nothing_is_known_of_a_series() -> None:
    assert facts_at(999.9, SERIES, instances(), PARTS) is None


def test_while_its_first_association_was_open_it_was_the_only_one() -> None:
    facts = known_at(1003.5)
    assert (len(facts.images), facts.last_received_at) == (4, 1003.0)
    assert [(item.association_id, item.ending, item.closed_at) for item in facts.contributions] == [("a1", None, None)]


def test_between_its_associations_the_first_one_had_been_released() -> None:
    facts = known_at(1020.5)
    assert [(item.association_id, item.ending) for item in facts.contributions] == [("a1", "released")]
    assert judge(facts, RULES, 1007.0).whole
    assert judge(facts, replace(RULES, settle_s=30.0), 1020.5).state == "not_yet"


def test_afterwards_all_is_known() -> None:
    facts = known_at(2000.0)
    assert (len(facts.images), facts.last_received_at) == (10, 1024.0)
    assert [item.ending for item in facts.contributions] == ["released", "released"]


def test_what_was_announced_later_was_not_known_yet() -> None:
    announcements = [said("mpps", numbers=range(1, 11), at=1022.0)]
    assert known_at(1021.9, announcements=announcements).announcements == ()
    assert judge(known_at(1024.0, announcements=announcements), RULES, 1024.0).whole


def test_another_association_of_the_source_is_known_from_its_first_to_its_last_moment() -> None:
    def beside(moment: float) -> list[str]:
        return [item.association_id for item in known_at(moment, others=[BESIDE, FIRST]).elsewhere]

    assert beside(1000.0) == ["b"]
    assert beside(1029.9) == ["b"]
    assert beside(1030.0) == []
    assert known_at(1010.0, others=[replace(BESIDE, calling_ae_title="MR1")]).elsewhere == ()


def test_what_a_source_was_used_to_lengthens_the_wait_of_then() -> None:
    facts = known_at(1010.0, habit=habit(*[10.0] * 5))
    assert judge(facts, RULES, 1016.9).state == "not_yet"
    assert judge(facts, RULES, 1017.0).whole
