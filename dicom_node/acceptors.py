"""How many acceptor processes a node has, and what they are called."""

from __future__ import annotations

import os

from dicom_node.config_node import Node

# What one core takes in is what a disk takes, or near to it; more processes than these only wait for each other.
_MOST_BY_ITSELF = 4


def acceptor_names(node: Node) -> tuple[str, ...]:
    count = min(_MOST_BY_ITSELF, len(os.sched_getaffinity(0))) if node.acceptors == "auto" else node.acceptors
    return tuple(f"acceptor-{number}" for number in range(1, count + 1))
