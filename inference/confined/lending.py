"""Volumes on their way to a model process: their arrays in memory that both see, and of the rest nothing that names a patient."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from inference import kept_tree, memory
from inference.confined.wire import Message, WireError, close_all, lent_array, memory_of
from inference.volume import Volume

_HEADER = "header"


def lent(volumes: Mapping[str, Volume], borrower: str) -> tuple[Message, list[int]]:
    """The volumes, by their names, as a message with descriptors of memory beside it, which the caller must close.

    What lies in memory that was taken for this borrower is lent as it is; the rest is copied. A header stays at home: what is
    asked of it was asked before.
    """
    arrays: dict[int, tuple[int, NDArray[Any]]] = {}
    trees = {name: _written(volume, arrays) for name, volume in volumes.items()}
    told, descriptors = [], []
    try:
        for _, array in arrays.values():
            whole = np.ascontiguousarray(array)
            told.append({"dtype": whole.dtype.str, "shape": whole.shape})
            own = memory.VOXELS.lendable(whole, borrower)
            descriptors.append(memory_of([whole.reshape(-1).view(np.uint8).data]) if own is None else os.dup(own))
    except BaseException:
        close_all(descriptors)
        raise
    return {"volumes": trees, "arrays": told}, descriptors


def bytes_lent(message: Message) -> int:
    """What the arrays of `lent` take."""
    return sum(math.prod(told["shape"]) * np.dtype(told["dtype"]).itemsize for told in message["arrays"])


def borrowed(message: Message, descriptors: Sequence[int]) -> dict[str, Volume]:
    """What `lent` told, in the other process. The descriptors may be closed then."""
    if len(descriptors) != len(message["arrays"]):
        raise WireError(f"{len(message['arrays'])} arrays came with {len(descriptors)} descriptors")
    arrays = [
        lent_array(descriptor, np.dtype(told["dtype"]), told["shape"])
        for told, descriptor in zip(message["arrays"], descriptors, strict=True)
    ]
    return {name: _read(tree, arrays) for name, tree in message["volumes"].items()}


def _written(volume: Volume, arrays: dict[int, tuple[int, NDArray[Any]]]) -> dict[str, object]:
    fields = [item.name for item in dataclasses.fields(Volume) if item.name != _HEADER]
    return {name: kept_tree.written(getattr(volume, name), arrays) for name in fields}


def _read(tree: Mapping[str, Any], arrays: list[NDArray[Any]]) -> Volume:
    hints = kept_tree.fields_of(Volume)
    given = {name: kept_tree.read(hints[name], value, arrays, name) for name, value in tree.items()}
    return Volume(**given, header=Dataset())
