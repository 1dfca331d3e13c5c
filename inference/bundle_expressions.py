"""Expressions of a bundle that say a plain value: a list, a choice between two, a length, a sum. They are read, never run.

Python parses them; what they are made of is looked up here, piece by piece, and everything else (a name, an attribute, a
call but for len) is not plain.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from typing import Any

LONGEST = 512
MOST_ITEMS = 4096
_REFERENCE = re.compile(r"@([\w.\-]+(?:(?:#|::)[\w.\-]+)*)")
_NAME = "_reference_"


class NotPlainError(ValueError):
    """The expression is more than a plain value."""


def value_of(expression: str, resolve: Callable[[str], Any]) -> Any:
    """What an expression without its "$" says. resolve: the plain value that a reference (without its "@") names.

    Raises NotPlainError where it is more than a plain value.
    """
    if len(expression) > LONGEST:
        raise NotPlainError(f"it has more than {LONGEST} characters")
    references: list[str] = []

    def name(found: re.Match[str]) -> str:
        references.append(found[1])
        return f"{_NAME}{len(references) - 1}"

    try:
        tree = ast.parse(_REFERENCE.sub(name, expression.strip()), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise NotPlainError("it is no expression") from error
    try:
        return _Reader(references, resolve).value(tree.body)
    except RecursionError as error:
        raise NotPlainError("it is nested too deeply") from error


class _Reader:
    def __init__(self, references: list[str], resolve: Callable[[str], Any]) -> None:
        self._references = references
        self._resolve = resolve

    def value(self, node: ast.expr) -> Any:
        found: Any
        match node:
            case ast.Constant(value=bool() | int() | float() | str() | None as plain):
                found = plain
            case ast.List(elts=items) | ast.Tuple(elts=items):
                found = [self.value(item) for item in items]
            case ast.Name(id=name) if name.removeprefix(_NAME).isdigit():
                found = self._resolved(int(name.removeprefix(_NAME)))
            case ast.IfExp(test=test, body=one, orelse=other):
                found = self.value(one if self.value(test) is True else other)
            case ast.UnaryOp(op=ast.Not(), operand=of):
                found = self.value(of) is not True
            case ast.UnaryOp(op=ast.USub(), operand=of):
                found = -self._number(self.value(of))
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                found = self._sum(self.value(left), self.value(right))
            case ast.Call(func=ast.Name(id="len"), args=[of], keywords=[]):
                found = self._length(self.value(of))
            case _:
                raise NotPlainError(f"{type(node).__name__} is not plain")
        return found

    def _resolved(self, number: int) -> Any:
        if number >= len(self._references):
            raise NotPlainError("it names something that is no reference")
        found = self._resolve(self._references[number])
        if isinstance(found, str) and found[:1] in {"$", "%"}:
            raise NotPlainError(f"@{self._references[number]} is not plain")
        return found

    @staticmethod
    def _number(value: Any) -> int | float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise NotPlainError("it is no number")
        return value

    @staticmethod
    def _length(value: Any) -> int:
        if not isinstance(value, list | dict | str):
            raise NotPlainError("it has no length")
        return len(value)

    def _sum(self, left: Any, right: Any) -> Any:
        if isinstance(left, str) and isinstance(right, str) and len(left) + len(right) <= MOST_ITEMS:
            return left + right
        if isinstance(left, list) and isinstance(right, list) and len(left) + len(right) <= MOST_ITEMS:
            return left + right
        return self._number(left) + self._number(right)
