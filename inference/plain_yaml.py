"""YAML of plain values alone: no objects, and no tree that is deeper or larger than it looks.

An alias stands for a value that was written before, and may stand within others: so a few lines can mean more values than any
memory holds. What the whole would be is counted before it is made.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

DEEPEST = 64
MOST_VALUES = 100_000


class _PlainLoader(yaml.SafeLoader):
    def __init__(self, stream: bytes) -> None:
        super().__init__(stream)
        self._depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        self._depth += 1
        if self._depth > DEEPEST:
            raise yaml.YAMLError(f"values may lie within each other {DEEPEST} deep, and no deeper")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def get_single_node(self) -> Any:
        node = super().get_single_node()
        if node is not None:
            _measured(node, {}, 1)
        return node


def plain_yaml(content: bytes) -> Any:
    """The tree. Raises yaml.YAMLError, or ValueError for a value that is none, such as the 31st of February."""
    return yaml.load(content, _PlainLoader)  # noqa: S506 - a safe loader that allows less


def _measured(node: yaml.Node, known: dict[int, int | None], depth: int) -> int:
    """How many values there are with all aliases written out. known: of the nodes that were met; None while one is counted."""
    if depth > DEEPEST:
        raise yaml.YAMLError(f"values may lie within each other {DEEPEST} deep, and no deeper")
    if id(node) in known:
        count = known[id(node)]
        if count is None:
            raise yaml.YAMLError("an alias stands within what it stands for")
        return count
    known[id(node)] = None
    count = 1 + sum(_measured(child, known, depth + 1) for child in _children(node))
    if count > MOST_VALUES:
        raise yaml.YAMLError(f"there may be {MOST_VALUES} values, but its aliases stand for more")
    known[id(node)] = count
    return count


def _children(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield key
            yield value
