"""Findings as bytes: what comes back is what went in, and what was tampered with is refused in words."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from inference import kept
from inference.findings import (
    Box,
    Classification,
    Code,
    Contour,
    Detection,
    Findings,
    HeatMap,
    Labelled,
    Landmark,
    Measurement,
    NotAnalysed,
    Point,
    Remark,
    Segment,
    Text,
)
from inference.kept_arrays import KeptError

SHAPE = (3, 5, 11)
CODE = Code("39607008", "SCT", "Lung")
UNIT = Code("mL", "UCUM", "milliliter")

words = st.text(min_size=1, max_size=12)
codes = st.builds(Code, words, words, words)
numbers = st.floats(allow_nan=False)
shares = st.floats(0, 1)
colors = st.tuples(*[st.integers(0, 255)] * 3)
places = st.tuples(*[st.floats(-1e6, 1e6)] * 3)
points = st.builds(Point, places)
boxes = places.flatmap(lambda first: st.just(Box(first, tuple(value + 1.5 for value in first))))  # type: ignore[arg-type]
contours = st.builds(
    Contour,
    st.integers(0, 9),
    st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=3, max_size=5).map(tuple),
)
masks = arrays_of.arrays(np.bool_, SHAPE)
probabilities = arrays_of.arrays(np.float32, SHAPE, elements=st.floats(0, 1, width=32), fill=st.just(0.0))
values = arrays_of.arrays(np.float32, SHAPE, elements=st.floats(width=32), fill=st.just(0.0))
label_maps = arrays_of.arrays(st.sampled_from([np.uint8, np.uint16]), SHAPE)


@st.composite
def all_findings(draw: st.DrawFn) -> Findings:
    """Some of every kind, with keys of their own, and measurements about them."""
    shared = draw(label_maps)
    labelled = st.builds(Labelled, st.just(shared), st.integers(1, 255))
    sites = {"finding_site": st.none() | codes, "laterality": st.none() | codes}
    segments = st.builds(
        Segment,
        words,
        words,
        codes,
        codes,
        masks | probabilities | labelled,
        colors,
        threshold=st.floats(0.1, 1),
        **sites,
    )
    states = st.sampled_from(["present", "absent", "indeterminate"])
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "segments": segments,
        "classifications": st.builds(
            Classification, words, words, codes, states, st.none() | shares, st.none() | shares, **sites
        ),
        "detections": st.builds(
            Detection, words, words, codes, codes, points | boxes | contours, st.none() | shares, colors, **sites
        ),
        "landmarks": st.builds(Landmark, words, words, codes, points, st.none() | numbers, **sites),
        "heat_maps": st.builds(
            HeatMap, words, words, codes, codes, values, st.just((0.0, 1.0)), st.none() | numbers, **sites
        ),
        "texts": st.builds(Text, words, codes, st.text()),
    }
    found: dict[str, tuple[Any, ...]] = {}
    for kind, strategy in kinds.items():
        drawn = draw(st.lists(strategy, max_size=3))
        found[kind] = tuple(dataclasses.replace(item, key=f"{kind}{rank}") for rank, item in enumerate(drawn))
    keys = [item.key for items in found.values() for item in items]
    about = st.sampled_from([None, *keys])
    measured = st.builds(
        Measurement, codes, numbers, codes, about, st.none() | codes, st.none() | codes, st.none() | shares
    )
    return Findings(
        **found,
        measurements=tuple(draw(st.lists(measured, max_size=3))),
        remarks=tuple(draw(st.lists(st.builds(Remark, codes, st.text()), max_size=2))),
        parameters=draw(st.dictionaries(words, words, max_size=2)),
    )


def plain(value: object) -> object:
    """A value that can be held against another: arrays by dtype, shape and bytes."""
    if isinstance(value, np.ndarray):
        # There are many NaNs, and which one it is means nothing.
        there = np.where(np.isnan(value), np.float32(-1), value) + 0 if value.dtype == np.float32 else value
        return value.dtype.name, value.shape, there.tobytes()
    if dataclasses.is_dataclass(value):
        return type(value).__name__, [plain(getattr(value, item.name)) for item in dataclasses.fields(value)]
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    return value


@given(findings=all_findings(), packed=st.booleans())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_findings_of_all_kinds_come_back_as_they_were(findings: Findings, packed: bool) -> None:
    assert plain(kept.from_bytes(kept.to_bytes(findings, packed=packed))) == plain(findings)


def test_every_kind_of_finding_that_there_is_was_tried() -> None:
    """A kind that is added must be added above, too."""
    tried = {"segments", "measurements", "classifications", "detections", "landmarks", "heat_maps", "texts", "remarks"}
    assert {item.name for item in dataclasses.fields(Findings)} == tried | {"not_analysed", "parameters"}


def test_what_was_not_analysed_comes_back_with_its_reason() -> None:
    findings = Findings(not_analysed=NotAnalysed(CODE, "slice spacing 8.0 mm > 5.0 mm"), remarks=(Remark(CODE, "é"),))
    assert kept.from_bytes(kept.to_bytes(findings)) == findings


def segment(key: str, region: Any) -> Segment:
    return Segment(key, key, CODE, CODE, region, (1, 2, 3))


def test_segments_of_one_label_map_share_it_again() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[1, 2, 3:5] = 1, 2
    findings = Findings(segments=(segment("a", Labelled(labels, 1)), segment("b", Labelled(labels, 2))))
    first, second = kept.from_bytes(kept.to_bytes(findings)).segments
    assert first.array is second.array
    assert [int(item.mask.sum()) for item in (first, second)] == [1, 1]


def test_an_empty_mask_and_the_last_corner_come_back() -> None:
    empty, corner = np.zeros(SHAPE, np.bool_), np.zeros(SHAPE, np.bool_)
    corner[-1, -1, -1] = True
    found = kept.from_bytes(kept.to_bytes(Findings(segments=(segment("a", empty), segment("b", corner)))))
    assert np.array_equal(found.segments[0].mask, empty)
    assert np.array_equal(found.segments[1].mask, corner)


def test_a_large_mask_of_which_little_is_set_takes_little_room() -> None:
    mask = np.zeros((40, 256, 256), np.bool_)
    mask[10:20, 50:80, 60:100] = True
    assert len(kept.to_bytes(Findings(segments=(segment("a", mask),)), packed=False)) < 10 * 30 * 40 / 8 + 2000


MASK = np.ones(SHAPE, np.bool_)
SOUND = Findings(segments=(segment("a", MASK),), measurements=(Measurement(CODE, 1.5, UNIT, "a"),))


def rewritten(change: Callable[[dict[str, Any]], object], findings: Findings = SOUND, packed: bool = False) -> bytes:
    """Kept findings whose header was changed; its blocks are as they were."""
    content = kept.to_bytes(findings, packed=packed)
    length = int.from_bytes(content[8:16], "little")
    header = json.loads(content[16 : 16 + length])
    blocks = content[-(-(16 + length) // 64) * 64 :]
    change(header)
    told = json.dumps(header).encode()
    padding = bytes(-(16 + len(told)) % 64)
    return content[:8] + len(told).to_bytes(8, "little") + told + padding + blocks


def test_a_header_that_was_written_anew_unchanged_is_read() -> None:
    assert plain(kept.from_bytes(rewritten(lambda header: None))) == plain(SOUND)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda h: h["arrays"][0].update(shape=[2**31 - 1] * 3, size=[2**31 - 1] * 3), "bytes: must be"),
        (lambda h: h["arrays"][0].update(shape=[2**31 - 1] * 3), "more than the"),
        (lambda h: h["arrays"][0].update(shape=[3, 5, 10]), "must lie within"),
        (lambda h: h["arrays"][0].update(first=[1, 0, 0]), "must lie within"),
        (lambda h: h["arrays"][0].update(first=[-1, 0, 0]), "whole numbers from 0"),
        (lambda h: h["arrays"][0].update(shape=[3, 5]), "of one length"),
        (lambda h: h["arrays"][0].update(dtype="object"), "dtype must be one of bool"),
        (lambda h: h["arrays"][0].update(dtype=["bool"]), "dtype must be one of bool"),
        (lambda h: h["arrays"][0].update(bytes=10**9), "must be 30"),
        (lambda h: h["arrays"][0].update(packed=1), "true or false"),
        (lambda h: h["arrays"][0].update(more=1), "must have the keys"),
        (lambda h: h.update(arrays={}), "arrays must be a list"),
        (lambda h: h.update(arrays=h["arrays"] * 70000), "at most 65536"),
        (lambda h: h.update(more=1), "must have the keys arrays and findings"),
        (lambda h: h.update(findings=[]), "findings: must be a Findings"),
        (lambda h: h["findings"].update(sockets=[]), "a Findings has no 'sockets'"),
        (lambda h: h["findings"].update({"is": "Segment"}), "must be a Findings"),
        (lambda h: h["findings"]["segments"][0].update(region={"array": 1}), "region: must be a Labelled"),
        (lambda h: h["findings"]["segments"][0].update(region={"array": -1}), "region: must be a Labelled"),
        (lambda h: h["findings"]["segments"][0].update(threshold=float("nan")), "threshold of 'a' must be"),
        (lambda h: h["findings"]["segments"][0].update(color_rgb=[1, 2]), "must have 3 items, but has 2"),
        (lambda h: h["findings"]["segments"][0].update(label=5), "label: must be of type str"),
        (lambda h: h["findings"]["segments"][0].pop("type"), "missing"),
        (lambda h: h["findings"]["measurements"][0].update(value="much"), "value: must be a number"),
        (lambda h: h["findings"]["measurements"][0].update(value=10**400), "value: must be a number"),
        (lambda h: h["findings"]["measurements"][0].update(finding_key="b"), "unknown finding 'b'"),
        (lambda h: h["findings"]["measurements"][0]["name"].update(value="x" * 17), "1 to 16 characters"),
        (lambda h: h["findings"].update(parameters={"a": 1}), "parameters.a: must be of type str"),
    ],
)
def test_a_header_that_lies_is_refused_with_the_place(change: Callable[[dict[str, Any]], object], reason: str) -> None:
    with pytest.raises(KeptError, match=reason):
        kept.from_bytes(rewritten(change))


def test_what_claims_more_than_it_may_take_is_refused_before_it_is_made() -> None:
    content = kept.to_bytes(SOUND)
    assert kept.from_bytes(content, most_bytes=MASK.size)
    with pytest.raises(KeptError, match=f"would take {MASK.size} bytes, more than the {MASK.size - 1}"):
        kept.from_bytes(content, most_bytes=MASK.size - 1)


def test_a_block_that_unpacks_to_more_than_it_may_is_refused() -> None:
    bomb = zlib.compress(bytes(50_000_000), 9)
    content = rewritten(lambda header: header["arrays"][0].update(bytes=len(bomb)), packed=True)
    head = content[: -(-(16 + int.from_bytes(content[8:16], "little")) // 64) * 64]
    with pytest.raises(KeptError, match="must end with its 30 bytes"):
        kept.from_bytes(head + bomb)


@pytest.mark.parametrize("packed", [True, False])
def test_bytes_that_were_cut_or_changed_are_findings_or_refused_and_nothing_else(packed: bool) -> None:
    content = kept.to_bytes(SOUND, packed=packed)
    for length in range(0, len(content), 3):
        with pytest.raises(KeptError):
            kept.from_bytes(content[:length])
    with pytest.raises(KeptError, match="bytes long"):
        kept.from_bytes(content + b"x")
    chance = random.Random(7)
    for _ in range(800):
        changed = bytearray(content)
        changed[chance.randrange(len(changed))] = chance.randrange(256)
        with contextlib.suppress(KeptError):
            kept.from_bytes(changed)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "these bytes are no findings"),
        (b"FINDING\x02" + bytes(8), "kept in version 2, and only 1"),
        (b"FINDING\x01" + b"\xff" * 8, "claims 18446744073709551615 bytes"),
        (b"FINDING\x01" + (40000).to_bytes(8, "little") + b"[" * 40000, "cannot be read"),
    ],
)
def test_what_does_not_begin_as_findings_do_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(KeptError, match=reason):
        kept.from_bytes(content)


@pytest.mark.parametrize(("zeros", "is_in_place"), [(0, True), (1, True), (3, False)])
def test_what_is_mostly_not_zero_is_read_in_place(zeros: int, is_in_place: bool) -> None:
    """Its box made anew beside the block would take more than all of it."""
    values = np.ones((6, 5, 4), np.float32)
    values[:zeros] = 0
    findings = Findings(heat_maps=(HeatMap("a", "A", CODE, UNIT, values, (0.0, 1.0)),))
    content = kept.to_bytes(findings, packed=False)
    read = kept.from_bytes(content).heat_maps[0].values
    assert np.array_equal(read, values)
    assert np.shares_memory(read, np.frombuffer(content, np.uint8)) == is_in_place


def test_an_array_of_another_kind_is_not_kept() -> None:
    findings = Findings(heat_maps=(HeatMap("a", "A", CODE, UNIT, np.zeros(SHAPE), (0.0, 1.0)),))  # type: ignore[arg-type]
    with pytest.raises(KeptError, match="but is float64"):
        kept.to_bytes(findings)
