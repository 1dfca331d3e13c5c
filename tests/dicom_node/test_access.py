from __future__ import annotations

import pytest

from dicom_node.config_node import Access
from dicom_node.network.access import Rejection, decide, too_many, unjudged

OPEN = Access()
CLOSED = Access.model_validate(
    {
        "open": False,
        "requestors": [
            {"ae_title": "CT1", "addresses": ["192.0.2.10", "198.51.100.0/24"]},
            {"ae_title": "CT1", "addresses": ["2001:db8::/32"]},
            {"ae_title": "PACS", "addresses": ["203.0.113.5"]},
        ],
    }
)


def _decide(
    access: Access, calling: str = "CT1", called: str = "NODE", address: str = "192.0.2.10"
) -> Rejection | None:
    return decide(access, "NODE", calling_ae_title=calling, called_ae_title=called, address=address)


def test_an_open_node_takes_everybody_under_any_name() -> None:
    assert _decide(OPEN, "WHOEVER", "ANY-SCP", "203.0.113.77") is None


@pytest.mark.parametrize("address", ["192.0.2.10", "198.51.100.200", "2001:db8::7", "::ffff:192.0.2.10"])
def test_a_named_requestor_may_come_from_its_addresses(address: str) -> None:
    assert _decide(CLOSED, address=address) is None


def test_spaces_around_an_ae_title_say_nothing() -> None:
    assert _decide(CLOSED, calling=" CT1  ") is None


@pytest.mark.parametrize(
    ("calling", "address", "why"),
    [
        ("CT2", "192.0.2.10", "is not in access.requestors"),
        ("ct1", "192.0.2.10", "is not in access.requestors"),
        ("", "192.0.2.10", "is not in access.requestors"),
        ("CT1", "192.0.2.11", "may not come from this address"),
        ("CT1", "203.0.113.5", "may not come from this address"),
        ("CT1", "2001:db9::1", "may not come from this address"),
        ("CT1", "fe80::1%eth0", "may not come from this address"),
    ],
)
def test_others_are_rejected_for_good_and_cannot_tell_which_titles_are_known(
    calling: str, address: str, why: str
) -> None:
    rejection = _decide(CLOSED, calling, address=address)
    assert rejection
    assert (rejection.result, rejection.source, rejection.reason) == (1, 1, 3)
    assert why in rejection.why


def test_the_called_ae_title_counts_only_where_it_is_asked_for() -> None:
    strict = Access(check_called_ae_title=True)
    assert _decide(strict, called="NODE ") is None
    rejection = _decide(strict, called="ANY-SCP")
    assert rejection
    assert (rejection.result, rejection.source, rejection.reason) == (1, 1, 7)


def test_what_may_be_tried_again_is_rejected_as_transient() -> None:
    assert (too_many(3).result, too_many(3).source, too_many(3).reason) == (2, 3, 2)
    assert (unjudged().result, unjudged().source, unjudged().reason) == (2, 1, 1)
