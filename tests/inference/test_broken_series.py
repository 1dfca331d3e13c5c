"""Broken bytes: whatever arrives, the answer is a volume or NotAVolume, never another error, a crash or a hang."""

from __future__ import annotations

import random
import subprocess
import sys
import warnings
from io import BytesIO

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset

from inference import codecs
from inference.errors import NotAVolume
from inference.series import read_series
from tests.inference.series_factory import as_multi_frame, make_series
from tests.inference.test_pixels import LOSSLESS
from tests.waiting import LIMIT_S

FIRST_DATA_BYTE = 300
"""Behind preamble and meta header, which the intake has already read."""


def stored(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def damaged(data: bytes, rng: random.Random) -> bytes:
    broken = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(FIRST_DATA_BYTE, len(broken))
        broken[at] = rng.choice([0, 255, broken[at] ^ (1 << rng.randrange(8)), ord("9"), ord("-"), ord("\\")])
    return bytes(broken)


@pytest.mark.parametrize("multi_frame", [False, True])
def test_damaged_instances_are_a_volume_or_refused(multi_frame: bool) -> None:
    made = make_series()
    whole = [stored(as_multi_frame(made.datasets))] if multi_frame else [stored(d) for d in made.datasets]
    outcomes = {"read": 0, "refused": 0}
    for seed in range(250):
        rng = random.Random(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom's complaints about what was damaged
            try:
                datasets = [dcmread(BytesIO(damaged(data, rng))) for data in whole]
            except (ValueError, OSError, NotImplementedError, EOFError, TypeError, AttributeError):
                continue
            try:
                read_series(datasets, tilt=rng.choice(["keep", "refuse", "resample"]), spacing="resample")
                outcomes["read"] += 1
            except NotAVolume:
                outcomes["refused"] += 1
    assert min(outcomes.values()) > 10, outcomes


@pytest.mark.parametrize(
    "syntax",
    [uid.RLELossless, uid.JPEGLossless, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.HTJ2KLossless],
    ids=lambda syntax: uid.UID(syntax).keyword,
)
def test_damaged_codestreams_neither_crash_nor_hang_the_decoder(syntax: str) -> None:
    """In a process of its own, for a crash would take the tests with it."""
    done = subprocess.run(
        [sys.executable, "-c", f"from {__name__} import decode_damaged; decode_damaged({str(syntax)!r})"],
        capture_output=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()[-500:]


def decode_damaged(syntax: str, times: int = 200) -> None:
    """Decode a frame with a few bytes changed, again and again; only CodecError may come of it."""
    pixels = np.random.default_rng(0).integers(0, 60, (24, 20)).cumsum(axis=1).astype(np.uint16)
    frame = LOSSLESS[syntax](pixels)
    for seed in range(times):
        rng = random.Random(seed)
        broken = bytearray(frame)
        for _ in range(rng.randint(1, 8)):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        try:
            codecs.decode_frame(bytes(broken), syntax, 24, 20, 2)
        except codecs.CodecError:
            continue


def test_a_slope_that_is_no_number_is_refused_rather_than_taken_for_one() -> None:
    made = make_series()
    for dataset in made.datasets:
        dataset["RescaleSlope"]._value = "abc"
    with pytest.raises(NotAVolume, match="Rescale Slope"):
        read_series(made.datasets)
