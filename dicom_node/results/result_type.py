"""What each type of result object gives: a module of its own makes one, and `results/encode.py` knows them all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from dicom_node.result_kinds import ResultKind
from dicom_node.results.scene import Scene
from dicom_node.results.writing import Written


def whole(scene: Scene) -> Sequence[Scene]:
    """All in one object."""
    return (scene,)


@dataclass(frozen=True, slots=True)
class ResultType:
    """applies: whether there is anything to say in this type. encode: scene and ordered kind ("sr-alone") to the object.

    check: what is wrong with the written bytes, read back, in words; empty where they say what was found, where it was
    found. `encode` and `check` may raise ResultRefused, which is a fault too. parts: the scenes that get an object each;
    of most kinds there is one object.
    """

    kind: ResultKind
    applies: Callable[[Scene], bool]
    encode: Callable[[Scene, str], Written]
    check: Callable[[Scene, str, Written], list[str]]
    parts: Callable[[Scene], Sequence[Scene]] = whole
